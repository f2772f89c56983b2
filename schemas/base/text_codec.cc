#include "schemas/base/text_codec.h"

#include <simdjson.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

namespace sluice {
namespace {

constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kBase64Url =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

// "00" to "ff", one after the other.
constexpr std::array<char, 512> HexPairs() {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::array<char, 512> pairs{};
  for (size_t i = 0; i < 256; ++i) {
    pairs[i * 2] = kHex[i >> 4];
    pairs[i * 2 + 1] = kHex[i & 15];
  }
  return pairs;
}
constexpr std::array<char, 512> kHexPairs = HexPairs();

// The six bits that each character stands for, -1 where it stands for none.
constexpr std::array<int8_t, 256> ValuesOf(std::string_view alphabet) {
  std::array<int8_t, 256> values{};
  values.fill(-1);
  for (size_t i = 0; i < alphabet.size(); ++i) {
    values[static_cast<uint8_t>(alphabet[i])] = static_cast<int8_t>(i);
  }
  return values;
}
constexpr std::array<int8_t, 256> kBase64Values = ValuesOf(kBase64);
constexpr std::array<int8_t, 256> kBase64UrlValues = ValuesOf(kBase64Url);

// The bytes of characters without padding.
std::optional<std::string> DecodeSextets(std::string_view text,
                                         const std::array<int8_t, 256>& values) {
  if (text.size() % 4 == 1) {
    return std::nullopt;
  }
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3 + 2);
  uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const int value = values[static_cast<uint8_t>(c)];
    if (value < 0) {
      return std::nullopt;
    }
    bits = bits << 6 | static_cast<uint32_t>(value);
    held += 6;
    if (held >= 8) {
      held -= 8;
      bytes.push_back(static_cast<char>(bits >> held));
      bits &= (1U << held) - 1;
    }
  }
  if (bits != 0) {
    return std::nullopt;
  }
  return bytes;
}

// Writes the characters of `bytes` without padding; the place after them.
char* EncodeSextets(std::string_view bytes, std::string_view alphabet, char* out) {
  size_t i = 0;
  for (; i + 3 <= bytes.size(); i += 3) {
    const uint32_t group = static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << 16 |
                           static_cast<uint32_t>(static_cast<uint8_t>(bytes[i + 1])) << 8 |
                           static_cast<uint8_t>(bytes[i + 2]);
    *out++ = alphabet[group >> 18];
    *out++ = alphabet[group >> 12 & 63];
    *out++ = alphabet[group >> 6 & 63];
    *out++ = alphabet[group & 63];
  }
  if (i == bytes.size()) {
    return out;
  }
  const bool two = i + 2 == bytes.size();
  const uint32_t group =
      static_cast<uint32_t>(static_cast<uint8_t>(bytes[i])) << 16 |
      (two ? static_cast<uint32_t>(static_cast<uint8_t>(bytes[i + 1])) << 8 : 0U);
  *out++ = alphabet[group >> 18];
  *out++ = alphabet[group >> 12 & 63];
  if (two) {
    *out++ = alphabet[group >> 6 & 63];
  }
  return out;
}

int HexValue(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool IsUuidHyphen(size_t at) { return at == 8 || at == 13 || at == 18 || at == 23; }

}  // namespace

bool IsValidUtf8(std::string_view text) {
  return simdjson::validate_utf8(text.data(), text.size());
}

size_t Utf8SequenceSize(std::string_view text) {
  const auto byte = [text](size_t i) {
    return i < text.size() ? static_cast<uint8_t>(text[i]) : uint8_t{0};
  };
  const auto follows = [&byte](size_t i) { return (byte(i) & 0xc0) == 0x80; };
  const uint8_t lead = byte(0);
  if (lead < 0x80) {
    return text.empty() ? 0 : 1;
  }
  if (lead < 0xc2 || lead > 0xf4 || !follows(1)) {
    return 0;
  }
  if (lead < 0xe0) {
    return 2;
  }
  // Overlong forms, surrogates and what lies beyond U+10FFFF show in the second byte.
  const uint8_t second = byte(1);
  if (lead < 0xf0) {
    const bool wrong = (lead == 0xe0 && second < 0xa0) || (lead == 0xed && second > 0x9f);
    return !wrong && follows(2) ? 3 : 0;
  }
  const bool wrong = (lead == 0xf0 && second < 0x90) || (lead == 0xf4 && second > 0x8f);
  return !wrong && follows(2) && follows(3) ? 4 : 0;
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  if (text.size() % 4 != 0) {
    return std::nullopt;
  }
  for (int padding = 0; padding < 2 && text.ends_with('='); ++padding) {
    text.remove_suffix(1);
  }
  return DecodeSextets(text, kBase64Values);
}

void EncodeBase64(std::string_view bytes, char* out) {
  char* const end = out + Base64Size(bytes.size());
  std::fill(EncodeSextets(bytes, kBase64, out), end, '=');
}

std::optional<std::string> DecodeBase64Url(std::string_view text) {
  return DecodeSextets(text, kBase64UrlValues);
}

std::string EncodeBase64Url(std::string_view bytes) {
  std::string text((bytes.size() * 4 + 2) / 3, ' ');
  EncodeSextets(bytes, kBase64Url, text.data());
  return text;
}

std::optional<std::string> DecodeUuid(std::string_view text) {
  if (text.size() != kUuidTextSize) {
    return std::nullopt;
  }
  std::string bytes;
  bytes.reserve(kUuidSize);
  for (size_t i = 0; i < text.size();) {
    if (IsUuidHyphen(i)) {
      if (text[i++] != '-') {
        return std::nullopt;
      }
      continue;
    }
    const int high = HexValue(text[i]);
    const int low = HexValue(text[i + 1]);
    if (high < 0 || low < 0) {
      return std::nullopt;
    }
    bytes.push_back(static_cast<char>(high << 4 | low));
    i += 2;
  }
  return bytes;
}

void EncodeUuid(std::string_view bytes, char* out) {
  constexpr std::array<uint8_t, kUuidSize> kPlaces = {0,  2,  4,  6,  9,  11, 14, 16,
                                                      19, 21, 24, 26, 28, 30, 32, 34};
  out[8] = out[13] = out[18] = out[23] = '-';
  for (size_t i = 0; i < kUuidSize; ++i) {
    std::memcpy(out + kPlaces[i], kHexPairs.data() + static_cast<uint8_t>(bytes[i]) * 2, 2);
  }
}

}  // namespace sluice

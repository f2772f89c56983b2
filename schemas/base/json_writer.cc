#include "schemas/base/json_writer.h"

#include <algorithm>
#include <bit>
#include <cstdint>

#include "schemas/base/text_codec.h"

namespace sluice {
namespace {

// Sixteen bytes that compilers turn into vector instructions wherever there are some.
using Bytes16 = uint8_t __attribute__((vector_size(16)));
using Words2 = uint64_t __attribute__((vector_size(16)));

constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kHighBits = 0x8080808080808080;

bool NeedsEscape(uint8_t c, bool valid_utf8) {
  return c < 0x20 || c == '"' || c == '\\' || (c >= 0x80 && !valid_utf8);
}

// Not zero where some byte of `x` needs escaping (after the bit tricks of Hacker's Delight, 6-1).
uint64_t AnyEscape(uint64_t x, uint64_t high_mask) {
  const uint64_t quote = x ^ (kOnes * '"');
  const uint64_t backslash = x ^ (kOnes * '\\');
  const uint64_t control = (x - kOnes * 0x20) & ~x;
  return (control | ((quote - kOnes) & ~quote) | ((backslash - kOnes) & ~backslash) |
          (x & high_mask)) &
         kHighBits;
}

template <typename Word>
Word Load(const char* p) {
  Word word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}

template <typename Word>
void Store(char* p, Word word) {
  std::memcpy(p, &word, sizeof(word));
}

// Copies `size` bytes, fewer than 16, if none needs escaping; whether it did. A word from each end:
// they overlap in the middle.
bool CopyShort(const char* p, size_t size, uint64_t high_mask, char* to) {
  if (size >= 8) {
    const auto first = Load<uint64_t>(p);
    const auto last = Load<uint64_t>(p + size - 8);
    Store(to, first);
    Store(to + size - 8, last);
    return (AnyEscape(first, high_mask) | AnyEscape(last, high_mask)) == 0;
  }
  if (size >= 4) {
    const auto first = Load<uint32_t>(p);
    const auto last = Load<uint32_t>(p + size - 4);
    Store(to, first);
    Store(to + size - 4, last);
    return AnyEscape(uint64_t{first} << 32 | last, high_mask) == 0;
  }
  bool clean = true;
  for (size_t i = 0; i < size; ++i) {
    to[i] = p[i];
    clean = clean && !NeedsEscape(static_cast<uint8_t>(p[i]), high_mask == 0);
  }
  return clean;
}

}  // namespace

const char* JsonWriter::CopyClean(const char* p, const char* end, bool valid_utf8) {
  const uint8_t high_limit = valid_utf8 ? 0xff : 0x7f;
  while (end - p >= 16) {
    char* const start = Reserve(kReserveMax);
    const auto size = std::min<size_t>(static_cast<size_t>(end - p) / 16 * 16, kReserveMax);
    char* to = start;
    for (; to < start + size; to += 16, p += 16) {
      const auto bytes = Load<Bytes16>(p);
      Store(to, bytes);
      const auto escapes = (bytes < 0x20) | (bytes == '"') | (bytes == '\\') | (bytes > high_limit);
      const auto words = std::bit_cast<Words2>(escapes);
      if ((words[0] | words[1]) != 0) {
        const int clean =
            words[0] != 0 ? std::countr_zero(words[0]) / 8 : 8 + std::countr_zero(words[1]) / 8;
        Advance(static_cast<size_t>(to - start + clean));
        return p + clean;
      }
    }
    Advance(static_cast<size_t>(to - start));
  }
  char* to = Reserve(16);
  const auto rest = static_cast<size_t>(end - p);
  if (CopyShort(p, rest, valid_utf8 ? 0 : kHighBits, to)) {
    Advance(rest);
    return end;
  }
  size_t clean = 0;
  while (!NeedsEscape(static_cast<uint8_t>(p[clean]), valid_utf8)) {
    to[clean] = p[clean];
    ++clean;
  }
  Advance(clean);
  return p + clean;
}

const char* JsonWriter::Escape(const char* p, const char* end) {
  constexpr std::string_view kHex = "0123456789abcdef";
  const auto c = static_cast<uint8_t>(*p);
  if (c >= 0x80) {
    const size_t size = Utf8SequenceSize({p, static_cast<size_t>(end - p)});
    Raw(size == 0 ? std::string_view("\xef\xbf\xbd") : std::string_view(p, size));
    return p + std::max<size_t>(size, 1);
  }
  constexpr std::string_view kShortFrom = "\"\\\b\f\n\r\t";
  constexpr std::string_view kShortTo = "\"\\bfnrt";
  char* const to = Reserve(6);
  to[0] = '\\';
  if (const size_t found = kShortFrom.find(*p); found != std::string_view::npos) {
    to[1] = kShortTo[found];
    Advance(2);
    return p + 1;
  }
  std::memcpy(to + 1, "u00", 3);
  to[4] = kHex[c >> 4];
  to[5] = kHex[c & 15];
  Advance(6);
  return p + 1;
}

void JsonWriter::String(std::string_view text) {
  if (text.size() < 16) {
    char* const to = Reserve(18);
    if (CopyShort(text.data(), text.size(), kHighBits, to + 1)) {
      to[0] = to[text.size() + 1] = '"';
      Advance(text.size() + 2);
      return;
    }
  }
  Raw('"');
  const char* p = text.data();
  const char* const end = p + text.size();
  // Validity is asked only where there is something to ask: at the first byte that is not ASCII.
  bool valid_utf8 = false;
  bool asked = false;
  while (p < end) {
    p = CopyClean(p, end, valid_utf8);
    if (p == end) {
      break;
    }
    if (static_cast<uint8_t>(*p) >= 0x80 && !asked) {
      asked = true;
      valid_utf8 = IsValidUtf8({p, static_cast<size_t>(end - p)});
      continue;
    }
    p = Escape(p, end);
  }
  Raw('"');
}

void JsonWriter::Base64(std::string_view bytes) {
  Raw('"');
  constexpr size_t kStep = kReserveMax / 4 * 3;
  for (; bytes.size() > kStep; bytes.remove_prefix(kStep)) {
    EncodeBase64(bytes.substr(0, kStep), Reserve(kReserveMax));
    Advance(kReserveMax);
  }
  EncodeBase64(bytes, Reserve(kReserveMax));
  Advance(Base64Size(bytes.size()));
  Raw('"');
}

void AppendJsonString(std::string_view text, std::string* out) {
  JsonWriter writer(out);
  writer.String(text);
  writer.Flush();
}

std::string QuoteForError(std::string_view value) {
  constexpr size_t kShown = 40;
  std::string quoted;
  if (value.size() <= kShown) {
    AppendJsonString(value, &quoted);
    return quoted;
  }
  size_t cut = kShown;
  while (cut > kShown - 4 && (static_cast<uint8_t>(value[cut]) & 0xc0) == 0x80) {
    --cut;
  }
  AppendJsonString(value.substr(0, cut), &quoted);
  quoted.append("... (").append(std::to_string(value.size())).append(" bytes)");
  return quoted;
}

}  // namespace sluice

#include "clients/cpp/printable.h"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>

namespace sluice::client {
namespace {

struct CodePoint {
  uint32_t value;
  size_t size;  // 0: not UTF-8
};

// The shortest form only, no surrogates, up to U+10FFFF (RFC 3629).
CodePoint Decode(std::string_view text) {
  const auto byte = [text](size_t at) { return static_cast<unsigned char>(text[at]); };
  const unsigned char head = byte(0);
  if (head < 0x80) {
    return {head, 1};
  }
  const size_t size = head >= 0xf0 ? 4 : head >= 0xe0 ? 3 : 2;
  if (head < 0xc2 || head > 0xf4 || text.size() < size) {
    return {head, 0};
  }
  uint32_t value = head & (0x7fU >> size);
  for (size_t i = 1; i < size; ++i) {
    if ((byte(i) & 0xc0) != 0x80) {
      return {head, 0};
    }
    value = value << 6 | (byte(i) & 0x3f);
  }
  const bool valid = value >= (size == 4   ? 0x10000U
                               : size == 3 ? 0x800U
                                           : 0x80U) &&
                     value <= 0x10ffff && (value < 0xd800 || value > 0xdfff);
  return {valid ? value : head, valid ? size : 0};
}

// Controls, line and paragraph separators, and what turns the direction of the text around it.
bool Harmful(uint32_t value) {
  return value < 0x20 || (value >= 0x7f && value < 0xa0) || value == 0x061c || value == 0x200e ||
         value == 0x200f || (value >= 0x2028 && value <= 0x202e) ||
         (value >= 0x2066 && value <= 0x2069) || value == 0xfeff;
}

}  // namespace

std::string Printable(std::string_view text, size_t bytes_max) {
  std::string out;
  while (!text.empty()) {
    if (out.size() >= bytes_max) {
      return out + "…";
    }
    const CodePoint point = Decode(text);
    if (point.size == 0 || (point.value < 0x80 && Harmful(point.value))) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", point.value);
    } else if (Harmful(point.value)) {
      fmt::format_to(std::back_inserter(out), "\\u{:04x}", point.value);
    } else {
      out.append(text.substr(0, point.size));
    }
    text.remove_prefix(point.size == 0 ? 1 : point.size);
  }
  return out;
}

}  // namespace sluice::client

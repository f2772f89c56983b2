#pragma once

#include <array>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "schemas/base/ascii.h"

// Decimal digits of fixed width, as dates and times are made of.
namespace sluice {

// The number of the `count` digits at `at`, nine at most; -1 where they are not digits.
[[nodiscard]] constexpr int ReadDigits(std::string_view text, size_t at, size_t count) {
  if (at + count > text.size()) {
    return -1;
  }
  int value = 0;
  for (size_t i = at; i < at + count; ++i) {
    if (!IsDigit(text[i])) {
      return -1;
    }
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

// "00" to "99", one after the other.
inline constexpr std::array<char, 200> kDigitPairs = [] {
  std::array<char, 200> pairs{};
  for (size_t i = 0; i < 100; ++i) {
    pairs[i * 2] = static_cast<char>('0' + i / 10);
    pairs[i * 2 + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}();

// Writes a number below 100 as two digits.
inline void WriteTwoDigits(unsigned value, char* out) {
  std::memcpy(out, kDigitPairs.data() + value * 2, 2);
}

}  // namespace sluice

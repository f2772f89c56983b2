#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// Numbers given as text. The grammar is JSON's, for numbers in JSON and in strings alike.
namespace sluice {

// Digits of a decimal at most: those before the point and those behind it, without needless zeros.
inline constexpr int kDecimalDigitsMax = 38;

// Whether `text` is a number as JSON writes one: no leading zeros, plus sign, blanks or names.
[[nodiscard]] bool IsJsonNumber(std::string_view text);

// The canonical text of a decimal: equal values have equal texts. No exponent, no leading zero but
// the one before the point, no trailing zero behind the point, no negative zero: "1.50e1" -> "15".
// Code "type_mismatch" for what is no number or needs more than kDecimalDigitsMax digits.
[[nodiscard]] absl::StatusOr<std::string> CanonicalDecimal(std::string_view text);

// Whether `text` is what CanonicalDecimal() returns for it.
[[nodiscard]] bool IsCanonicalDecimal(std::string_view text);

// The integer that `text` is by value ("5", "5.0", "5e0"). Code "type_mismatch" where it is no
// integer or not within [min, max].
[[nodiscard]] absl::StatusOr<int64_t> ParseInteger(std::string_view text, int64_t min, int64_t max);

// The nearest finite double; negative zero becomes zero. Code "type_mismatch" otherwise.
[[nodiscard]] absl::StatusOr<double> ParseDouble(std::string_view text);

}  // namespace sluice

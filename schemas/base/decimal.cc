#include "schemas/base/decimal.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

#include "absl/strings/charconv.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice {
namespace {

// The parts of a number in JSON's grammar.
struct NumberParts {
  bool valid = false;
  bool negative = false;
  std::string_view integer;
  std::string_view fraction;
  int64_t exponent = 0;  // kept within +-kExponentBound, which no decimal of ours reaches
};

constexpr int64_t kExponentBound = 1'000'000'000;

std::string_view TakeDigits(std::string_view* text) {
  const auto end = std::find_if_not(text->begin(), text->end(), IsDigit);
  const std::string_view digits = text->substr(0, static_cast<size_t>(end - text->begin()));
  text->remove_prefix(digits.size());
  return digits;
}

bool TakeChar(std::string_view* text, char c) {
  if (text->empty() || text->front() != c) {
    return false;
  }
  text->remove_prefix(1);
  return true;
}

NumberParts SplitNumber(std::string_view text) {
  NumberParts parts;
  parts.negative = TakeChar(&text, '-');
  parts.integer = TakeDigits(&text);
  if (parts.integer.empty() || (parts.integer.size() > 1 && parts.integer.front() == '0')) {
    return parts;
  }
  if (TakeChar(&text, '.')) {
    parts.fraction = TakeDigits(&text);
    if (parts.fraction.empty()) {
      return parts;
    }
  }
  if (TakeChar(&text, 'e') || TakeChar(&text, 'E')) {
    const bool negative = TakeChar(&text, '-');
    if (!negative) {
      TakeChar(&text, '+');
    }
    const std::string_view digits = TakeDigits(&text);
    if (digits.empty()) {
      return parts;
    }
    for (const char c : digits) {
      parts.exponent = std::min(parts.exponent * 10 + (c - '0'), kExponentBound);
    }
    parts.exponent = negative ? -parts.exponent : parts.exponent;
  }
  parts.valid = text.empty();
  return parts;
}

}  // namespace

bool IsJsonNumber(std::string_view text) { return SplitNumber(text).valid; }

absl::StatusOr<std::string> CanonicalDecimal(std::string_view text) {
  const NumberParts parts = SplitNumber(text);
  if (!parts.valid) {
    return TypeMismatch("is not a decimal number");
  }
  std::string digits;
  digits.reserve(parts.integer.size() + parts.fraction.size());
  digits.append(parts.integer).append(parts.fraction);
  // The value is 0.<digits> * 10^point.
  int64_t point = static_cast<int64_t>(parts.integer.size()) + parts.exponent;
  const size_t first = digits.find_first_not_of('0');
  if (first == std::string::npos) {
    return std::string("0");
  }
  digits.erase(digits.find_last_not_of('0') + 1);
  digits.erase(0, first);
  point -= static_cast<int64_t>(first);
  const auto count = static_cast<int64_t>(digits.size());
  const int64_t needed = point <= 0 ? count - point : std::max(count, point);
  if (needed > kDecimalDigitsMax) {
    return TypeMismatch("needs more than the {} digits of a decimal", kDecimalDigitsMax);
  }
  std::string result = parts.negative ? "-" : "";
  if (point <= 0) {
    result.append("0.").append(static_cast<size_t>(-point), '0').append(digits);
  } else if (point >= count) {
    result.append(digits).append(static_cast<size_t>(point - count), '0');
  } else {
    result.append(digits, 0, static_cast<size_t>(point)).append(1, '.');
    result.append(digits, static_cast<size_t>(point));
  }
  return result;
}

bool IsCanonicalDecimal(std::string_view text) {
  const NumberParts parts = SplitNumber(text);
  if (!parts.valid || text.find_first_of("eE") != std::string_view::npos) {
    return false;
  }
  const bool zero_integer = parts.integer == "0";
  if ((!parts.fraction.empty() && parts.fraction.back() == '0') ||
      (parts.negative && zero_integer && parts.fraction.empty())) {
    return false;
  }
  const size_t digits = (zero_integer ? 0 : parts.integer.size()) + parts.fraction.size();
  return digits <= static_cast<size_t>(kDecimalDigitsMax);
}

absl::StatusOr<int64_t> ParseInteger(std::string_view text, int64_t min, int64_t max) {
  const char* const end = text.data() + text.size();
  int64_t value = 0;
  auto result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end || !IsJsonNumber(text)) {
    // Not plain digits: 5.0 and 5e0 are the integer 5 by value.
    if (!IsJsonNumber(text)) {
      return TypeMismatch("is not an integer");
    }
    const auto canonical = CanonicalDecimal(text);
    if (canonical.ok() && canonical->find('.') != std::string::npos) {
      return TypeMismatch("is not an integer");
    }
    if (!canonical.ok() ||
        std::from_chars(canonical->data(), canonical->data() + canonical->size(), value).ec !=
            std::errc()) {
      return TypeMismatch("is not an integer from {} to {}", min, max);
    }
  }
  if (value < min || value > max) {
    return TypeMismatch("is not an integer from {} to {}", min, max);
  }
  return value;
}

absl::StatusOr<double> ParseDouble(std::string_view text) {
  if (!IsJsonNumber(text)) {
    return TypeMismatch("is not a number");
  }
  double value = 0;
  // Abseil's, because it tells an overflow from an underflow, which rounds to zero.
  absl::from_chars(text.data(), text.data() + text.size(), value);
  // On overflow the value is the greatest finite one, and the error out of range.
  if (std::abs(value) == std::numeric_limits<double>::max()) {
    double nearest = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), nearest).ec != std::errc()) {
      return TypeMismatch("is beyond the range of a double");
    }
  }
  return value == 0 ? 0.0 : value;
}

}  // namespace sluice

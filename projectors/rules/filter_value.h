#pragma once

#include <cstdint>
#include <string_view>

#include "schemas/row_codec.h"

// Values of a filter and what its operators do with them.
namespace sluice::projectors {

// OData's logic: null is "unknown".
enum class Truth : uint8_t { kFalse, kTrue, kNull };

// Types that compare with one another. kExact: int32, int64 and decimal, by value.
enum class Family : uint8_t {
  kNull,
  kString,
  kExact,
  kDouble,
  kBool,
  kDatetime,
  kDate,
  kTime,
  kUuid,
  kBytes,
};

enum class Comparison : uint8_t { kEq, kNe, kGt, kGe, kLt, kLe };
enum class Function : uint8_t { kContains, kStartsWith, kEndsWith };

// Borrows its bytes.
struct FilterValue {
  Family family = Family::kNull;
  bool is_integer = false;  // kExact: the value is `scalar`, otherwise the decimal text in `bytes`
  // An integer, a bool (0, 1), microseconds since 1970 UTC, days since 1970-01-01, or microseconds
  // since midnight.
  int64_t scalar = 0;
  double number = 0;
  std::string_view bytes;
};

[[nodiscard]] Family FamilyOf(v1::AttributeType type);

// The value of a field that CheckField() accepted for an attribute of this type.
[[nodiscard]] FilterValue ValueOf(v1::AttributeType type, const schemas::FieldView& field);

// As OData 4.01: null equals null and nothing else, is in no order; never kNull. Both are of one
// family or null.
[[nodiscard]] bool Compare(Comparison comparison, const FilterValue& a, const FilterValue& b);

// kNull where an argument is null. Both are strings or null.
[[nodiscard]] Truth Call(Function function, const FilterValue& a, const FilterValue& b);

// Three-way comparison of canonical decimals (schemas/base/decimal.h) by value.
[[nodiscard]] int CompareDecimals(std::string_view a, std::string_view b);

[[nodiscard]] inline Truth Not(Truth truth) {
  return truth == Truth::kNull ? truth : truth == Truth::kTrue ? Truth::kFalse : Truth::kTrue;
}

}  // namespace sluice::projectors

#include "projectors/rules/filter_value.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include "schemas/base/byte_codec.h"

namespace sluice::projectors {
namespace {

template <typename T>
bool Holds(Comparison comparison, const T& a, const T& b) {
  switch (comparison) {
    case Comparison::kEq:
      return a == b;
    case Comparison::kNe:
      return a != b;
    case Comparison::kGt:
      return a > b;
    case Comparison::kGe:
      return a >= b;
    case Comparison::kLt:
      return a < b;
    case Comparison::kLe:
      return a <= b;
  }
  return false;
}

// Three-way comparison of canonical decimals without their sign.
int CompareMagnitudes(std::string_view a, std::string_view b) {
  const size_t a_point = std::min(a.find('.'), a.size());
  const size_t b_point = std::min(b.find('.'), b.size());
  if (a_point != b_point) {
    return a_point < b_point ? -1 : 1;
  }
  // The integer parts have one length, and neither fraction ends in a zero.
  const int order = a.compare(b);
  return order < 0 ? -1 : order > 0 ? 1 : 0;
}

struct IntegerText {
  char digits[24];
  std::string_view view;
  explicit IntegerText(int64_t value) {
    const auto end = std::to_chars(digits, digits + sizeof(digits), value);
    view = {digits, static_cast<size_t>(end.ptr - digits)};
  }
};

int CompareExact(const FilterValue& a, const FilterValue& b) {
  if (a.is_integer && b.is_integer) {
    return a.scalar < b.scalar ? -1 : a.scalar > b.scalar ? 1 : 0;
  }
  if (a.is_integer) {
    return CompareDecimals(IntegerText(a.scalar).view, b.bytes);
  }
  return b.is_integer ? CompareDecimals(a.bytes, IntegerText(b.scalar).view)
                      : CompareDecimals(a.bytes, b.bytes);
}

}  // namespace

int CompareDecimals(std::string_view a, std::string_view b) {
  const bool a_negative = a.starts_with('-');
  const bool b_negative = b.starts_with('-');
  if (a_negative != b_negative) {
    return a_negative ? -1 : 1;
  }
  return a_negative ? CompareMagnitudes(b.substr(1), a.substr(1)) : CompareMagnitudes(a, b);
}

Family FamilyOf(v1::AttributeType type) {
  switch (type) {
    case v1::ATTRIBUTE_TYPE_STRING:
      return Family::kString;
    case v1::ATTRIBUTE_TYPE_INT32:
    case v1::ATTRIBUTE_TYPE_INT64:
    case v1::ATTRIBUTE_TYPE_DECIMAL:
      return Family::kExact;
    case v1::ATTRIBUTE_TYPE_DOUBLE:
      return Family::kDouble;
    case v1::ATTRIBUTE_TYPE_BOOL:
      return Family::kBool;
    case v1::ATTRIBUTE_TYPE_DATETIME:
      return Family::kDatetime;
    case v1::ATTRIBUTE_TYPE_DATE:
      return Family::kDate;
    case v1::ATTRIBUTE_TYPE_TIME:
      return Family::kTime;
    case v1::ATTRIBUTE_TYPE_UUID:
      return Family::kUuid;
    case v1::ATTRIBUTE_TYPE_BYTES:
      return Family::kBytes;
    default:
      return Family::kNull;
  }
}

FilterValue ValueOf(v1::AttributeType type, const schemas::FieldView& field) {
  FilterValue value;
  value.family = FamilyOf(type);
  value.is_integer = type == v1::ATTRIBUTE_TYPE_INT32 || type == v1::ATTRIBUTE_TYPE_INT64;
  value.scalar = type == v1::ATTRIBUTE_TYPE_DATE ? FromZigzag(field.scalar)
                                                 : static_cast<int64_t>(field.scalar);
  value.number = type == v1::ATTRIBUTE_TYPE_DOUBLE ? std::bit_cast<double>(field.scalar) : 0;
  value.bytes = field.payload;
  return value;
}

bool Compare(Comparison comparison, const FilterValue& a, const FilterValue& b) {
  if (a.family == Family::kNull || b.family == Family::kNull) {
    const bool equal = a.family == b.family;
    return comparison == Comparison::kEq ? equal : comparison == Comparison::kNe && !equal;
  }
  switch (a.family) {
    case Family::kExact:
      return Holds(comparison, CompareExact(a, b), 0);
    case Family::kDouble:
      return Holds(comparison, a.number, b.number);
    case Family::kBool:
    case Family::kDatetime:
    case Family::kDate:
    case Family::kTime:
      return Holds(comparison, a.scalar, b.scalar);
    default:
      return Holds(comparison, a.bytes, b.bytes);
  }
}

Truth Call(Function function, const FilterValue& a, const FilterValue& b) {
  if (a.family == Family::kNull || b.family == Family::kNull) {
    return Truth::kNull;
  }
  bool holds = false;
  switch (function) {
    case Function::kContains:
      // Not find(), which takes the product of both sizes for texts that nearly match everywhere.
      holds = b.bytes.empty() ||
              (a.bytes.size() >= b.bytes.size() &&
               ::memmem(a.bytes.data(), a.bytes.size(), b.bytes.data(), b.bytes.size()) != nullptr);
      break;
    case Function::kStartsWith:
      holds = a.bytes.starts_with(b.bytes);
      break;
    case Function::kEndsWith:
      holds = a.bytes.ends_with(b.bytes);
      break;
  }
  return holds ? Truth::kTrue : Truth::kFalse;
}

}  // namespace sluice::projectors

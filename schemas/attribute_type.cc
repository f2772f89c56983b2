#include "schemas/attribute_type.h"

#include <algorithm>
#include <array>

#include "schemas/base/ascii.h"

namespace sluice::schemas {
namespace {

// The place in the list is the persisted number of the type.
constexpr auto kNames =
    std::to_array<std::string_view>({"", "string", "int32", "int64", "double", "decimal", "bool",
                                     "datetime", "uuid", "bytes", "date", "time"});
static_assert(kNames.size() == v1::AttributeType_ARRAYSIZE);

}  // namespace

std::string_view AttributeTypeName(v1::AttributeType type) {
  const auto index = static_cast<size_t>(type);
  return index < kNames.size() ? kNames[index] : std::string_view();
}

v1::AttributeType AttributeTypeFromName(std::string_view name) {
  const auto* found = std::find(kNames.begin(), kNames.end(), name);
  return found == kNames.end() ? v1::ATTRIBUTE_TYPE_UNSPECIFIED
                               : static_cast<v1::AttributeType>(found - kNames.begin());
}

bool IsValidName(std::string_view name) {
  return !name.empty() && name.size() <= 128 && !IsDigit(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [](char c) { return IsLetterOrDigit(c) || c == '_'; });
}

bool CanHoldOwner(v1::AttributeType type) {
  switch (type) {
    case v1::ATTRIBUTE_TYPE_STRING:
    case v1::ATTRIBUTE_TYPE_INT32:
    case v1::ATTRIBUTE_TYPE_INT64:
    case v1::ATTRIBUTE_TYPE_UUID:
      return true;
    default:
      return false;
  }
}

}  // namespace sluice::schemas

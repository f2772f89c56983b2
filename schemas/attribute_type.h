#pragma once

#include <string_view>

#include "absl/status/status.h"
#include "schemas/sluice/v1/definitions.pb.h"

namespace sluice::schemas {

// The name that definitions use: "string", "int32", ... Empty for a type that is none.
[[nodiscard]] std::string_view AttributeTypeName(v1::AttributeType type);

// The type of that name, ATTRIBUTE_TYPE_UNSPECIFIED where there is none.
[[nodiscard]] v1::AttributeType AttributeTypeFromName(std::string_view name);

// An entity's or attribute's name: [A-Za-z_][A-Za-z0-9_]{0,127}.
[[nodiscard]] bool IsValidName(std::string_view name);

// Whether an attribute of this type may hold an owner: it is compared with a claim's text.
[[nodiscard]] bool CanHoldOwner(v1::AttributeType type);

}  // namespace sluice::schemas

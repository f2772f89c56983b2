#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/odata/csdl.h"
#include "schemas/sluice/v1/definitions.pb.h"

namespace sluice::gateways {

// The primitive types of OData that an attribute can hold.
enum class EdmType : uint8_t {
  kString,
  kGuid,
  kBinary,
  kBoolean,
  kInteger,  // Byte, SByte, Int16, Int32
  kInt64,
  kDouble,  // Single, Double
  kDecimal,
  kDate,
  kTimeOfDay,
  kDateTimeOffset,
  kDuration,
  kEnum,
};

// The type that a service calls "Edm.Guid" and so on; nullopt for those that we don't take: Stream,
// Geography and Geometry, Untyped, PrimitiveType and what is none.
[[nodiscard]] std::optional<EdmType> EdmTypeFromName(std::string_view name);

// The one place that says what becomes of each.
[[nodiscard]] v1::AttributeType AttributeTypeOf(EdmType type);

// Whether its values are numbers in JSON (Int64 and Decimal are strings by IEEE754Compatible, and
// numbers where a service does not know that).
[[nodiscard]] bool IsNumeric(EdmType type);

// The text that schemas::AppendField() takes, of a value's text as OData has it: base64url becomes
// base64, seconds that were left out are zeros, a member's number becomes its name. `members` is of
// an enumeration. kInvalidArgument, code "type_mismatch", with the reason alone; what is not looked
// at here is AppendField's to refuse.
[[nodiscard]] absl::StatusOr<std::string> FieldTextOf(EdmType type, const CsdlEnum* members,
                                                      std::string_view text);

}  // namespace sluice::gateways

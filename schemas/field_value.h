#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "schemas/row_codec.h"

// One attribute's value: from its text to a field of row bytes and back.
namespace sluice::schemas {

// The wire type of the attribute's field.
[[nodiscard]] constexpr uint8_t WireTypeOf(v1::AttributeType type) {
  switch (type) {
    case v1::ATTRIBUTE_TYPE_INT32:
    case v1::ATTRIBUTE_TYPE_INT64:
    case v1::ATTRIBUTE_TYPE_BOOL:
    case v1::ATTRIBUTE_TYPE_DATE:
    case v1::ATTRIBUTE_TYPE_TIME:
      return 0;  // varint
    case v1::ATTRIBUTE_TYPE_DOUBLE:
    case v1::ATTRIBUTE_TYPE_DATETIME:
      return 1;  // 64 bits
    default:
      return 2;  // length-delimited
  }
}

// Appends the field of `attribute` whose value has this text: what a JSON string holds, or the
// characters of a JSON number, true or false. Code "type_mismatch" where it is not of the type; the
// message is the reason alone.
[[nodiscard]] absl::Status AppendField(const Attribute& attribute, std::string_view text,
                                       std::string* out);

// Appends the canonical text of the value. Code "malformed_row" where the field does not hold one.
[[nodiscard]] absl::Status AppendFieldText(const Attribute& attribute, const FieldView& field,
                                           std::string* out);

// Whether the field holds a canonical value of the attribute's type in its shortest encoding, so
// that equal values have equal bytes. Code "type_mismatch"; the message is the reason alone.
[[nodiscard]] absl::Status CheckField(const Attribute& attribute, const FieldView& field);

}  // namespace sluice::schemas

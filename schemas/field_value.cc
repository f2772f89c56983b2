#include "schemas/field_value.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <limits>

#include "schemas/attribute_type.h"
#include "schemas/base/date.h"
#include "schemas/base/datetime.h"
#include "schemas/base/decimal.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/base/time_of_day.h"
#include "schemas/wire.h"

namespace sluice::schemas {
namespace {

constexpr int64_t kInt32Min = std::numeric_limits<int32_t>::min();
constexpr int64_t kInt32Max = std::numeric_limits<int32_t>::max();
constexpr int64_t kInt64Min = std::numeric_limits<int64_t>::min();
constexpr int64_t kInt64Max = std::numeric_limits<int64_t>::max();

void AppendVarintField(AttributeId id, uint64_t value, std::string* out) {
  wire::AppendTag(id, wire::kVarint, out);
  PutVarint(value, out);
}

void AppendFixedField(AttributeId id, uint64_t value, std::string* out) {
  wire::AppendTag(id, wire::kFixed64, out);
  wire::AppendFixed64(value, out);
}

void AppendBytesField(AttributeId id, std::string_view value, std::string* out) {
  wire::AppendTag(id, wire::kBytes, out);
  PutVarint(value.size(), out);
  out->append(value);
}

// `reason`: what the text is not that has no value.
absl::Status AppendDecoded(AttributeId id, const std::optional<std::string>& value,
                           std::string_view reason, std::string* out) {
  if (!value.has_value()) {
    return TypeMismatch("{}", reason);
  }
  AppendBytesField(id, *value, out);
  return absl::OkStatus();
}

}  // namespace

absl::Status AppendField(const Attribute& attribute, std::string_view text, std::string* out) {
  const AttributeId id = attribute.id;
  switch (attribute.type) {
    case v1::ATTRIBUTE_TYPE_STRING:
      if (!IsValidUtf8(text)) {
        return TypeMismatch("is not UTF-8");
      }
      AppendBytesField(id, text, out);
      return absl::OkStatus();
    case v1::ATTRIBUTE_TYPE_INT32:
    case v1::ATTRIBUTE_TYPE_INT64: {
      const bool wide = attribute.type == v1::ATTRIBUTE_TYPE_INT64;
      ASSIGN_OR_RETURN(const int64_t value, ParseInteger(text, wide ? kInt64Min : kInt32Min,
                                                         wide ? kInt64Max : kInt32Max));
      AppendVarintField(id, static_cast<uint64_t>(value), out);
      return absl::OkStatus();
    }
    case v1::ATTRIBUTE_TYPE_DOUBLE: {
      ASSIGN_OR_RETURN(const double value, ParseDouble(text));
      AppendFixedField(id, std::bit_cast<uint64_t>(value), out);
      return absl::OkStatus();
    }
    case v1::ATTRIBUTE_TYPE_DECIMAL: {
      ASSIGN_OR_RETURN(const std::string value, CanonicalDecimal(text));
      AppendBytesField(id, value, out);
      return absl::OkStatus();
    }
    case v1::ATTRIBUTE_TYPE_BOOL:
      if (text != "true" && text != "false") {
        return TypeMismatch("is neither true nor false");
      }
      AppendVarintField(id, text == "true" ? 1 : 0, out);
      return absl::OkStatus();
    case v1::ATTRIBUTE_TYPE_DATETIME: {
      ASSIGN_OR_RETURN(const int64_t value, ParseDatetime(text));
      AppendFixedField(id, static_cast<uint64_t>(value), out);
      return absl::OkStatus();
    }
    case v1::ATTRIBUTE_TYPE_DATE: {
      ASSIGN_OR_RETURN(const int64_t value, ParseDate(text));
      wire::AppendTag(id, wire::kVarint, out);
      PutSigned(value, out);
      return absl::OkStatus();
    }
    case v1::ATTRIBUTE_TYPE_TIME: {
      ASSIGN_OR_RETURN(const int64_t value, ParseTimeOfDay(text));
      AppendVarintField(id, static_cast<uint64_t>(value), out);
      return absl::OkStatus();
    }
    case v1::ATTRIBUTE_TYPE_UUID:
      return AppendDecoded(id, DecodeUuid(text),
                           "is not a uuid of the form 1b4e28ba-2fa1-11d2-883f-0016d3cca427", out);
    case v1::ATTRIBUTE_TYPE_BYTES:
      return AppendDecoded(id, DecodeBase64(text), "is not base64 (standard alphabet, padded)",
                           out);
    default:
      return TypeMismatch("has an attribute of no known type");
  }
}

absl::Status AppendFieldText(const Attribute& attribute, const FieldView& field, std::string* out) {
  if (absl::Status checked = CheckField(attribute, field); !checked.ok()) {
    return wire::MalformedRow(fmt::format("attribute {} of id {} {}", attribute.name,
                                          attribute.id.value(), Message(checked)));
  }
  char text[64];
  switch (attribute.type) {
    case v1::ATTRIBUTE_TYPE_INT32:
    case v1::ATTRIBUTE_TYPE_INT64: {
      const auto end = std::to_chars(text, text + sizeof(text), static_cast<int64_t>(field.scalar));
      out->append(text, end.ptr);
      break;
    }
    case v1::ATTRIBUTE_TYPE_DOUBLE: {
      const auto end =
          std::to_chars(text, text + sizeof(text), std::bit_cast<double>(field.scalar));
      out->append(text, end.ptr);
      break;
    }
    case v1::ATTRIBUTE_TYPE_BOOL:
      out->append(field.scalar != 0 ? "true" : "false");
      break;
    case v1::ATTRIBUTE_TYPE_DATETIME:
      WriteDatetime(static_cast<int64_t>(field.scalar), text);
      out->append(text, kDatetimeTextSize);
      break;
    case v1::ATTRIBUTE_TYPE_DATE:
      WriteDate(FromZigzag(field.scalar), text);
      out->append(text, kDateTextSize);
      break;
    case v1::ATTRIBUTE_TYPE_TIME:
      WriteTimeOfDay(static_cast<int64_t>(field.scalar), text);
      out->append(text, kTimeOfDayTextSize);
      break;
    case v1::ATTRIBUTE_TYPE_UUID:
      EncodeUuid(field.payload, text);
      out->append(text, kUuidTextSize);
      break;
    case v1::ATTRIBUTE_TYPE_BYTES: {
      const size_t size = out->size();
      out->resize(size + Base64Size(field.payload.size()));
      EncodeBase64(field.payload, out->data() + size);
      break;
    }
    default:
      out->append(field.payload);
  }
  return absl::OkStatus();
}

absl::Status CheckField(const Attribute& attribute, const FieldView& field) {
  if (field.wire_type != WireTypeOf(attribute.type)) {
    return TypeMismatch("has wire type {}, which no {} has", field.wire_type,
                        AttributeTypeName(attribute.type));
  }
  const size_t tag_size = wire::VarintSize(static_cast<uint64_t>(field.id.value()) << 3);
  const size_t body_size = field.wire_type == wire::kVarint ? wire::VarintSize(field.scalar)
                           : field.wire_type == wire::kBytes
                               ? wire::VarintSize(field.payload.size()) + field.payload.size()
                               : 8;
  if (field.raw.size() != tag_size + body_size) {
    return TypeMismatch("has a varint longer than it needs");
  }
  const auto value = static_cast<int64_t>(field.scalar);
  bool fits = true;
  switch (attribute.type) {
    case v1::ATTRIBUTE_TYPE_STRING:
      fits = IsValidUtf8(field.payload);
      break;
    case v1::ATTRIBUTE_TYPE_INT32:
      fits = value >= kInt32Min && value <= kInt32Max;
      break;
    case v1::ATTRIBUTE_TYPE_DOUBLE: {
      // Negative zero is zero's second encoding, so it is none.
      constexpr uint64_t kNegativeZero = uint64_t{1} << 63;
      fits = std::isfinite(std::bit_cast<double>(field.scalar)) && field.scalar != kNegativeZero;
      break;
    }
    case v1::ATTRIBUTE_TYPE_DECIMAL:
      fits = IsCanonicalDecimal(field.payload);
      break;
    case v1::ATTRIBUTE_TYPE_BOOL:
      fits = field.scalar <= 1;
      break;
    case v1::ATTRIBUTE_TYPE_DATETIME:
      fits = value >= kDatetimeMin && value <= kDatetimeMax;
      break;
    case v1::ATTRIBUTE_TYPE_DATE: {
      const int64_t days = FromZigzag(field.scalar);
      fits = days >= kDateMin && days <= kDateMax;
      break;
    }
    case v1::ATTRIBUTE_TYPE_TIME:
      fits = value >= 0 && value <= kTimeOfDayMax;
      break;
    case v1::ATTRIBUTE_TYPE_UUID:
      fits = field.payload.size() == kUuidSize;
      break;
    default:
      break;
  }
  return fits ? absl::OkStatus() : TypeMismatch("holds no {}", AttributeTypeName(attribute.type));
}

}  // namespace sluice::schemas

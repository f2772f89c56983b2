#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "schemas/base/byte_codec.h"
#include "schemas/base/date.h"
#include "schemas/base/datetime.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/text_codec.h"
#include "schemas/base/time_of_day.h"
#include "schemas/field_value.h"
#include "schemas/row_codec.h"
#include "schemas/wire.h"

// Row bytes to JSON: the hot path of serving. What ingest has validated is not validated again;
// only what could not be written as JSON at all is refused.
namespace sluice::schemas {
namespace {

template <typename Number>
void WriteNumber(JsonWriter* writer, Number value) {
  char* const to = writer->Reserve(32);
  writer->Advance(static_cast<size_t>(std::to_chars(to, to + 32, value).ptr - to));
}

void WriteInt64(JsonWriter* writer, uint64_t scalar) {
  char* const to = writer->Reserve(32);
  *to = '"';
  char* const end = std::to_chars(to + 1, to + 31, static_cast<int64_t>(scalar)).ptr;
  *end = '"';
  writer->Advance(static_cast<size_t>(end + 1 - to));
}

// `value` in quotes as `write` puts it down, in `kSize` characters that need no escapes; false, and
// nothing, where the attribute's type has no such value.
template <size_t kSize, typename Value>
bool WriteText(JsonWriter* writer, bool fits, Value value, void (*write)(Value, char*)) {
  if (!fits) {
    return false;
  }
  char* const to = writer->Reserve(kSize + 2);
  *to = '"';
  write(value, to + 1);
  to[kSize + 1] = '"';
  writer->Advance(kSize + 2);
  return true;
}

// Writes `{"name":` or `,"name":`.
void WriteLabel(JsonWriter* writer, const EntitySchema::JsonLabel& label, char separator) {
  constexpr size_t kStep = EntitySchema::kJsonLabelStep;
  char* const to = writer->Reserve(label.padded.size());
  const char* const from = label.padded.data();
  for (size_t at = 0; at < label.padded.size(); at += kStep) {
    std::memcpy(to + at, from + at, kStep);
  }
  *to = separator;
  writer->Advance(label.size);
}

// False where the field holds no value of the type.
bool WriteValue(JsonWriter* writer, v1::AttributeType type, const FieldView& field) {
  if (field.wire_type != WireTypeOf(type)) {
    return false;
  }
  switch (type) {
    case v1::ATTRIBUTE_TYPE_STRING:
    case v1::ATTRIBUTE_TYPE_DECIMAL:
      writer->String(field.payload);
      return true;
    case v1::ATTRIBUTE_TYPE_INT32: {
      const auto value = static_cast<int64_t>(field.scalar);
      WriteNumber(writer, value);
      return value == static_cast<int32_t>(value);
    }
    case v1::ATTRIBUTE_TYPE_INT64:
      WriteInt64(writer, field.scalar);
      return true;
    case v1::ATTRIBUTE_TYPE_DOUBLE: {
      const auto value = std::bit_cast<double>(field.scalar);
      WriteNumber(writer, value);
      return std::isfinite(value);
    }
    case v1::ATTRIBUTE_TYPE_BOOL:
      writer->Raw(field.scalar != 0 ? "true" : "false");
      return field.scalar <= 1;
    case v1::ATTRIBUTE_TYPE_DATETIME: {
      const auto micros = static_cast<int64_t>(field.scalar);
      const bool fits = micros >= kDatetimeMin && micros <= kDatetimeMax;
      return WriteText<kDatetimeTextSize>(writer, fits, micros, WriteDatetime);
    }
    case v1::ATTRIBUTE_TYPE_DATE: {
      const int64_t days = FromZigzag(field.scalar);
      const bool fits = days >= kDateMin && days <= kDateMax;
      return WriteText<kDateTextSize>(writer, fits, days, WriteDate);
    }
    case v1::ATTRIBUTE_TYPE_TIME: {
      const auto micros = static_cast<int64_t>(field.scalar);
      const bool fits = micros >= 0 && micros <= kTimeOfDayMax;
      return WriteText<kTimeOfDayTextSize>(writer, fits, micros, WriteTimeOfDay);
    }
    case v1::ATTRIBUTE_TYPE_UUID:
      return WriteText<kUuidTextSize>(writer, field.payload.size() == kUuidSize, field.payload,
                                      EncodeUuid);
    case v1::ATTRIBUTE_TYPE_BYTES:
      writer->Base64(field.payload);
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::Status AppendRowJson(const EntitySchema& schema, std::string_view row,
                           std::span<const AttributeId> denied, std::string* out) {
  const size_t size_before = out->size();
  JsonWriter writer(out);
  const char* p = row.data();
  const char* const end = p + row.size();
  FieldView field;
  size_t denied_at = 0;
  char separator = '{';
  while (p < end) {
    p = wire::ReadField(p, end, field.id.value(), &field);
    if (p == nullptr) {
      out->resize(size_before);
      return wire::MalformedRow(fmt::format("of {}: malformed or out of order after attribute {}",
                                            schema.name(), field.id.value()));
    }
    while (denied_at < denied.size() && denied[denied_at] < field.id) {
      ++denied_at;
    }
    const Attribute* const attribute = schema.Find(field.id);
    if (attribute == nullptr || (denied_at < denied.size() && denied[denied_at] == field.id)) {
      continue;
    }
    WriteLabel(&writer, schema.LabelOf(*attribute), separator);
    separator = ',';
    if (!WriteValue(&writer, attribute->type, field)) {
      out->resize(size_before);
      return wire::MalformedRow(
          fmt::format("{}.{} holds no value of its type", schema.name(), attribute->name));
    }
  }
  writer.Raw(separator == '{' ? "{}" : "}");
  writer.Flush();
  return absl::OkStatus();
}

}  // namespace sluice::schemas

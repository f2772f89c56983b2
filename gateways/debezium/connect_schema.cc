#include "gateways/debezium/connect_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"

namespace sluice::gateways {
namespace {

constexpr int kDepthMax = 32;  // a structure within a structure takes two levels

absl::Status InvalidSchema(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_connect_schema",
               fmt::format("the message's schema {}", why));
}

struct NamedForm {
  std::string_view name;
  std::string_view type;  // Connect's: a name with another one means something else
  ColumnForm form;
};

// What the name of a schema says of its values (Debezium's documentation of its PostgreSQL
// connector, "Data type mappings"). A name that is not here is passed over: its type counts.
constexpr auto kNamed = std::to_array<NamedForm>({
    {"org.apache.kafka.connect.data.Decimal", "bytes", ColumnForm::kDecimal},
    {"org.apache.kafka.connect.data.Date", "int32", ColumnForm::kDays},
    {"org.apache.kafka.connect.data.Time", "int32", ColumnForm::kMillisOfDay},
    {"org.apache.kafka.connect.data.Timestamp", "int64", ColumnForm::kMillis},
    {"io.debezium.data.VariableScaleDecimal", "struct", ColumnForm::kScaledDecimal},
    {"io.debezium.data.Uuid", "string", ColumnForm::kUuid},
    {"io.debezium.time.Date", "int32", ColumnForm::kDays},
    {"io.debezium.time.Time", "int32", ColumnForm::kMillisOfDay},
    {"io.debezium.time.MicroTime", "int64", ColumnForm::kMicrosOfDay},
    {"io.debezium.time.NanoTime", "int64", ColumnForm::kNanosOfDay},
    {"io.debezium.time.Timestamp", "int64", ColumnForm::kMillis},
    {"io.debezium.time.MicroTimestamp", "int64", ColumnForm::kMicros},
    {"io.debezium.time.NanoTimestamp", "int64", ColumnForm::kNanos},
    {"io.debezium.time.ZonedTimestamp", "string", ColumnForm::kZonedDatetime},
    {"io.debezium.time.IsoTimestamp", "string", ColumnForm::kZonedDatetime},
    {"io.debezium.time.IsoDate", "string", ColumnForm::kIsoDate},
    {"io.debezium.time.IsoTime", "string", ColumnForm::kIsoTime},
});

constexpr auto kTypes = std::to_array<std::pair<std::string_view, ColumnForm>>({
    {"boolean", ColumnForm::kBool},
    {"int8", ColumnForm::kInt32},
    {"int16", ColumnForm::kInt32},
    {"int32", ColumnForm::kInt32},
    {"int64", ColumnForm::kInt64},
    {"float", ColumnForm::kDouble},
    {"double", ColumnForm::kDouble},
    {"string", ColumnForm::kString},
    {"bytes", ColumnForm::kBytes},
    {"array", ColumnForm::kNested},
    {"map", ColumnForm::kNested},
    {"struct", ColumnForm::kNested},
});

// A member that is text; empty where there is none.
std::string_view TextOf(const nlohmann::json& object, const char* member) {
  const auto found = object.find(member);
  return found != object.end() && found->is_string()
             ? std::string_view(found->get_ref<const std::string&>())
             : std::string_view();
}

absl::StatusOr<int32_t> ScaleOf(const nlohmann::json& field) {
  const auto parameters = field.find("parameters");
  const std::string_view text = parameters != field.end() && parameters->is_object()
                                    ? TextOf(*parameters, "scale")
                                    : std::string_view();
  int32_t scale = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), scale);
  if (error != std::errc() || end != text.data() + text.size()) {
    return InvalidSchema(fmt::format("has a decimal of scale {}", QuoteForError(text)));
  }
  return scale;
}

absl::StatusOr<ConnectColumn> ColumnOf(const nlohmann::json& field) {
  ConnectColumn column;
  const std::string_view type = field.is_object() ? TextOf(field, "type") : std::string_view();
  const auto* const known =
      std::ranges::find(kTypes, type, &std::pair<std::string_view, ColumnForm>::first);
  if (known == kTypes.end()) {
    return InvalidSchema(fmt::format("has a field of type {}", QuoteForError(type)));
  }
  column.name = TextOf(field, "field");
  if (column.name.empty()) {
    return InvalidSchema("has a field without a name");
  }
  column.form = known->second;
  const std::string_view name = TextOf(field, "name");
  const auto* const named = std::ranges::find_if(
      kNamed, [&](const NamedForm& form) { return form.name == name && form.type == type; });
  if (named != kNamed.end()) {
    column.form = named->form;
  }
  if (column.form == ColumnForm::kDecimal) {
    ASSIGN_OR_RETURN(column.scale, ScaleOf(field));
  }
  return column;
}

absl::StatusOr<std::vector<ConnectColumn>> ColumnsOf(const nlohmann::json& schema) {
  const auto fields = schema.find("fields");
  if (TextOf(schema, "type") != "struct" || fields == schema.end() || !fields->is_array()) {
    return InvalidSchema("is no structure");
  }
  std::vector<ConnectColumn> columns;
  std::unordered_set<std::string> names;
  for (const nlohmann::json& field : *fields) {
    ASSIGN_OR_RETURN(ConnectColumn column, ColumnOf(field));
    if (!names.insert(column.name).second) {
      return InvalidSchema(fmt::format("names {} twice", QuoteForError(column.name)));
    }
    columns.push_back(std::move(column));
  }
  return columns;
}

absl::StatusOr<nlohmann::json> ParseSchemaJson(std::string_view text) {
  absl::StatusOr<nlohmann::json> schema = ParseStrictObject<nlohmann::json>(text, kDepthMax);
  if (!schema.ok()) {
    return InvalidSchema(fmt::format("can't be read: {}", Message(schema.status())));
  }
  return schema;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ConnectSchema>> ConnectSchema::Parse(std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json schema, ParseSchemaJson(text));
  std::shared_ptr<ConnectSchema> result(new ConnectSchema());
  ASSIGN_OR_RETURN(result->columns_, ColumnsOf(schema));
  return result;
}

absl::StatusOr<std::shared_ptr<const ConnectSchema>> ConnectSchema::ParseEnvelope(
    std::string_view text) {
  ASSIGN_OR_RETURN(const nlohmann::json schema, ParseSchemaJson(text));
  const auto fields = schema.find("fields");
  if (TextOf(schema, "type") != "struct" || fields == schema.end() || !fields->is_array()) {
    return InvalidSchema("is no structure");
  }
  for (const nlohmann::json& field : *fields) {
    const std::string_view name = field.is_object() ? TextOf(field, "field") : std::string_view();
    if (name == "after" || name == "before") {  // both are of the table's structure
      std::shared_ptr<ConnectSchema> result(new ConnectSchema());
      ASSIGN_OR_RETURN(result->columns_, ColumnsOf(field));
      return result;
    }
  }
  return nullptr;
}

const ConnectColumn* ConnectSchema::Find(std::string_view name, size_t hint) const {
  if (hint < columns_.size() && columns_[hint].name == name) {
    return &columns_[hint];
  }
  const auto found = std::ranges::find(columns_, name, &ConnectColumn::name);
  return found == columns_.end() ? nullptr : &*found;
}

v1::AttributeType AttributeTypeOf(ColumnForm form) {
  switch (form) {
    case ColumnForm::kBool:
      return v1::ATTRIBUTE_TYPE_BOOL;
    case ColumnForm::kInt32:
      return v1::ATTRIBUTE_TYPE_INT32;
    case ColumnForm::kInt64:
      return v1::ATTRIBUTE_TYPE_INT64;
    case ColumnForm::kDouble:
      return v1::ATTRIBUTE_TYPE_DOUBLE;
    case ColumnForm::kBytes:
      return v1::ATTRIBUTE_TYPE_BYTES;
    case ColumnForm::kUuid:
      return v1::ATTRIBUTE_TYPE_UUID;
    case ColumnForm::kDecimal:
    case ColumnForm::kScaledDecimal:
      return v1::ATTRIBUTE_TYPE_DECIMAL;
    case ColumnForm::kMillis:
    case ColumnForm::kMicros:
    case ColumnForm::kNanos:
    case ColumnForm::kZonedDatetime:
      return v1::ATTRIBUTE_TYPE_DATETIME;
    case ColumnForm::kDays:
    case ColumnForm::kIsoDate:
      return v1::ATTRIBUTE_TYPE_DATE;
    case ColumnForm::kMillisOfDay:
    case ColumnForm::kMicrosOfDay:
    case ColumnForm::kNanosOfDay:
    case ColumnForm::kIsoTime:
      return v1::ATTRIBUTE_TYPE_TIME;
    case ColumnForm::kString:
    case ColumnForm::kNested:
      return v1::ATTRIBUTE_TYPE_STRING;
    case ColumnForm::kUndeclared:
      break;
  }
  return v1::ATTRIBUTE_TYPE_UNSPECIFIED;
}

}  // namespace sluice::gateways

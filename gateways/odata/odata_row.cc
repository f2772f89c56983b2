#include "gateways/odata/odata_row.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <map>
#include <utility>

#include "gateways/json_members.h"
#include "gateways/odata/key_predicate.h"
#include "schemas/attribute_type.h"
#include "schemas/base/ascii.h"
#include "schemas/base/decimal.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/field_value.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

// Behind a number's, true's, false's or null's characters in simdjson's token.
constexpr std::string_view kJsonBlanks = " \t\r\n";

namespace ondemand = simdjson::ondemand;
using schemas::Attribute;

// Whether a string's characters are none, while the text around it is read all the same.
bool IsOfCharacters(simdjson::error_code error) {
  return error == simdjson::STRING_ERROR || error == simdjson::UTF8_ERROR ||
         error == simdjson::UNESCAPED_CHARS;
}

absl::Status NoText(simdjson::error_code error) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_json",
               fmt::format("a string of it is none: {}", simdjson::error_message(error)));
}

absl::Status NoJson(simdjson::error_code error) {
  if (IsOfCharacters(error)) {
    return NoText(error);
  }
  return Error(absl::StatusCode::kUnavailable, "source_answer_invalid",
               fmt::format("a row is no JSON object: {}", simdjson::error_message(error)));
}

absl::Status RowRefused(std::string_view code, std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, code, why);
}

#define RETURN_IF_NO_JSON(expr) RETURN_IF_JSON_ERROR(NoJson, expr)

// A property by its name: a column, or what a complex one holds.
struct Node {
  std::map<std::string, Node, std::less<>> inner;
  int column = -1;
};

enum class Seen : uint8_t { kNo, kNull, kValue };

// Where a column's field lies in `fields`.
struct Field {
  Seen seen = Seen::kNo;
  size_t begin = 0;
  size_t size = 0;
};

bool IsSame(std::string_view member, std::string_view plain, std::string_view prefixed) {
  return member == plain || member == prefixed;
}

}  // namespace

struct ODataRowReader::Impl {
  absl::Status ReadRow(std::string_view json, ODataRow& row);
  absl::Status ReadMember(std::string_view name, ondemand::value value, ODataRow& row);
  absl::Status ReadControl(std::string_view name, ondemand::value value, ODataRow& row);
  absl::Status ReadObject(const Node& node, ondemand::object object);
  absl::Status ReadNode(const Node& node, std::string_view name, ondemand::value value);
  absl::Status ReadColumn(size_t column, ondemand::value value);
  absl::Status AddField(size_t column, std::string_view text);
  void SetNull(const Node& node);
  absl::StatusOr<std::string> KeyPartText(size_t column);
  // The key from the columns; empty where one of its parts did not come.
  absl::StatusOr<std::string> KeyFromColumns();
  absl::Status FinishUpsert(ODataRow& row);
  absl::Status FinishDelete(ODataRow& row);
  // What is wrong with the row alone, if nothing was before: the rest of the text is read on, for
  // it may say that the row is none, or is deleted.
  void Note(absl::Status why);

  MappedEntity entity;
  std::shared_ptr<const schemas::EntitySchema> schema;
  Node root;
  std::vector<const Attribute*> attributes;  // of each column
  std::vector<size_t> by_id;                 // columns, and columns.size() for a composed key
  const Attribute* composed_key = nullptr;   // nullptr: the key is a column

  JsonText input;
  // Of the row that is being read.
  std::string fields;
  std::vector<Field> seen;
  absl::Status wrong;
  std::string id;        // "@id", "@odata.id"
  std::string plain_id;  // "id", which is the id in a deleted entity of 4.0
  bool removed = false;  // "@removed"
  bool deleted_in_context = false;
};

void ODataRowReader::Impl::Note(absl::Status why) {
  if (wrong.ok()) {
    wrong = std::move(why);
  }
}

absl::Status ODataRowReader::Impl::AddField(size_t column, std::string_view text) {
  const Attribute& attribute = *attributes[column];
  if (text.size() > kPropertyBytesMax) {
    return RowRefused("too_large", fmt::format("{}: {} bytes are more than {}", attribute.name,
                                               text.size(), kPropertyBytesMax));
  }
  const MappedColumn& mapped = entity.columns[column];
  const auto field_text = FieldTextOf(mapped.type, mapped.members.get(), text);
  const size_t begin = fields.size();
  const absl::Status added =
      field_text.ok() ? schemas::AppendField(attribute, *field_text, &fields) : field_text.status();
  if (!added.ok()) {
    return RowRefused(ErrorCode(added), fmt::format("{}: {} {}", attribute.name,
                                                    QuoteForError(text), Message(added)));
  }
  seen[column] = {Seen::kValue, begin, fields.size() - begin};
  return absl::OkStatus();
}

absl::Status ODataRowReader::Impl::ReadColumn(size_t column, ondemand::value value) {
  const std::string& name = attributes[column]->name;
  if (seen[column].seen != Seen::kNo) {
    Note(RowRefused("invalid_json", fmt::format("{} comes twice", name)));
    return absl::OkStatus();
  }
  ondemand::json_type kind{};
  RETURN_IF_NO_JSON(value.type().get(kind));
  const EdmType type = entity.columns[column].type;
  if (kind == ondemand::json_type::string) {
    std::string_view text;
    const simdjson::error_code error = value.get_string().get(text);
    if (IsOfCharacters(error)) {
      Note(NoText(error));
      return absl::OkStatus();
    }
    RETURN_IF_NO_JSON(error);
    Note(type == EdmType::kBoolean
             ? RowRefused("type_mismatch", fmt::format("{}: {} is a string, not true or false",
                                                       name, QuoteForError(text)))
             : AddField(column, text));
    return absl::OkStatus();
  }
  if (kind == ondemand::json_type::object || kind == ondemand::json_type::array) {
    Note(RowRefused("type_mismatch", fmt::format("{}: is an object or an array", name)));
    return absl::OkStatus();
  }
  const std::string_view token = TrimBlanks(value.raw_json_token(), kJsonBlanks);
  if (token == "null") {
    seen[column].seen = Seen::kNull;
    return absl::OkStatus();
  }
  const bool boolean = token == "true" || token == "false";
  if (!boolean && !IsJsonNumber(token)) {
    return NoJson(simdjson::TAPE_ERROR);
  }
  // Enumerations are names, but numbers where a service writes them so.
  const bool fits = boolean ? type == EdmType::kBoolean : IsNumeric(type) || type == EdmType::kEnum;
  Note(fits ? AddField(column, token)
            : RowRefused("type_mismatch",
                         fmt::format("{}: {} is no {}", name, QuoteForError(token),
                                     schemas::AttributeTypeName(attributes[column]->type))));
  return absl::OkStatus();
}

void ODataRowReader::Impl::SetNull(const Node& node) {
  for (const auto& [name, inner] : node.inner) {
    if (inner.column >= 0) {
      seen[static_cast<size_t>(inner.column)].seen = Seen::kNull;
    }
    SetNull(inner);
  }
}

absl::Status ODataRowReader::Impl::ReadNode(const Node& node, std::string_view name,
                                            ondemand::value value) {
  if (node.column >= 0) {
    return ReadColumn(static_cast<size_t>(node.column), value);
  }
  ondemand::json_type kind{};
  RETURN_IF_NO_JSON(value.type().get(kind));
  if (kind == ondemand::json_type::object) {
    ondemand::object object;
    RETURN_IF_NO_JSON(value.get_object().get(object));
    return ReadObject(node, object);
  }
  if (kind == ondemand::json_type::null &&
      TrimBlanks(value.raw_json_token(), kJsonBlanks) == "null") {
    SetNull(node);
  } else {
    Note(RowRefused("type_mismatch",
                    fmt::format("{} is neither an object nor null", QuoteForError(name))));
  }
  return absl::OkStatus();
}

absl::Status ODataRowReader::Impl::ReadObject(const Node& node, ondemand::object object) {
  return ForEachMember(object, NoJson, [&](std::string_view name, ondemand::value value) {
    const auto found = node.inner.find(name);
    return found == node.inner.end() ? absl::OkStatus()
                                     : ReadNode(found->second, found->first, value);
  });
}

absl::Status ODataRowReader::Impl::ReadControl(std::string_view name, ondemand::value value,
                                               ODataRow& row) {
  if (IsSame(name, "@removed", "@odata.removed")) {
    removed = true;
    return absl::OkStatus();
  }
  const bool is_id = IsSame(name, "@id", "@odata.id");
  if (!is_id && !IsSame(name, "@context", "@odata.context")) {
    return absl::OkStatus();
  }
  std::string_view text;
  if (value.get_string().get(text) != simdjson::SUCCESS) {
    Note(RowRefused("type_mismatch", fmt::format("{} is no string", name)));
    return absl::OkStatus();
  }
  if (is_id) {
    id.assign(text);
  } else if (text.ends_with("$deletedEntity")) {
    deleted_in_context = true;
  } else if (text.ends_with("/$link") || text.ends_with("/$deletedLink")) {
    row.kind = ODataRow::Kind::kPassedOver;
  }
  return absl::OkStatus();
}

absl::Status ODataRowReader::Impl::ReadMember(std::string_view name, ondemand::value value,
                                              ODataRow& row) {
  if (name.starts_with('@')) {
    return ReadControl(name, value, row);
  }
  const auto found = root.inner.find(name);
  ondemand::json_type kind{};
  if (name == "id") {
    RETURN_IF_NO_JSON(value.type().get(kind));
  }
  if (name != "id" || kind != ondemand::json_type::string) {
    return found == root.inner.end() ? absl::OkStatus()
                                     : ReadNode(found->second, found->first, value);
  }
  // The id of a deleted entity, or a property of that name: which is known when all is read.
  std::string_view text;
  RETURN_IF_NO_JSON(value.get_string().get(text));
  plain_id.assign(text);
  if (found == root.inner.end()) {
    return absl::OkStatus();
  }
  if (found->second.column < 0) {
    Note(RowRefused("type_mismatch", "id is neither an object nor null"));
    return absl::OkStatus();
  }
  const auto column = static_cast<size_t>(found->second.column);
  Note(seen[column].seen != Seen::kNo ? RowRefused("invalid_json", "id comes twice")
       : entity.columns[column].type == EdmType::kBoolean
           ? RowRefused("type_mismatch", "id: is a string, not true or false")
           : AddField(column, plain_id));
  return absl::OkStatus();
}

absl::StatusOr<std::string> ODataRowReader::Impl::KeyPartText(size_t column) {
  const Field& field = seen[column];
  schemas::RowScanner scanner(std::string_view(fields).substr(field.begin, field.size));
  scanner.Next();
  std::string text;
  RETURN_IF_ERROR(schemas::AppendFieldText(*attributes[column], scanner.field(), &text));
  return text;
}

absl::StatusOr<std::string> ODataRowReader::Impl::KeyFromColumns() {
  std::vector<std::string> parts;
  for (const MappedKeyPart& part : entity.key) {
    if (seen[part.column].seen != Seen::kValue) {
      return std::string();
    }
    ASSIGN_OR_RETURN(parts.emplace_back(), KeyPartText(part.column));
  }
  std::string key = KeyOf(entity, parts);
  RETURN_IF_ERROR(schemas::ValidateKey(key));
  return key;
}

absl::Status ODataRowReader::Impl::FinishUpsert(ODataRow& row) {
  ASSIGN_OR_RETURN(row.key, KeyFromColumns());
  RETURN_IF_ERROR(wrong);
  if (row.key.empty()) {
    return RowRefused("missing_key", "the row has not all parts of its key");
  }
  row.bytes.reserve(fields.size() + row.key.size());
  for (const size_t column : by_id) {
    if (column == entity.columns.size()) {
      RETURN_IF_ERROR(schemas::AppendField(*composed_key, row.key, &row.bytes));
      continue;
    }
    const Field& field = seen[column];
    if (field.seen == Seen::kNo) {
      row.missing.push_back(attributes[column]->id);
    } else {
      row.bytes.append(fields, field.begin, field.size);
    }
  }
  return absl::OkStatus();
}

absl::Status ODataRowReader::Impl::FinishDelete(ODataRow& row) {
  row.kind = ODataRow::Kind::kDelete;
  // In the form of 4.0 "id" is the entity's id, whatever its properties are called.
  if (deleted_in_context && !plain_id.empty()) {
    ASSIGN_OR_RETURN(row.key, KeyFromId(entity, plain_id));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(row.key, KeyFromColumns());
  if (row.key.empty() && !(id.empty() && plain_id.empty())) {
    ASSIGN_OR_RETURN(row.key, KeyFromId(entity, id.empty() ? plain_id : id));
  }
  return row.key.empty() ? RowRefused("missing_key", "a deleted row has neither its key nor an id")
                         : absl::OkStatus();
}

absl::Status ODataRowReader::Impl::ReadRow(std::string_view json, ODataRow& row) {
  fields.clear();
  seen.assign(entity.columns.size(), Field());
  wrong = absl::OkStatus();
  id.clear();
  plain_id.clear();
  removed = false;
  deleted_in_context = false;
  ondemand::object object;
  RETURN_IF_NO_JSON(input.Open(json));
  RETURN_IF_NO_JSON(input.Object().get(object));
  RETURN_IF_ERROR(ForEachMember(object, NoJson, [&](std::string_view name, ondemand::value value) {
    return ReadMember(name, value, row);
  }));
  if (input.Rest() == simdjson::SUCCESS) {
    return NoJson(simdjson::TAPE_ERROR);
  }
  if (row.kind == ODataRow::Kind::kPassedOver) {
    return absl::OkStatus();
  }
  return removed || deleted_in_context ? FinishDelete(row) : FinishUpsert(row);
}

ODataRowReader::ODataRowReader(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ODataRowReader::~ODataRowReader() = default;

absl::StatusOr<std::unique_ptr<ODataRowReader>> ODataRowReader::Create(
    MappedEntity entity, std::shared_ptr<const schemas::EntitySchema> schema) {
  auto impl = std::make_unique<Impl>();
  const auto differs = [&](std::string_view attribute) {
    return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema",
                 fmt::format("the entity {} has not the attribute {} that the source has",
                             schema->name(), attribute));
  };
  for (size_t i = 0; i < entity.columns.size(); ++i) {
    const MappedColumn& column = entity.columns[i];
    const Attribute* const attribute = schema->Find(column.attribute);
    if (attribute == nullptr || attribute->type != AttributeTypeOf(column.type)) {
      return differs(column.attribute);
    }
    impl->attributes.push_back(attribute);
    impl->by_id.push_back(i);
    Node* node = &impl->root;
    for (const std::string& name : column.path) {
      node = &node->inner[name];
    }
    node->column = static_cast<int>(i);
  }
  if (schema->key().name != entity.definition.primary_key()) {
    return differs(entity.definition.primary_key());
  }
  if (entity.key_is_composed) {
    impl->composed_key = &schema->key();
    impl->by_id.push_back(entity.columns.size());
    if (schema->key().type != v1::ATTRIBUTE_TYPE_STRING) {
      return differs(schema->key().name);
    }
  }
  std::ranges::sort(impl->by_id, {}, [&](size_t column) {
    return column == impl->attributes.size() ? impl->composed_key->id
                                             : impl->attributes[column]->id;
  });
  impl->entity = std::move(entity);
  impl->schema = std::move(schema);
  return std::unique_ptr<ODataRowReader>(new ODataRowReader(std::move(impl)));
}

ODataRow ODataRowReader::Read(std::string_view json) {
  ODataRow row;
  row.status = impl_->ReadRow(json, row);
  return row;
}

}  // namespace sluice::gateways

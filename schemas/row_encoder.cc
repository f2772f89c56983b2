#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <cstring>

#include "schemas/attribute_type.h"
#include "schemas/base/ascii.h"
#include "schemas/base/decimal.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/field_value.h"
#include "schemas/row_codec.h"

namespace sluice::schemas {
namespace {

namespace ondemand = simdjson::ondemand;

absl::Status InvalidJson(const EntitySchema& schema, std::string_view reason) {
  return Invalid("invalid_json", "row of {}: {}", schema.name(), reason);
}

absl::Status InvalidJson(const EntitySchema& schema, simdjson::error_code error) {
  return InvalidJson(schema, simdjson::error_message(error));
}

// The JSON types whose text AppendField() takes for an attribute type.
bool TakesNumber(v1::AttributeType type) {
  switch (type) {
    case v1::ATTRIBUTE_TYPE_INT32:
    case v1::ATTRIBUTE_TYPE_INT64:
    case v1::ATTRIBUTE_TYPE_DOUBLE:
    case v1::ATTRIBUTE_TYPE_DECIMAL:
      return true;
    default:
      return false;
  }
}

std::string_view KindName(ondemand::json_type type) {
  switch (type) {
    case ondemand::json_type::array:
      return "an array";
    case ondemand::json_type::object:
      return "an object";
    case ondemand::json_type::number:
      return "a number";
    case ondemand::json_type::string:
      return "a string";
    default:
      return "true or false";
  }
}

}  // namespace

struct RowEncoder::Impl {
  // Where a field lies in `fields`, which holds them in the order of the JSON.
  struct Span {
    AttributeId id;
    size_t begin = 0;
    size_t size = 0;
  };

  ondemand::parser parser;
  std::string padded;  // the JSON and the zeros that simdjson may read beyond it
  std::string fields;
  std::vector<Span> spans;
  std::vector<uint64_t> seen;  // per attribute of the schema: the row it was last seen in
  uint64_t row = 0;

  absl::StatusOr<EncodedRow> Encode(const EntitySchema& schema, std::string_view json);
  absl::Status TakeMember(const EntitySchema& schema, ondemand::field member, EncodedRow* result);
  absl::Status TakeValue(const EntitySchema& schema, const Attribute& attribute,
                         ondemand::value value, EncodedRow* result);
  absl::Status AddField(const EntitySchema& schema, const Attribute& attribute,
                        std::string_view text, EncodedRow* result);
  void JoinFields(EncodedRow* result);
};

absl::StatusOr<EncodedRow> RowEncoder::Impl::Encode(const EntitySchema& schema,
                                                    std::string_view json) {
  padded.reserve(json.size() + simdjson::SIMDJSON_PADDING);
  padded.assign(json);
  padded.append(simdjson::SIMDJSON_PADDING, '\0');
  fields.clear();
  spans.clear();
  ++row;
  // Marks of another schema's rows are of older rows, so they can stay.
  if (seen.size() < schema.attributes().size()) {
    seen.resize(schema.attributes().size(), 0);
  }
  ondemand::document document;
  ondemand::object object;
  if (const auto error = parser.iterate(padded.data(), json.size(), padded.size()).get(document)) {
    return InvalidJson(schema, error);
  }
  if (const auto error = document.get_object().get(object)) {
    return InvalidJson(
        schema, error == simdjson::INCORRECT_TYPE ? "is not a JSON object" : error_message(error));
  }
  EncodedRow result;
  for (auto member_or : object) {
    ondemand::field member;
    if (const auto error = std::move(member_or).get(member)) {
      return InvalidJson(schema, error);
    }
    RETURN_IF_ERROR(TakeMember(schema, member, &result));
  }
  const char* rest = nullptr;
  if (document.current_location().get(rest) == simdjson::SUCCESS) {
    return InvalidJson(schema, "something follows the object");
  }
  JoinFields(&result);
  return result;
}

absl::Status RowEncoder::Impl::TakeMember(const EntitySchema& schema, ondemand::field member,
                                          EncodedRow* result) {
  std::string_view name;
  if (const auto error = member.unescaped_key().get(name)) {
    return InvalidJson(schema, error);
  }
  const Attribute* const attribute = schema.Find(name);
  if (attribute == nullptr) {
    return Invalid("unknown_attribute", "entity {} has no attribute {}", schema.name(),
                   QuoteForError(name));
  }
  const auto index = static_cast<size_t>(attribute - schema.attributes().data());
  if (seen[index] == row) {
    return InvalidJson(schema, fmt::format("the name \"{}\" comes twice", attribute->name));
  }
  seen[index] = row;
  return TakeValue(schema, *attribute, member.value(), result);
}

absl::Status RowEncoder::Impl::TakeValue(const EntitySchema& schema, const Attribute& attribute,
                                         ondemand::value value, EncodedRow* result) {
  ondemand::json_type kind;
  if (const auto error = value.type().get(kind)) {
    return InvalidJson(schema, error);
  }
  if (kind == ondemand::json_type::string) {
    std::string_view text;
    if (const auto error = value.get_string().get(text)) {
      return InvalidJson(schema, error);
    }
    if (attribute.type == v1::ATTRIBUTE_TYPE_BOOL) {
      return Invalid("type_mismatch", "{}.{}: {} is a string, not true or false", schema.name(),
                     attribute.name, QuoteForError(text));
    }
    return AddField(schema, attribute, text, result);
  }
  const std::string_view token = TrimBlanks(value.raw_json_token(), " \t\r\n");
  const bool literal = token == "true" || token == "false";
  if (token == "null") {
    if (attribute.id == schema.key().id) {
      return Invalid("invalid_key", "{}.{}: the primary key cannot be null", schema.name(),
                     attribute.name);
    }
    result->cleared.push_back(attribute.id);
    return absl::OkStatus();
  }
  if (kind == ondemand::json_type::null || (kind == ondemand::json_type::boolean && !literal) ||
      (kind == ondemand::json_type::number && !IsJsonNumber(token))) {
    return InvalidJson(
        schema, fmt::format("{}: {} is no JSON value", attribute.name, QuoteForError(token)));
  }
  if ((kind == ondemand::json_type::number && TakesNumber(attribute.type)) ||
      (kind == ondemand::json_type::boolean && attribute.type == v1::ATTRIBUTE_TYPE_BOOL)) {
    return AddField(schema, attribute, token, result);
  }
  const bool nested = kind == ondemand::json_type::array || kind == ondemand::json_type::object;
  return Invalid("type_mismatch", "{}.{}: {} is {}, but the attribute's type is {}", schema.name(),
                 attribute.name, nested ? "the value" : QuoteForError(token), KindName(kind),
                 AttributeTypeName(attribute.type));
}

absl::Status RowEncoder::Impl::AddField(const EntitySchema& schema, const Attribute& attribute,
                                        std::string_view text, EncodedRow* result) {
  const size_t begin = fields.size();
  const auto context = [&] {
    return fmt::format("{}.{}: {}", schema.name(), attribute.name, QuoteForError(text));
  };
  if (absl::Status status = AppendField(attribute, text, &fields); !status.ok()) {
    return Invalid(ErrorCode(status), "{} {}", context(), Message(status));
  }
  spans.push_back({attribute.id, begin, fields.size() - begin});
  if (attribute.id == schema.key().id) {
    RowScanner scanner(std::string_view(fields).substr(begin));
    scanner.Next();
    RETURN_IF_ERROR(AppendFieldText(attribute, scanner.field(), &result->key));
    if (absl::Status status = ValidateKey(result->key); !status.ok()) {
      return Annotate(status, context());
    }
  }
  return absl::OkStatus();
}

void RowEncoder::Impl::JoinFields(EncodedRow* result) {
  std::sort(result->cleared.begin(), result->cleared.end());
  const auto by_id = [](const Span& a, const Span& b) { return a.id < b.id; };
  if (std::is_sorted(spans.begin(), spans.end(), by_id)) {
    result->bytes = fields;
    return;
  }
  std::sort(spans.begin(), spans.end(), by_id);
  result->bytes.reserve(fields.size());
  for (const Span& span : spans) {
    result->bytes.append(fields, span.begin, span.size);
  }
}

RowEncoder::RowEncoder() : impl_(std::make_unique<Impl>()) {}
RowEncoder::~RowEncoder() = default;
RowEncoder::RowEncoder(RowEncoder&&) noexcept = default;
RowEncoder& RowEncoder::operator=(RowEncoder&&) noexcept = default;

absl::StatusOr<EncodedRow> RowEncoder::Encode(const EntitySchema& schema, std::string_view json) {
  return impl_->Encode(schema, json);
}

absl::StatusOr<std::string> CanonicalText(v1::AttributeType type, std::string_view text) {
  const Attribute attribute{AttributeId(1), "", type, ""};
  std::string field;
  if (absl::Status status = AppendField(attribute, text, &field); !status.ok()) {
    return Invalid(ErrorCode(status), "{} {}", QuoteForError(text), Message(status));
  }
  RowScanner scanner(field);
  scanner.Next();
  std::string canonical;
  RETURN_IF_ERROR(AppendFieldText(attribute, scanner.field(), &canonical));
  return canonical;
}

absl::Status ValidateKey(std::string_view key) {
  constexpr size_t kKeySizeMax = 512;
  if (key.empty() || key.size() > kKeySizeMax) {
    return Invalid("invalid_key", "a primary key has 1 to {} bytes, this one {}", kKeySizeMax,
                   key.size());
  }
  if (key.find('\0') != std::string_view::npos) {
    return Invalid("invalid_key", "a primary key cannot hold U+0000");
  }
  if (!IsValidUtf8(key)) {
    return Invalid("invalid_key", "a primary key is UTF-8");
  }
  return absl::OkStatus();
}

}  // namespace sluice::schemas

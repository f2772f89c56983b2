#include "gateways/ingest/change_set_reader.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

#include "schemas/base/status.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

namespace ondemand = simdjson::ondemand;
using projectors::OrgModel;
using schemas::EntitySchema;

constexpr size_t kShownBytesMax = 256;  // of a name in an error

absl::Status InvalidJson(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_json", why);
}
absl::Status FromSimdjson(simdjson::error_code error) {
  if (error == simdjson::UTF8_ERROR) {
    return InvalidJson("the text is not UTF-8");
  }
  return InvalidJson(
      fmt::format("not a JSON object that holds a change set: {}", simdjson::error_message(error)));
}

#define RETURN_IF_SIMDJSON_ERROR(expr)                        \
  do {                                                        \
    if (const simdjson::error_code error_ = (expr); error_) { \
      return FromSimdjson(error_);                            \
    }                                                         \
  } while (false)

// A string member with a bound. `what` names it in errors.
absl::Status ReadName(ondemand::value value, std::string_view what, std::string& out) {
  ondemand::json_type type{};
  RETURN_IF_SIMDJSON_ERROR(value.type().get(type));
  if (type != ondemand::json_type::string) {
    return InvalidArgument(fmt::format("'{}' must be a string", what));
  }
  std::string_view text;
  RETURN_IF_SIMDJSON_ERROR(value.get_string().get(text));
  RETURN_IF_ERROR(CheckName(text, what));
  out.assign(text);
  return absl::OkStatus();
}

// A string or a number, as its text; `code` is the error for anything else.
absl::Status ReadScalarText(ondemand::value value, std::string_view what, std::string_view code,
                            std::string& out) {
  ondemand::json_type type{};
  RETURN_IF_SIMDJSON_ERROR(value.type().get(type));
  if (type == ondemand::json_type::string) {
    std::string_view text;
    RETURN_IF_SIMDJSON_ERROR(value.get_string().get(text));
    out.assign(text);
    return absl::OkStatus();
  }
  if (type != ondemand::json_type::number) {
    return Error(absl::StatusCode::kInvalidArgument, code,
                 fmt::format("'{}' must be a string or a number", what));
  }
  // The text is taken as it stands, and must be one number.
  const std::string_view token = value.raw_json_token();
  double number = 0;
  RETURN_IF_SIMDJSON_ERROR(value.get_double().get(number));
  size_t size = token.size();
  while (size > 0 && (token[size - 1] == ' ' || token[size - 1] == '\t' ||
                      token[size - 1] == '\r' || token[size - 1] == '\n')) {
    --size;
  }
  out.assign(token.substr(0, size));
  return absl::OkStatus();
}

absl::Status ReadVersion(ondemand::value value, std::optional<int64_t>& version) {
  std::string text;
  RETURN_IF_ERROR(ReadScalarText(value, "version", "type_mismatch", text));
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) {
    return Error(absl::StatusCode::kInvalidArgument, "type_mismatch",
                 fmt::format("version '{}' is no 64-bit integer", text.substr(0, 64)));
  }
  version = number;
  return absl::OkStatus();
}

// An operation's members as they stand; strings are copied, the row is a view into the text.
struct RawOperation {
  std::string op;
  std::string entity;
  std::optional<std::string> key;
  std::optional<std::string_view> row;
  std::optional<int64_t> version;
  uint32_t seen = 0;  // bit a member
};

absl::Status ReadRow(ondemand::value value, RawOperation& raw) {
  ondemand::json_type type{};
  RETURN_IF_SIMDJSON_ERROR(value.type().get(type));
  if (type != ondemand::json_type::object) {
    return InvalidArgument("'row' must be an object");
  }
  std::string_view text;
  RETURN_IF_SIMDJSON_ERROR(simdjson::to_json_string(value).get(text));
  raw.row = text;
  return absl::OkStatus();
}

absl::Status ReadMember(std::string_view name, ondemand::value value, RawOperation& raw) {
  constexpr std::string_view kMembers[] = {"op", "entity", "key", "row", "version"};
  const auto* member = std::ranges::find(kMembers, name);
  if (member == std::end(kMembers)) {
    return InvalidArgument(
        fmt::format("unknown member '{}'; an operation has op, entity, key, row and version",
                    name.substr(0, kShownBytesMax)));
  }
  const uint32_t bit = 1U << (member - kMembers);
  if ((raw.seen & bit) != 0) {
    return InvalidJson(fmt::format("member '{}' is given twice", name));
  }
  raw.seen |= bit;
  switch (member - kMembers) {
    case 0:
      return ReadName(value, "op", raw.op);
    case 1:
      return ReadName(value, "entity", raw.entity);
    case 2:
      return ReadScalarText(value, "key", "invalid_key", raw.key.emplace());
    case 3:
      return ReadRow(value, raw);
    default:
      return ReadVersion(value, raw.version);
  }
}

absl::StatusOr<v1::Operation::Kind> KindOf(const RawOperation& raw) {
  if (raw.op == "upsert") {
    return v1::Operation::KIND_UPSERT;
  }
  if (raw.op == "patch") {
    return v1::Operation::KIND_PATCH;
  }
  if (raw.op == "delete") {
    return v1::Operation::KIND_DELETE;
  }
  return InvalidArgument(
      fmt::format("op '{}' is not upsert, patch or delete", raw.op.substr(0, 64)));
}

}  // namespace

struct ChangeSetReader::Impl {
  absl::Status ReadSet(const OrgModel& model, std::string_view json, ReadChangeSet& out);
  absl::Status ReadMembers(const OrgModel& model, ondemand::object object, ReadChangeSet& out);
  absl::Status ReadOps(const OrgModel& model, ondemand::value value, v1::ChangeSet& set);
  absl::Status ReadOperation(const OrgModel& model, ondemand::value value, v1::Operation& op);
  absl::Status Build(const OrgModel& model, const RawOperation& raw, v1::Operation& op);
  absl::Status BuildKey(const EntitySchema& schema, const RawOperation& raw,
                        const std::string& row_key, v1::Operation& op);

  ChangeSetLimits limits;
  ondemand::parser parser;
  std::string padded;  // the text with the room behind it that simdjson reads
  schemas::RowEncoder encoder;
};

absl::Status ChangeSetReader::Impl::BuildKey(const EntitySchema& schema, const RawOperation& raw,
                                             const std::string& row_key, v1::Operation& op) {
  std::string key = row_key;
  if (raw.key.has_value()) {
    auto canonical = schemas::CanonicalText(schema.key().type, *raw.key);
    if (!canonical.ok()) {
      return Error(
          absl::StatusCode::kInvalidArgument, "invalid_key",
          fmt::format("key of entity '{}': {}", schema.name(), Message(canonical.status())));
    }
    if (!row_key.empty() && row_key != *canonical) {
      return Error(absl::StatusCode::kInvalidArgument, "invalid_key",
                   fmt::format("'key' and '{}' in the row of entity '{}' differ", schema.key().name,
                               schema.name()));
    }
    key = *std::move(canonical);
  }
  if (key.empty()) {
    return raw.key.has_value() ? schemas::ValidateKey(key) : MissingKey(schema);
  }
  RETURN_IF_ERROR(schemas::ValidateKey(key));
  op.set_key(std::move(key));
  return absl::OkStatus();
}

absl::Status ChangeSetReader::Impl::Build(const OrgModel& model, const RawOperation& raw,
                                          v1::Operation& op) {
  ASSIGN_OR_RETURN(const v1::Operation::Kind kind, KindOf(raw));
  const auto entity = model.entities().find(raw.entity);
  if (entity == model.entities().end()) {
    return Error(absl::StatusCode::kInvalidArgument, "unknown_entity",
                 fmt::format("there is no entity '{}'", raw.entity));
  }
  const EntitySchema& schema = *entity->second;
  RETURN_IF_ERROR(CheckOwner(model, schema));
  op.set_kind(kind);
  op.set_entity_id(schema.id().value());
  if (raw.version.has_value()) {
    op.set_version(*raw.version);
  }
  if (kind == v1::Operation::KIND_DELETE) {
    if (raw.row.has_value()) {
      return RowOfDelete();
    }
    return BuildKey(schema, raw, "", op);
  }
  if (!raw.row.has_value()) {
    return InvalidArgument(fmt::format("{} needs a row", raw.op));
  }
  ASSIGN_OR_RETURN(schemas::EncodedRow row, encoder.Encode(schema, *raw.row));
  if (kind == v1::Operation::KIND_UPSERT && row.key.empty()) {
    return MissingKey(schema);
  }
  if (kind == v1::Operation::KIND_PATCH) {
    for (const schemas::AttributeId attribute : row.cleared) {
      op.add_cleared(attribute.value());
    }
  }
  RETURN_IF_ERROR(BuildKey(schema, raw, row.key, op));
  op.set_row(std::move(row.bytes));
  return absl::OkStatus();
}

absl::Status ChangeSetReader::Impl::ReadOperation(const OrgModel& model, ondemand::value value,
                                                  v1::Operation& op) {
  ondemand::object object;
  if (value.get_object().get(object)) {
    return InvalidArgument("an operation must be an object");
  }
  RawOperation raw;
  for (auto member : object) {
    std::string_view name;
    RETURN_IF_SIMDJSON_ERROR(member.unescaped_key().get(name));
    ondemand::value inner;
    RETURN_IF_SIMDJSON_ERROR(member.value().get(inner));
    RETURN_IF_ERROR(ReadMember(name, inner, raw));
  }
  return Build(model, raw, op);
}

absl::Status ChangeSetReader::Impl::ReadOps(const OrgModel& model, ondemand::value value,
                                            v1::ChangeSet& set) {
  ondemand::array array;
  if (value.get_array().get(array)) {
    return InvalidArgument("'ops' must be an array");
  }
  size_t count = 0;
  for (auto element : array) {
    ondemand::value operation;
    RETURN_IF_SIMDJSON_ERROR(element.get(operation));
    RETURN_IF_ERROR(CheckMore(count, limits));
    RETURN_IF_ERROR_CTX(ReadOperation(model, operation, *set.add_ops()),
                        fmt::format("operation {}", count));
    ++count;
  }
  return CheckAny(count);
}

absl::Status ChangeSetReader::Impl::ReadMembers(const OrgModel& model, ondemand::object object,
                                                ReadChangeSet& out) {
  uint32_t seen = 0;
  // What is wrong with the operations is told at the end, so that the answer has the id in any
  // case.
  absl::Status ops_status = InvalidArgument("a change set needs 'ops'");
  for (auto member : object) {
    std::string_view name;
    RETURN_IF_SIMDJSON_ERROR(member.unescaped_key().get(name));
    const uint32_t bit = name == "id" ? 1 : name == "source" ? 2 : name == "ops" ? 4 : 0;
    if (bit == 0) {
      return InvalidArgument(fmt::format("unknown member '{}'; a change set has id, source and ops",
                                         name.substr(0, kShownBytesMax)));
    }
    if ((seen & bit) != 0) {
      return InvalidJson(fmt::format("member '{}' is given twice", name));
    }
    seen |= bit;
    ondemand::value value;
    RETURN_IF_SIMDJSON_ERROR(member.value().get(value));
    if (bit == 1) {
      RETURN_IF_ERROR(ReadName(value, "id", out.id));
      if (out.id.empty()) {
        return InvalidArgument("'id' is empty; leave it out to have one made");
      }
    } else if (bit == 2) {
      RETURN_IF_ERROR(ReadName(value, "source", *out.set.mutable_source()));
    } else {
      ops_status = ReadOps(model, value, out.set);
      if (ErrorCode(ops_status) == "invalid_json") {
        return ops_status;  // the iterator can't go on
      }
    }
  }
  out.named = true;
  return ops_status;
}

absl::Status ChangeSetReader::Impl::ReadSet(const OrgModel& model, std::string_view json,
                                            ReadChangeSet& out) {
  RETURN_IF_ERROR(CheckBytes(json.size(), limits));
  padded.assign(json);
  padded.append(simdjson::SIMDJSON_PADDING, ' ');
  ondemand::document document;
  RETURN_IF_SIMDJSON_ERROR(parser.iterate(padded.data(), json.size(), padded.size()).get(document));
  ondemand::object object;
  RETURN_IF_SIMDJSON_ERROR(document.get_object().get(object));
  RETURN_IF_ERROR(ReadMembers(model, object, out));
  const char* rest = nullptr;
  if (document.current_location().get(rest) != simdjson::OUT_OF_BOUNDS) {
    return InvalidJson("there is more text after the change set");
  }
  return absl::OkStatus();
}

ChangeSetReader::ChangeSetReader(ChangeSetLimits limits) : impl_(std::make_unique<Impl>()) {
  impl_->limits = limits;
}
ChangeSetReader::~ChangeSetReader() = default;

ReadChangeSet ChangeSetReader::Read(const OrgModel& model, std::string_view json) {
  ReadChangeSet out;
  out.status = impl_->ReadSet(model, json, out);
  if (out.status.ok()) {
    out.set.set_id(out.id);
  }
  return out;
}

}  // namespace sluice::gateways

#include "gateways/debezium/envelope.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <functional>
#include <unordered_map>

#include "gateways/json_members.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::gateways {
namespace {

namespace ondemand = simdjson::ondemand;

// Texts of schemas that are kept; a table has one for its keys and one for its values, and a new
// one when its columns change. All are let go where there are more: the next messages bring theirs.
constexpr size_t kSchemasMax = 4'000;

absl::Status InvalidEnvelope(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_envelope",
               fmt::format("no message of Debezium: {}", why));
}

#define RETURN_IF_NOT_JSON(expr) RETURN_IF_JSON_ERROR(NotJson, expr)

bool IsNull(ondemand::value value) { return value.raw_json_token().starts_with("null"); }

// A string; empty for null.
absl::StatusOr<std::string_view> Text(ondemand::value value, std::string_view what) {
  std::string_view text;
  if (IsNull(value)) {
    return text;
  }
  if (value.get_string().get(text)) {
    return InvalidEnvelope(fmt::format("{} is no text", what));
  }
  return text;
}

absl::StatusOr<int64_t> Number(ondemand::value value, std::string_view what) {
  int64_t number = 0;
  if (value.get_int64().get(number)) {
    return InvalidEnvelope(fmt::format("{} is no whole number", what));
  }
  return number;
}

absl::StatusOr<ondemand::object> Object(ondemand::value value, std::string_view what) {
  ondemand::object object;
  if (value.get_object().get(object)) {
    return InvalidEnvelope(fmt::format("{} is no object", what));
  }
  return object;
}

// An object's JSON; empty for null.
absl::StatusOr<std::string_view> ObjectJson(ondemand::value value, std::string_view what) {
  std::string_view json;
  if (IsNull(value)) {
    return json;
  }
  ASSIGN_OR_RETURN(ondemand::object object, Object(value, what));
  RETURN_IF_NOT_JSON(simdjson::to_json_string(object).get(json));
  return json;
}

constexpr std::pair<std::string_view, ChangeOp> kOps[] = {
    {"c", ChangeOp::kCreate}, {"u", ChangeOp::kUpdate},   {"r", ChangeOp::kRead},
    {"d", ChangeOp::kDelete}, {"t", ChangeOp::kTruncate}, {"m", ChangeOp::kMessage}};

constexpr std::pair<std::string_view, SnapshotPart> kSnapshots[] = {
    {"", SnapshotPart::kNone},
    {"false", SnapshotPart::kNone},
    {"true", SnapshotPart::kRow},
    {"first", SnapshotPart::kFirst},
    {"first_in_data_collection", SnapshotPart::kFirstOfTable},
    {"last_in_data_collection", SnapshotPart::kLastOfTable},
    {"last", SnapshotPart::kLast},
    {"incremental", SnapshotPart::kIncremental}};

// What `text` stands for; `what` names the member in the error.
template <typename Value, size_t kSize>
absl::StatusOr<Value> MeaningOf(std::string_view text, std::string_view what,
                                const std::pair<std::string_view, Value> (&values)[kSize]) {
  for (const auto& [name, value] : values) {
    if (name == text) {
      return value;
    }
  }
  return InvalidEnvelope(fmt::format("its {} is {}", what, QuoteForError(text)));
}

// "734:26518576" -> "734" and 26518576.
std::pair<std::string_view, std::optional<int64_t>> SplitId(std::string_view id) {
  const size_t colon = id.find(':');
  if (colon == std::string_view::npos) {
    return {id, std::nullopt};
  }
  const int64_t lsn = ParseInt64(id.substr(colon + 1)).value_or(-1);
  return {id.substr(0, colon), lsn >= 0 ? std::optional(lsn) : std::nullopt};
}

struct Source {
  std::string_view connector, db, schema, table;
};

// What a source's transactions call the table: with the database but for PostgreSQL, which streams
// one database.
std::string CollectionOf(const Source& source) {
  std::string name;
  const bool has_database = source.connector != "postgresql";
  for (const std::string_view part :
       {has_database ? source.db : std::string_view(), source.schema, source.table}) {
    if (!part.empty()) {
      name.append(name.empty() ? "" : ".").append(part);
    }
  }
  return name;
}

absl::Status ReadSource(ondemand::value value, ChangeEnvelope* event) {
  ASSIGN_OR_RETURN(ondemand::object object, Object(value, "source"));
  Source source;
  bool micros = false;
  RETURN_IF_ERROR(ForEachMember(
      object, NotJson, [&](std::string_view name, ondemand::value member) -> absl::Status {
        std::string_view* const text = name == "connector" ? &source.connector
                                       : name == "db"      ? &source.db
                                       : name == "schema"  ? &source.schema
                                       : name == "table"   ? &source.table
                                                           : nullptr;
        if (text != nullptr) {
          ASSIGN_OR_RETURN(*text, Text(member, name));
        } else if (name == "snapshot" && !IsNull(member)) {
          // Old versions write true and false without quotes.
          bool flag = false;
          if (!member.get_bool().get(flag)) {
            event->snapshot = flag ? SnapshotPart::kRow : SnapshotPart::kNone;
            return absl::OkStatus();
          }
          ASSIGN_OR_RETURN(const std::string_view part, Text(member, name));
          ASSIGN_OR_RETURN(event->snapshot, MeaningOf(part, name, kSnapshots));
        } else if (name == "lsn" && !IsNull(member)) {
          ASSIGN_OR_RETURN(event->lsn, Number(member, name));
        } else if (name == "ts_us" && !IsNull(member)) {
          ASSIGN_OR_RETURN(event->source_time_us, Number(member, name));
          micros = true;
        } else if (name == "ts_ms" && !micros && !IsNull(member)) {
          ASSIGN_OR_RETURN(const int64_t millis, Number(member, name));
          if (__builtin_mul_overflow(millis, 1'000, &event->source_time_us)) {
            return InvalidEnvelope("its time is none");
          }
        }
        return absl::OkStatus();
      }));
  event->collection = CollectionOf(source);
  return absl::OkStatus();
}

absl::Status ReadTransactionBlock(ondemand::value value, ChangeEnvelope* event) {
  if (IsNull(value)) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(ondemand::object object, Object(value, "transaction"));
  return ForEachMember(
      object, NotJson, [&](std::string_view name, ondemand::value member) -> absl::Status {
        if (name == "id") {
          ASSIGN_OR_RETURN(const std::string_view id, Text(member, "transaction.id"));
          event->transaction = SplitId(id).first;
        } else if (name == "total_order" && !IsNull(member)) {
          ASSIGN_OR_RETURN(const int64_t order, Number(member, name));
          event->total_order = static_cast<uint64_t>(order);
        }
        return absl::OkStatus();
      });
}

absl::Status ReadCounts(ondemand::value value, TransactionMark* mark) {
  if (IsNull(value)) {
    return absl::OkStatus();
  }
  ondemand::array array;
  if (value.get_array().get(array)) {
    return InvalidEnvelope("data_collections is no array");
  }
  for (auto element : array) {
    ondemand::value inner;
    RETURN_IF_NOT_JSON(element.get(inner));
    ASSIGN_OR_RETURN(ondemand::object object, Object(inner, "an entry of data_collections"));
    auto& [collection, count] = mark->collections.emplace_back();
    RETURN_IF_ERROR(ForEachMember(
        object, NotJson, [&](std::string_view name, ondemand::value member) -> absl::Status {
          if (name == "data_collection") {
            ASSIGN_OR_RETURN(const std::string_view text, Text(member, name));
            collection = text;
          } else if (name == "event_count") {
            ASSIGN_OR_RETURN(const int64_t number, Number(member, name));
            count = static_cast<uint64_t>(std::max<int64_t>(number, 0));
          }
          return absl::OkStatus();
        }));
  }
  return absl::OkStatus();
}

}  // namespace

struct EnvelopeReader::Impl {
  using SchemaPtr = std::shared_ptr<const ConnectSchema>;
  using ParseSchema = absl::StatusOr<SchemaPtr> (*)(std::string_view);

  struct TextHash {
    using is_transparent = void;
    size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
  };

  // Calls `take` with each member of the payload. The schema's JSON, empty where the message has
  // none, lives until the next call.
  template <typename Take>
  absl::StatusOr<std::string_view> ReadMessage(std::string_view json, Take take);
  absl::StatusOr<SchemaPtr> SchemaOf(std::string_view json, ParseSchema parse);

  JsonText input;
  std::unordered_map<std::string, SchemaPtr, TextHash, std::equal_to<>> schemas;
};

// One pass for either form: the members of a change or a mark have other names than "schema" and
// "payload".
template <typename Take>
absl::StatusOr<std::string_view> EnvelopeReader::Impl::ReadMessage(std::string_view json,
                                                                   Take take) {
  RETURN_IF_NOT_JSON(input.Open(json));
  ondemand::object object;
  if (input.Object().get(object)) {
    return InvalidEnvelope("it is no object");
  }
  std::string_view schema;
  RETURN_IF_ERROR(ForEachMember(object, NotJson,
                                [&](std::string_view name, ondemand::value value) -> absl::Status {
                                  if (name == "schema") {
                                    ASSIGN_OR_RETURN(schema, ObjectJson(value, name));
                                    return absl::OkStatus();
                                  }
                                  if (name == "payload") {
                                    ASSIGN_OR_RETURN(ondemand::object payload, Object(value, name));
                                    return ForEachMember(payload, NotJson, take);
                                  }
                                  return take(name, value);
                                }));
  if (input.Rest() == simdjson::SUCCESS) {
    return InvalidEnvelope("something follows it");
  }
  return schema;
}

// A column that differs makes another text, so that equal ones are parsed once.
absl::StatusOr<EnvelopeReader::Impl::SchemaPtr> EnvelopeReader::Impl::SchemaOf(
    std::string_view json, ParseSchema parse) {
  if (const auto found = schemas.find(json); found != schemas.end()) {
    return found->second;
  }
  ASSIGN_OR_RETURN(SchemaPtr schema, parse(json));
  if (schemas.size() >= kSchemasMax) {
    schemas.clear();
  }
  schemas.emplace(json, schema);
  return schema;
}

EnvelopeReader::EnvelopeReader() : impl_(std::make_unique<Impl>()) {}
EnvelopeReader::~EnvelopeReader() = default;

absl::StatusOr<ChangeEnvelope> EnvelopeReader::ReadChange(std::string_view value) {
  ChangeEnvelope event;
  bool has_op = false;
  ASSIGN_OR_RETURN(
      const std::string_view schema,
      impl_->ReadMessage(value, [&](std::string_view name, ondemand::value member) -> absl::Status {
        if (name == "op") {
          ASSIGN_OR_RETURN(const std::string_view op, Text(member, name));
          ASSIGN_OR_RETURN(event.op, MeaningOf(op, name, kOps));
          has_op = true;
        } else if (name == "before") {
          ASSIGN_OR_RETURN(event.before, ObjectJson(member, name));
        } else if (name == "after") {
          ASSIGN_OR_RETURN(event.after, ObjectJson(member, name));
        } else if (name == "source") {
          return ReadSource(member, &event);
        } else if (name == "transaction") {
          return ReadTransactionBlock(member, &event);
        }
        return absl::OkStatus();
      }));
  if (!has_op) {
    return InvalidEnvelope("it has no op");
  }
  const bool has_row =
      event.op == ChangeOp::kCreate || event.op == ChangeOp::kUpdate || event.op == ChangeOp::kRead;
  if (has_row && event.after.empty()) {
    return InvalidEnvelope("it has no row \"after\"");
  }
  if (!schema.empty()) {
    ASSIGN_OR_RETURN(event.columns, impl_->SchemaOf(schema, ConnectSchema::ParseEnvelope));
    if (event.columns == nullptr && has_row) {
      return InvalidEnvelope("its schema has no row");
    }
  }
  return event;
}

absl::StatusOr<KeyEnvelope> EnvelopeReader::ReadKey(std::string_view key) {
  Impl& impl = *impl_;
  RETURN_IF_NOT_JSON(impl.input.Open(key));
  ondemand::object object;
  if (impl.input.Object().get(object)) {
    return InvalidEnvelope("its key is no object");
  }
  // Columns may have these names too, but no column of a key is an object.
  std::string_view schema;
  std::string_view payload;
  size_t members = 0;
  RETURN_IF_ERROR(ForEachMember(object, NotJson,
                                [&](std::string_view name, ondemand::value value) -> absl::Status {
                                  ++members;
                                  std::string_view* const json = name == "schema"    ? &schema
                                                                 : name == "payload" ? &payload
                                                                                     : nullptr;
                                  if (json != nullptr && value.raw_json_token().starts_with('{')) {
                                    ASSIGN_OR_RETURN(*json, ObjectJson(value, name));
                                  }
                                  return absl::OkStatus();
                                }));
  if (impl.input.Rest() == simdjson::SUCCESS) {
    return InvalidEnvelope("something follows its key");
  }
  KeyEnvelope result;
  if (members != 2 || schema.empty() || payload.empty()) {
    result.key = key;
    return result;
  }
  result.key = payload;
  ASSIGN_OR_RETURN(result.columns, impl.SchemaOf(schema, ConnectSchema::Parse));
  return result;
}

absl::StatusOr<TransactionMark> EnvelopeReader::ReadTransaction(std::string_view value) {
  TransactionMark mark;
  std::string_view status;
  RETURN_IF_ERROR(
      impl_
          ->ReadMessage(value,
                        [&](std::string_view name, ondemand::value member) -> absl::Status {
                          if (name == "status") {
                            ASSIGN_OR_RETURN(status, Text(member, name));
                          } else if (name == "id") {
                            ASSIGN_OR_RETURN(const std::string_view id, Text(member, name));
                            const auto [transaction, lsn] = SplitId(id);
                            mark.id = transaction;
                            mark.lsn = lsn;
                          } else if (name == "event_count" && !IsNull(member)) {
                            ASSIGN_OR_RETURN(const int64_t count, Number(member, name));
                            mark.event_count = static_cast<uint64_t>(std::max<int64_t>(count, 0));
                          } else if (name == "data_collections") {
                            return ReadCounts(member, &mark);
                          }
                          return absl::OkStatus();
                        })
          .status());
  if ((status != "BEGIN" && status != "END") || mark.id.empty()) {
    return InvalidEnvelope("it is neither the begin nor the end of a transaction");
  }
  mark.end = status == "END";
  return mark;
}

}  // namespace sluice::gateways

#include "clients/cpp/frame_reader.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "schemas/base/ascii.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::client {
namespace {

namespace dom = simdjson::dom;

// What is longer than any server sends must not fill the memory, nor the file.
constexpr size_t kLineMax = 64 << 20;
constexpr size_t kBucketsMax = 100'000;
constexpr size_t kBucketIdMax = 64;
constexpr size_t kHistoryMax = 64;
constexpr size_t kEntitiesMax = 10'000;
constexpr size_t kColumnsMax = 2000;  // of a SQLite table
constexpr size_t kNameMax = 128;
constexpr size_t kKeyMax = 4096;
constexpr size_t kPositionMax = 64;
constexpr size_t kRowTextMax = 32 << 20;

absl::Status Malformed(std::string_view what, std::string_view line) {
  return Error(absl::StatusCode::kDataLoss, "malformed_frame",
               fmt::format("the server sent {}: {}", what, PrintableMessage(line, 120)));
}

// A view into the parser, which the next line overwrites: who keeps it takes a copy.
std::string_view TextOf(const dom::element& object, std::string_view name) {
  std::string_view text;
  if (object[name].get(text) != simdjson::SUCCESS) {
    return {};
  }
  return text;
}

// Positions and counts are strings, or numbers that fit; none where it is absent or negative.
std::optional<int64_t> NumberOf(const dom::element& object, std::string_view name) {
  int64_t number = -1;
  if (object[name].get(number) != simdjson::SUCCESS) {
    number = ParseInt64(TextOf(object, name)).value_or(-1);
  }
  return number < 0 ? std::nullopt : std::optional(number);
}

std::optional<uint64_t> HexOf(const dom::element& object, std::string_view name) {
  const std::string_view text = TextOf(object, name);
  const char* const end = text.data() + text.size();
  uint64_t number = 0;
  const auto read = std::from_chars(text.data(), end, number, 16);
  return text.size() == 16 && read.ec == std::errc() && read.ptr == end ? std::optional(number)
                                                                        : std::nullopt;
}

// Texts are not copied, so a handler has to be done with them when it returns.
absl::Status ReadRow(const dom::object& object, std::vector<RowValue>* row) {
  row->clear();
  size_t text = 0;
  for (const auto [name, element] : object) {
    RowValue value;
    value.name = name;
    if (name.size() > kNameMax || row->size() == kColumnsMax) {
      return Malformed("a row with a name that is too long, or too many of them", name);
    }
    switch (element.type()) {
      case dom::element_type::STRING:
        value.kind = RowValue::Kind::kText;
        value.text = element.get_string().value_unsafe();
        text += value.text.size();
        if (text > kRowTextMax) {
          return Malformed("a row of more than 32 MiB", name);
        }
        break;
      case dom::element_type::INT64:
        value.kind = RowValue::Kind::kInteger;
        value.integer = element.get_int64().value_unsafe();
        break;
      case dom::element_type::BOOL:
        value.kind = RowValue::Kind::kBool;
        value.integer = element.get_bool().value_unsafe() ? 1 : 0;
        break;
      // Beyond 63 bits no type of ours is a JSON number: such integers come as text.
      case dom::element_type::UINT64:
      case dom::element_type::DOUBLE:
        value.kind = RowValue::Kind::kDouble;
        value.real = element.get_double().value_unsafe();
        break;
      case dom::element_type::NULL_VALUE:
        continue;  // as if it were left out
      default:
        return Malformed("a row with a nested value", name);
    }
    row->push_back(value);
  }
  return absl::OkStatus();
}

// The next request names it, and a server refuses a request with anything else as a whole: a file
// that once kept such a name would never be current again.
bool IsBucketId(std::string_view id) {
  return !id.empty() && id.size() <= kBucketIdMax && std::all_of(id.begin(), id.end(), [](char c) {
    return IsLetterOrDigit(c) || c == '_' || c == '-';
  });
}

// Of a checkpoint frame and of GET …/entities; either's names for the members are taken.
absl::StatusOr<std::vector<ClientEntity>> ReadEntities(const dom::array& list,
                                                       std::string_view json) {
  std::vector<ClientEntity> result;
  for (const dom::element element : list) {
    ClientEntity entity;
    entity.name = TextOf(element, "entity");
    entity.primary_key = TextOf(element, "primary_key");
    if (entity.primary_key.empty()) {
      entity.primary_key = TextOf(element, "key");
    }
    dom::array attributes;
    if (entity.name.empty() || (element["attributes"].get(attributes) != simdjson::SUCCESS &&
                                element["columns"].get(attributes) != simdjson::SUCCESS)) {
      return Malformed("an entity without name or attributes", json);
    }
    for (const dom::element attribute : attributes) {
      ClientEntity::Column column{std::string(TextOf(attribute, "name")),
                                  std::string(TextOf(attribute, "type"))};
      if (column.name.empty() || column.type.empty()) {
        return Malformed("an attribute without name or type", json);
      }
      entity.columns.push_back(std::move(column));
    }
    result.push_back(std::move(entity));
    if (result.size() > kEntitiesMax || result.back().columns.size() > kColumnsMax) {
      return Malformed("more entities or attributes than a file can have", json);
    }
  }
  return result;
}

}  // namespace

struct FrameReader::Parser {
  explicit Parser(FrameHandler& the_handler) : handler(the_handler) {}

  absl::Status Line(std::string_view text);
  absl::Status Buckets(const dom::element& frame, Checkpoint* checkpoint) const;
  absl::Status OfCheckpoint(const dom::element& frame);
  absl::Status Op(const dom::element& op);
  absl::Status Ops(const dom::element& frame);

  FrameHandler& handler;
  dom::parser json;
  std::string_view line;  // that is read
  std::vector<RowValue> row;
};

absl::Status FrameReader::Parser::Buckets(const dom::element& frame, Checkpoint* checkpoint) const {
  dom::array list;
  if (frame["buckets"].get(list) != simdjson::SUCCESS) {
    return Malformed("a checkpoint without buckets", line);
  }
  for (const dom::element bucket : list) {
    BucketSummary summary;
    summary.bucket = TextOf(bucket, "bucket");
    const std::optional<int64_t> count = NumberOf(bucket, "count");
    const std::optional<uint64_t> checksum = HexOf(bucket, "checksum");
    if (!IsBucketId(summary.bucket) || !count.has_value() || !checksum.has_value()) {
      return Malformed("a bucket without name, count or checksum", line);
    }
    summary.count = static_cast<uint64_t>(*count);
    summary.checksum = *checksum;
    checkpoint->buckets.push_back(std::move(summary));
  }
  if (frame["removed"].get(list) == simdjson::SUCCESS) {
    for (const dom::element bucket : list) {
      std::string_view name;
      if (bucket.get(name) != simdjson::SUCCESS) {
        return Malformed("a removed bucket that is no text", line);
      }
      checkpoint->removed.emplace_back(name);
    }
  }
  return checkpoint->buckets.size() <= kBucketsMax && checkpoint->removed.size() <= kBucketsMax
             ? absl::OkStatus()
             : Malformed("more than 100,000 buckets", line);
}

absl::Status FrameReader::Parser::OfCheckpoint(const dom::element& frame) {
  // All of it is read before the handler sees any: a checkpoint drops what it no longer lists, and
  // half of one would drop what its other half has.
  Checkpoint checkpoint;
  RETURN_IF_ERROR(Buckets(frame, &checkpoint));
  const std::optional<int64_t> position = NumberOf(frame, "position");
  if (!position.has_value()) {
    return Malformed("a checkpoint without a position", line);
  }
  checkpoint.position = *position;
  if (dom::element entities; frame["entities"].get(entities) == simdjson::SUCCESS) {
    dom::array list;
    if (entities.get(list) != simdjson::SUCCESS) {
      return Malformed("a checkpoint whose entities are no list", line);
    }
    ASSIGN_OR_RETURN(checkpoint.entities, ReadEntities(list, line));
  }
  // Cut to a limit it would name another history, and the server would reset every bucket.
  if (dom::element history; frame["history"].get(history) == simdjson::SUCCESS) {
    std::string_view text;
    if (history.get(text) != simdjson::SUCCESS || text.size() > kHistoryMax) {
      return Malformed("a checkpoint whose history is no text of up to 64 characters", line);
    }
    checkpoint.history = text;
  }
  return handler.OnCheckpoint(std::move(checkpoint));
}

absl::Status FrameReader::Parser::Op(const dom::element& op) {
  const std::string_view kind = TextOf(op, "op");
  const std::string_view entity = TextOf(op, "entity");
  const std::string_view key = TextOf(op, "key");
  if (entity.empty() || key.empty() || entity.size() > kNameMax || key.size() > kKeyMax) {
    return Malformed("an operation without entity or key, or with one that is too long", line);
  }
  if (kind == "remove") {
    return handler.OnRemove(entity, key);
  }
  if (kind != "put") {
    return Malformed("an operation that is neither put nor remove", line);
  }
  const std::string_view position = TextOf(op, "position");
  dom::object object;
  if (position.empty() || position.size() > kPositionMax ||
      op["row"].get(object) != simdjson::SUCCESS) {
    return Malformed("a put without position or row", line);
  }
  RETURN_IF_ERROR(ReadRow(object, &row));
  return handler.OnPut(entity, key, position, row);
}

absl::Status FrameReader::Parser::Ops(const dom::element& frame) {
  dom::array ops;
  const std::string_view bucket = TextOf(frame, "bucket");
  const std::optional<int64_t> to = NumberOf(frame, "to");
  if (frame["ops"].get(ops) != simdjson::SUCCESS || !IsBucketId(bucket) || !to.has_value()) {
    return Malformed("an ops frame without bucket, end or operations", line);
  }
  // The end comes last: a frame that fails in between leaves the bucket where it was, so that all
  // of it is sent again. Told before, the rest of the frame would be missing for good.
  RETURN_IF_ERROR(handler.OnBucket(bucket));
  for (const dom::element op : ops) {
    RETURN_IF_ERROR(Op(op));
  }
  return handler.OnOpsDone(*to);
}

absl::Status FrameReader::Parser::Line(std::string_view text) {
  line = text;
  dom::object object;
  if (json.parse(line.data(), line.size()).get(object) != simdjson::SUCCESS) {
    return Malformed("a line that is no JSON object", line);
  }
  // A line is one frame, named by its member. Others, as heartbeats, say nothing of rows.
  for (const auto [name, frame] : object) {
    if (name == "ops") {
      return Ops(frame);
    }
    if (name == "checkpoint") {
      return OfCheckpoint(frame);
    }
    if (name == "checkpoint_complete") {
      const std::optional<int64_t> position = NumberOf(frame, "position");
      return position.has_value() ? handler.OnComplete(*position)
                                  : Malformed("a checkpoint_complete without a position", line);
    }
    if (name == "reset") {
      const std::string_view bucket = TextOf(frame, "bucket");
      return IsBucketId(bucket) ? handler.OnReset(bucket) : Malformed("a reset of no bucket", line);
    }
  }
  return absl::OkStatus();
}

FrameReader::FrameReader(FrameHandler& handler) : parser_(std::make_unique<Parser>(handler)) {}
FrameReader::~FrameReader() = default;

// The beginning of a line must not be continued by another connection's bytes: together they may be
// a frame that nobody sent.
void FrameReader::Restart() { partial_.clear(); }

absl::Status FrameReader::Feed(std::string_view bytes) {
  while (true) {
    const size_t end = bytes.find('\n');
    if (end == std::string_view::npos) {
      partial_.append(bytes);
      return partial_.size() > kLineMax ? Malformed("a frame without an end", partial_)
                                        : absl::OkStatus();
    }
    std::string_view line = bytes.substr(0, end);
    if (!partial_.empty()) {
      partial_.append(line);
      line = partial_;
    }
    if (line.ends_with('\r')) {
      line.remove_suffix(1);
    }
    if (!line.empty()) {
      RETURN_IF_ERROR(parser_->Line(line));
    }
    partial_.clear();  // not before: the line may be in it
    bytes.remove_prefix(end + 1);
  }
}

absl::StatusOr<std::vector<ClientEntity>> ParseEntities(std::string_view json) {
  dom::parser parser;
  dom::array entities;
  if (parser.parse(json.data(), json.size())["entities"].get(entities) != simdjson::SUCCESS) {
    return Malformed("a list of entities that can't be read", json);
  }
  return ReadEntities(entities, json);
}

Problem ParseProblem(std::string_view json) {
  dom::parser parser;
  dom::element document;
  Problem problem;
  if (parser.parse(json.data(), json.size()).get(document) == simdjson::SUCCESS) {
    problem.code = TextOf(document, "code");
    problem.detail = TextOf(document, "detail");
    bool wipe = false;
    problem.wipe = document["wipe"].get(wipe) == simdjson::SUCCESS && wipe;
  }
  return problem;
}

}  // namespace sluice::client

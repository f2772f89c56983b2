#include "clients/cpp/frame_reader.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <charconv>

#include "schemas/status.h"

namespace sluice::client {
namespace {

namespace dom = simdjson::dom;

// Longer than any frame that a server sends; a stream without line ends must not fill the memory.
constexpr size_t kLineMax = 64 << 20;

absl::Status Malformed(std::string_view what, std::string_view line) {
  return Error(absl::StatusCode::kDataLoss, "malformed_frame",
               fmt::format("the server sent {}: {}", what, line.substr(0, 120)));
}

std::string_view TextOf(const dom::element& object, std::string_view name) {
  std::string_view text;
  if (object[name].get(text) != simdjson::SUCCESS) {
    return {};
  }
  return text;
}

// Positions and counts are strings; -1 where there is none.
int64_t NumberOf(const dom::element& object, std::string_view name) {
  const std::string_view text = TextOf(object, name);
  int64_t number = -1;
  std::from_chars(text.data(), text.data() + text.size(), number);
  return number;
}

absl::Status ReadRow(const dom::object& object, std::vector<RowValue>* row) {
  row->clear();
  for (const auto [name, element] : object) {
    RowValue value;
    value.name = name;
    switch (element.type()) {
      case dom::element_type::STRING:
        value.kind = RowValue::Kind::kText;
        value.text = element.get_string().value_unsafe();
        break;
      case dom::element_type::INT64:
        value.kind = RowValue::Kind::kInteger;
        value.integer = element.get_int64().value_unsafe();
        break;
      case dom::element_type::BOOL:
        value.kind = RowValue::Kind::kBool;
        value.integer = element.get_bool().value_unsafe() ? 1 : 0;
        break;
      case dom::element_type::UINT64:
      case dom::element_type::DOUBLE:
        value.kind = RowValue::Kind::kDouble;
        value.real = element.get_double().value_unsafe();
        break;
      default:
        return Malformed("a row with a nested value", name);
    }
    row->push_back(value);
  }
  return absl::OkStatus();
}

}  // namespace

struct FrameReader::Parser {
  dom::parser json;
  std::vector<RowValue> row;

  absl::Status Line(std::string_view line, FrameHandler& handler);
  absl::Status Checkpoint(const dom::element& frame, std::string_view line, FrameHandler& handler);
  absl::Status Ops(const dom::element& frame, std::string_view line, FrameHandler& handler);
};

absl::Status FrameReader::Parser::Checkpoint(const dom::element& frame, std::string_view line,
                                             FrameHandler& handler) {
  std::vector<BucketSummary> buckets;
  std::vector<std::string> removed;
  dom::array list;
  if (frame["buckets"].get(list) != simdjson::SUCCESS) {
    return Malformed("a checkpoint without buckets", line);
  }
  for (const dom::element bucket : list) {
    BucketSummary summary;
    summary.bucket = TextOf(bucket, "bucket");
    summary.count = static_cast<uint64_t>(NumberOf(bucket, "count"));
    const std::string_view checksum = TextOf(bucket, "checksum");
    const auto [end, error] =
        std::from_chars(checksum.data(), checksum.data() + checksum.size(), summary.checksum, 16);
    if (summary.bucket.empty() || error != std::errc()) {
      return Malformed("a bucket without name or checksum", line);
    }
    buckets.push_back(std::move(summary));
  }
  if (frame["removed"].get(list) == simdjson::SUCCESS) {
    for (const dom::element bucket : list) {
      std::string_view name;
      if (bucket.get(name) == simdjson::SUCCESS) {
        removed.emplace_back(name);
      }
    }
  }
  return handler.OnCheckpoint(NumberOf(frame, "position"), std::move(buckets), std::move(removed));
}

absl::Status FrameReader::Parser::Ops(const dom::element& frame, std::string_view line,
                                      FrameHandler& handler) {
  dom::array ops;
  if (frame["ops"].get(ops) != simdjson::SUCCESS) {
    return Malformed("an ops frame without operations", line);
  }
  RETURN_IF_ERROR(handler.OnBucket(TextOf(frame, "bucket")));
  for (const dom::element op : ops) {
    const std::string_view kind = TextOf(op, "op");
    if (kind == "put") {
      dom::object object;
      if (op["row"].get(object) != simdjson::SUCCESS) {
        return Malformed("a put without a row", line);
      }
      RETURN_IF_ERROR(ReadRow(object, &row));
      RETURN_IF_ERROR(
          handler.OnPut(TextOf(op, "entity"), TextOf(op, "key"), TextOf(op, "position"), row));
    } else if (kind == "remove") {
      RETURN_IF_ERROR(handler.OnRemove(TextOf(op, "entity"), TextOf(op, "key")));
    } else {
      return Malformed("an operation that is neither put nor remove", line);
    }
  }
  return handler.OnOpsDone(NumberOf(frame, "to"));
}

absl::Status FrameReader::Parser::Line(std::string_view line, FrameHandler& handler) {
  dom::object object;
  if (json.parse(line.data(), line.size()).get(object) != simdjson::SUCCESS) {
    return Malformed("a line that is no JSON object", line);
  }
  for (const auto [name, frame] : object) {
    if (name == "ops") {
      return Ops(frame, line, handler);
    }
    if (name == "checkpoint") {
      return Checkpoint(frame, line, handler);
    }
    if (name == "checkpoint_complete") {
      return handler.OnComplete(NumberOf(frame, "position"));
    }
    if (name == "reset") {
      return handler.OnReset(TextOf(frame, "bucket"));
    }
  }
  return absl::OkStatus();
}

FrameReader::FrameReader(FrameHandler& handler)
    : handler_(handler), parser_(std::make_unique<Parser>()) {}
FrameReader::~FrameReader() = default;

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
    if (!line.empty()) {
      RETURN_IF_ERROR(parser_->Line(line, handler_));
    }
    partial_.clear();
    bytes.remove_prefix(end + 1);
  }
}

absl::StatusOr<std::vector<ClientEntity>> ParseEntities(std::string_view json) {
  dom::parser parser;
  dom::array entities;
  if (parser.parse(json.data(), json.size())["entities"].get(entities) != simdjson::SUCCESS) {
    return Malformed("a list of entities that can't be read", json);
  }
  std::vector<ClientEntity> result;
  for (const dom::element element : entities) {
    ClientEntity entity;
    entity.name = TextOf(element, "entity");
    entity.primary_key = TextOf(element, "primary_key");
    dom::array attributes;
    if (entity.name.empty() || element["attributes"].get(attributes) != simdjson::SUCCESS) {
      return Malformed("an entity without name or attributes", json);
    }
    for (const dom::element attribute : attributes) {
      entity.columns.push_back(
          {std::string(TextOf(attribute, "name")), std::string(TextOf(attribute, "type"))});
    }
    result.push_back(std::move(entity));
  }
  return result;
}

}  // namespace sluice::client

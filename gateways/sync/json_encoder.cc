#include "gateways/sync/json_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <utility>

#include "gateways/sync/json_checkpoint.h"
#include "schemas/base/json_writer.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

void AppendPosition(Position position, std::string* out) {
  char digits[40];
  char* end = std::to_chars(digits, digits + 20, position.offset.value()).ptr;
  *end++ = '.';
  end = std::to_chars(end, digits + sizeof(digits), position.index).ptr;
  out->append(digits, end);
}

class JsonOperationEncoder final : public OperationEncoder {
 public:
  absl::Status Append(const OperationView& op, bool first, std::string* ops) const override {
    // Rows are written straight into `ops`, without a copy: of one that turns out to be malformed
    // half an object, and the comma before it, would stay there.
    const size_t before = ops->size();
    if (!first) {
      ops->push_back(',');
    }
    *ops += op.put ? R"({"op":"put","entity":")" : R"({"op":"remove","entity":")";
    *ops += op.entity;  // a name of the schema: nothing in it needs an escape
    *ops += R"(","key":)";
    AppendJsonString(op.key, ops);
    *ops += R"(,"position":")";
    AppendPosition(op.position, ops);
    if (!op.put) {
      *ops += R"("})";
      return absl::OkStatus();
    }
    *ops += R"(","row":)";
    if (absl::Status status = schemas::AppendRowJson(*op.schema, op.row, op.denied, ops);
        !status.ok()) {
      ops->resize(before);
      return status;
    }
    ops->push_back('}');
    return absl::OkStatus();
  }

  void AppendAll(std::string_view ops, bool first, std::string* out) const override {
    if (!first && !ops.empty()) {
      out->push_back(',');
    }
    *out += ops;
  }

  void BeginPage(std::string* out) const override { *out += R"({"ops":[)"; }

  void EndPage(std::string_view cursor, Offset position, bool more,
               std::string* out) const override {
    fmt::format_to(std::back_inserter(*out), R"(],"cursor":"{}",)", cursor);
    AppendJsonOffset("position", position, out);
    *out += more ? R"(,"more":true})" : R"(,"more":false})";
  }
};

}  // namespace

const OperationEncoder& JsonOperations() {
  static const JsonOperationEncoder encoder;
  return encoder;
}

void AppendJsonOffset(std::string_view name, Offset offset, std::string* out) {
  fmt::format_to(std::back_inserter(*out), "\"{}\":\"{}\"", name,
                 std::max<int64_t>(offset.value(), 0));
}

const JsonFrames& JsonFrames::Ndjson() {
  static const JsonFrames encoder(false);
  return encoder;
}

const JsonFrames& JsonFrames::Sse() {
  static const JsonFrames encoder(true);
  return encoder;
}

std::string_view JsonFrames::content_type() const {
  return sse_ ? "text/event-stream" : "application/x-ndjson";
}

void JsonFrames::Begin(std::string_view name, std::string* out) const {
  if (sse_) {
    fmt::format_to(std::back_inserter(*out), "event: {}\ndata: ", name);
  }
  fmt::format_to(std::back_inserter(*out), "{{\"{}\":{{", name);
}

void JsonFrames::End(std::string* out) const { *out += sse_ ? "}}\n\n" : "}}\n"; }

void JsonFrames::Reset(std::string_view bucket, std::string* out) const {
  Begin("reset", out);
  fmt::format_to(std::back_inserter(*out), R"("bucket":"{}")", bucket);
  End(out);
}

std::unique_ptr<CheckpointWriter> JsonFrames::Write(Checkpoint checkpoint) const {
  return std::make_unique<JsonCheckpoint>(*this, std::move(checkpoint));
}

void JsonFrames::BeginOps(std::string_view bucket, Offset from, Offset to, std::string* out) const {
  Begin("ops", out);
  fmt::format_to(std::back_inserter(*out), R"("bucket":"{}",)", bucket);
  AppendJsonOffset("from", from, out);
  out->push_back(',');
  AppendJsonOffset("to", to, out);
  *out += ",\"ops\":[";
}

void JsonFrames::EndOps(std::string* out) const {
  out->push_back(']');
  End(out);
}

void JsonFrames::CheckpointComplete(Offset position, std::string* out) const {
  Begin("checkpoint_complete", out);
  AppendJsonOffset("position", position, out);
  End(out);
}

void JsonFrames::Heartbeat(Offset position, std::string* out) const {
  Begin("heartbeat", out);
  AppendJsonOffset("position", position, out);
  End(out);
}

void JsonFrames::TokenExpires(int64_t in_s, std::string* out) const {
  Begin("token_expires", out);
  fmt::format_to(std::back_inserter(*out), R"("in_s":{})", in_s);
  End(out);
}

}  // namespace sluice::gateways

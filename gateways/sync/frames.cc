#include "gateways/sync/frames.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace sluice::gateways {

void FrameWriter::Begin(std::string_view name) {
  if (format_ == FrameFormat::kSse) {
    fmt::format_to(std::back_inserter(*out_), "event: {}\ndata: ", name);
  }
  fmt::format_to(std::back_inserter(*out_), "{{\"{}\":{{", name);
}

void FrameWriter::End() { *out_ += format_ == FrameFormat::kSse ? "}}\n\n" : "}}\n"; }

void FrameWriter::Quoted(std::string_view name, Offset offset) {
  fmt::format_to(std::back_inserter(*out_), "\"{}\":\"{}\"", name,
                 std::max<int64_t>(offset.value(), 0));
}

void FrameWriter::Ops(std::string_view bucket, Offset from, Offset to, std::string_view ops) {
  Begin("ops");
  fmt::format_to(std::back_inserter(*out_), R"("bucket":"{}",)", bucket);
  Quoted("from", from);
  out_->push_back(',');
  Quoted("to", to);
  *out_ += ",\"ops\":[";
  *out_ += ops;
  out_->push_back(']');
  End();
}

void FrameWriter::Reset(std::string_view bucket) {
  Begin("reset");
  fmt::format_to(std::back_inserter(*out_), R"("bucket":"{}")", bucket);
  End();
}

void FrameWriter::CheckpointComplete(Offset position) {
  Begin("checkpoint_complete");
  Quoted("position", position);
  End();
}

void FrameWriter::Heartbeat(Offset position) {
  Begin("heartbeat");
  Quoted("position", position);
  End();
}

void FrameWriter::TokenExpires(int64_t in_s) {
  Begin("token_expires");
  fmt::format_to(std::back_inserter(*out_), R"("in_s":{})", in_s);
  End();
}

}  // namespace sluice::gateways

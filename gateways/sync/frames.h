#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "eventlog/base/ids.h"

// The frames of `POST …/stream` as text (API section 3.2).
namespace sluice::gateways {

// How frames are told apart.
enum class FrameFormat {
  kNdjson,  // one JSON object a line
  kSse,     // the same JSON as `data:`, the frame's name as `event:`
};

struct BucketSummary {
  std::string_view id;
  uint64_t count = 0;
  uint64_t checksum = 0;
};

// Appends frames to a buffer. Not thread-safe.
class FrameWriter {
 public:
  // `out` must outlive the writer.
  FrameWriter(FrameFormat format, std::string* out) : format_(format), out_(out) {}

  struct CheckpointFrame {
    Offset position;
    std::span<const BucketSummary> buckets;
    std::span<const std::string> removed;
    std::string_view history;   // left out where empty
    std::string_view entities;  // JSON array; left out where empty
  };
  void Checkpoint(const CheckpointFrame& checkpoint);
  // `ops` is the text of the operations, separated by commas.
  void Ops(std::string_view bucket, Offset from, Offset to, std::string_view ops);
  void Reset(std::string_view bucket);
  void CheckpointComplete(Offset position);
  void Heartbeat(Offset position);
  void TokenExpires(int64_t in_s);

  size_t size() const { return out_->size(); }

 private:
  void Begin(std::string_view name);
  void End();
  // "position":"1043"; what lies before the first event is 0.
  void Quoted(std::string_view name, Offset offset);

  FrameFormat format_;
  std::string* out_;
};

}  // namespace sluice::gateways

#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "schemas/base/ids.h"

// The frames of `POST …/stream` as text (gateways/docs/api.md, section 3.2).
namespace sluice::gateways {

// How frames are told apart.
enum class FrameFormat {
  kNdjson,  // one JSON object a line
  kSse,     // the same JSON as `data:`, the frame's name as `event:`
};

// Appends frames to a buffer. Not thread-safe.
class FrameWriter {
 public:
  // `out` must outlive the writer.
  FrameWriter(FrameFormat format, std::string* out) : format_(format), out_(out) {}

  // A frame that is written in parts; all other functions write whole ones.
  void Begin(std::string_view name);
  void End();
  // "position":"1043"; what lies before the first event is 0.
  void Quoted(std::string_view name, Offset offset);

  // `ops` is the text of the operations, separated by commas.
  void Ops(std::string_view bucket, Offset from, Offset to, std::string_view ops);
  void Reset(std::string_view bucket);
  void CheckpointComplete(Offset position);
  void Heartbeat(Offset position);
  void TokenExpires(int64_t in_s);

 private:
  FrameFormat format_;
  std::string* out_;
};

}  // namespace sluice::gateways

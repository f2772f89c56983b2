#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "gateways/sync/encoder.h"

// Delta and stream as JSON text (gateways/docs/api.md, section 3).
namespace sluice::gateways {

// Both formats of frames have the same operations; a page of delta is always JSON.
[[nodiscard]] const OperationEncoder& JsonOperations();

class JsonFrames final : public FrameEncoder {
 public:
  static const JsonFrames& Ndjson();
  static const JsonFrames& Sse();

  std::string_view content_type() const override;
  const OperationEncoder& operations() const override { return JsonOperations(); }
  std::unique_ptr<CheckpointWriter> Write(Checkpoint checkpoint) const override;
  void BeginOps(std::string_view bucket, Offset from, Offset to, std::string* out) const override;
  void EndOps(std::string* out) const override;
  void CheckpointComplete(Offset position, std::string* out) const override;
  void Heartbeat(Offset position, std::string* out) const override;
  void TokenExpires(int64_t in_s, std::string* out) const override;

  // What a checkpoint is written of: the begin and the end of any frame, and a whole reset.
  void Begin(std::string_view name, std::string* out) const;
  void End(std::string* out) const;
  void Reset(std::string_view bucket, std::string* out) const;

 private:
  explicit JsonFrames(bool sse) : sse_(sse) {}

  const bool sse_;
};

// "position":"1043"; what lies before the first event is 0.
void AppendJsonOffset(std::string_view name, Offset offset, std::string* out);

}  // namespace sluice::gateways

#include "gateways/sync/stream_state.h"

#include <algorithm>

#include "schemas/base/status.h"

namespace sluice::gateways {

absl::StatusOr<bool> StreamState::Begin(std::shared_ptr<const projectors::OrgSnapshot> snapshot,
                                        const Touched& touched) {
  pieces_.NewSnapshot();  // first: what it reads from does not outlive the one before
  ASSIGN_OR_RETURN(const bool began, plan_.Begin(std::move(snapshot), touched));
  if (began) {
    checkpoint_ = encoder_.Write(plan_.TakeCheckpoint());
  }
  return began;
}

void StreamState::WriteCheckpoint(size_t bytes, std::string* out) {
  if (checkpoint_ != nullptr && checkpoint_->Write(bytes, out)) {
    checkpoint_.reset();
  }
}

void StreamState::LetGo() {
  checkpoint_.reset();
  pieces_.LetGo();
  plan_.LetGo();
}

absl::Status StreamState::Fill(size_t bytes, FrameBuffer* out) {
  const StreamOptions& options = plan_.options();
  size_t passed = 0;
  while (sending() && out->size() < bytes && passed < kPassedMax) {
    std::optional<StreamPlan::BucketRead> read = plan_.Next();
    if (!read.has_value()) {
      pieces_.LetGo();
      encoder_.CheckpointComplete(plan_.Complete(), &out->text());
      continue;
    }
    read->key.encoder = &encoder_.operations();
    read->key.bytes =
        bytes < options.frame_bytes ? std::min(bytes, kChangeBytes) : options.frame_bytes;
    read->key.ops = options.frame_ops;
    ASSIGN_OR_RETURN(Piece piece, pieces_.Read(*plan_.snapshot(), read->key, kPassedMax - passed));
    const Offset to = plan_.Sent(piece);
    passed += piece.passed;
    ops_sent_ += piece.count;
    if (piece.count > 0) {
      encoder_.BeginOps(read->id, read->from, to, &out->text());
      out->Add(std::move(piece.ops));
      encoder_.EndOps(&out->text());
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::gateways

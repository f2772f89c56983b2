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

absl::Status StreamState::Fill(size_t bytes, std::string* out) {
  PieceLimits limits{.bytes = std::min(bytes, plan_.options().frame_bytes),
                     .ops = plan_.options().frame_ops,
                     .passed = kPassedMax};
  while (sending() && out->size() < bytes && limits.passed > 0) {
    std::optional<StreamPlan::BucketRead> read = plan_.Next();
    if (!read.has_value()) {
      pieces_.LetGo();
      encoder_.CheckpointComplete(plan_.Complete(), out);
      continue;
    }
    read->key.encoder = &encoder_.operations();
    ASSIGN_OR_RETURN(const Piece piece, pieces_.Make(*plan_.snapshot(), read->key, limits));
    if (piece.count > 0) {
      encoder_.Ops(read->id, read->from, piece.to, piece.ops, out);
    }
    plan_.Sent(piece);
    limits.passed -= piece.passed;
    ops_sent_ += piece.count;
  }
  return absl::OkStatus();
}

}  // namespace sluice::gateways

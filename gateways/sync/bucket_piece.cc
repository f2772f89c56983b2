#include "gateways/sync/bucket_piece.h"

#include "gateways/sync/position_bounds.h"
#include "schemas/base/status.h"
#include "schemas/release.h"

namespace sluice::gateways {

using projectors::DeltaView;

KnownRows KnownRows::Behind(Position from) const {
  return {.removed_after = removed_after <= WholeOffset(from) ? kNoOffset : removed_after,
          .entered_until = entered_until};
}

absl::StatusOr<Piece> PieceMaker::Make(const projectors::OrgSnapshot& snapshot, const PieceKey& key,
                                       const PieceLimits& limits) {
  if (iterator_ == nullptr) {
    iterator_ = snapshot.Scan(key.bucket, key.from);
  }
  ops_.clear();
  Piece piece{.reached = key.from};
  const schemas::EntitySchema& schema = *key.entity->schema;
  for (; iterator_->Valid() && ops_.size() < limits.bytes && piece.count < limits.ops &&
         piece.passed < limits.passed;
       iterator_->Next()) {
    const DeltaView& op = iterator_->op();
    piece.reached = op.position;
    if (!key.known_rows.Sends(op)) {
      ++piece.passed;
      continue;
    }
    const OperationView view{.put = op.put,
                             .entity = schema.name(),
                             .key = op.key,
                             .position = op.position,
                             .schema = &schema,
                             .denied = key.entity->denied,
                             .row = op.row};
    RETURN_IF_ERROR(key.encoder->Append(view, piece.count == 0, &ops_));
    ++piece.count;
  }
  RETURN_IF_ERROR(iterator_->status());
  piece.ops = ops_;
  if (!iterator_->Valid()) {
    iterator_.reset();
    piece.to = key.to.position;
    piece.reached = EndOf(piece.to);
  } else {
    // An event cut in two is not counted as sent: who resumes there gets it from its beginning.
    const Offset last = piece.reached.offset;
    piece.to = iterator_->op().position.offset > last ? last : Offset(last.value() - 1);
  }
  return piece;
}

void PieceMaker::LetGo() {
  iterator_.reset();
  Release(&ops_);
}

}  // namespace sluice::gateways

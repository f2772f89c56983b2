#include "gateways/sync/piece_reader.h"

#include <algorithm>
#include <optional>

#include "gateways/sync/position_bounds.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

using projectors::DeltaView;

KnownRows KnownRows::Within(Position from, Offset until) const {
  if (removed_after >= until) {
    return {.removed_after = until, .entered_until = kNoOffset};  // no removal at all
  }
  return {.removed_after = removed_after <= WholeOffset(from) ? kNoOffset : removed_after,
          .entered_until = std::min(entered_until, until)};
}

absl::StatusOr<Piece> PieceReader::Read(const projectors::OrgSnapshot& snapshot,
                                        const PieceKey& key, size_t passed_max) {
  if (std::optional<Piece> kept = cache_.Find(key); kept.has_value()) {
    return *std::move(kept);
  }
  if (iterator_ == nullptr || bucket_ != key.bucket || at_ != key.from) {
    GoOn(snapshot.Scan(key.bucket, key.from), key.bucket, key.from);
  }
  absl::StatusOr<Piece> piece = Make(key, passed_max);
  if (piece.ok()) {
    cache_.Keep(key, *piece);
  } else {
    iterator_.reset();  // it has gone on, and at_ has not
  }
  return piece;
}

absl::StatusOr<Piece> PieceReader::Make(const PieceKey& key, size_t passed_max) {
  // The session has the ones of before no longer, or they stay as they are.
  if (ops_ == nullptr || ops_.use_count() > 1) {
    ops_ = std::make_shared<std::string>();
  }
  ops_->clear();
  Piece piece{.ops = ops_, .reached = key.from};
  for (; iterator_->Valid() && ops_->size() < key.bytes && piece.count < key.ops &&
         piece.passed < passed_max;
       iterator_->Next()) {
    const DeltaView& op = iterator_->op();
    piece.reached = op.position;
    if (!key.known_rows.Sends(op)) {
      ++piece.passed;
      continue;
    }
    const OperationView view{.put = op.put,
                             .entity = key.schema->name(),
                             .key = op.key,
                             .position = op.position,
                             .schema = key.schema,
                             .denied = key.denied,
                             .row = op.row};
    RETURN_IF_ERROR(key.encoder->Append(view, piece.count == 0, ops_.get()));
    piece.returned = piece.returned || (op.put && op.returned);
    ++piece.count;
  }
  RETURN_IF_ERROR(iterator_->status());
  at_ = piece.reached;
  piece.last = !iterator_->Valid();
  if (!piece.last) {
    // An event cut in two is not counted as sent: who resumes there gets it from its beginning.
    const Offset last = piece.reached.offset;
    piece.to = iterator_->op().position.offset > last ? last : Offset(last.value() - 1);
  }
  return piece;
}

void PieceReader::LetGo() {
  iterator_.reset();
  ops_.reset();
}

}  // namespace sluice::gateways

#include "gateways/sync/delta_page.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "gateways/sync/delta_plan.h"
#include "gateways/sync/delta_selection.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kPieceBytes = size_t{256} << 10;
constexpr size_t kPieceOps = 5'000;

// Whether there is more than `limits` let the page have.
absl::StatusOr<bool> Write(DeltaSelection& selection, const DeltaLimits& limits,
                           const OperationEncoder& encoder, PieceCache& pieces, size_t* ops,
                           std::string* out) {
  const size_t start = out->size();
  PieceReader reader(pieces);
  const auto append = [&](const OperationView& op) {
    return encoder.Append(op, (*ops)++ == 0, out);
  };
  RETURN_IF_ERROR(selection.Open());
  while (!selection.AtEnd()) {
    if (*ops >= limits.ops_max || selection.scanned() >= limits.scanned_max ||
        out->size() - start >= limits.bytes_max) {
      return true;
    }
    const size_t scans = limits.scanned_max - selection.scanned();
    ASSIGN_OR_RETURN(const std::optional<Piece> piece,
                     selection.NextPiece(
                         {.encoder = &encoder,
                          .bytes = std::min(kPieceBytes, limits.bytes_max - (out->size() - start)),
                          .ops = std::min({kPieceOps, limits.ops_max - *ops, scans})},
                         scans, reader));
    if (piece.has_value()) {
      encoder.AppendAll(*piece->ops, *ops == 0, out);
      *ops += piece->count;
    } else {
      RETURN_IF_ERROR(selection.Next(append));
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<DeltaPage> BuildDeltaPage(const projectors::OrgSnapshot& snapshot,
                                         uint32_t incarnation,
                                         std::span<const projectors::CallerBucket> buckets,
                                         const Cursor& cursor, const DeltaLimits& limits,
                                         const OperationEncoder& encoder, PieceCache& pieces,
                                         std::string* out) {
  const Offset applied = snapshot.applied().position;
  ASSIGN_OR_RETURN(DeltaPlan plan, MakeDeltaPlan(cursor, buckets, applied));
  DeltaSelection selection(snapshot, std::move(plan));
  DeltaPage page;
  const absl::StatusOr<bool> more = Write(selection, limits, encoder, pieces, &page.ops, out);
  RETURN_IF_ERROR(snapshot.Note(more.status()));
  page.more = *more;
  page.position = page.more ? selection.reached().offset : applied;
  page.cursor = CursorAfter(selection.plan(), selection.reached(), !page.more, incarnation,
                            snapshot.applied());
  return page;
}

}  // namespace sluice::gateways

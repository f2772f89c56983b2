#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "absl/status/statusor.h"
#include "gateways/sync/cursor.h"
#include "gateways/sync/encoder.h"
#include "gateways/sync/piece_cache.h"
#include "projectors/model/org_model.h"
#include "projectors/store/org_snapshot.h"

// One page of `GET …/delta` (gateways/docs/api.md, section 3.1), from a snapshot. Pure: no I/O but
// the snapshot's.
namespace sluice::gateways {

// A page ends at the first of these; it always makes progress, though it may hold no operation.
struct DeltaLimits {
  size_t ops_max = 1'000;
  size_t bytes_max = size_t{4} << 20;  // as encoded; one operation more may start below it
  size_t scanned_max = 100'000;        // operations read, sent or not
};

struct DeltaPage {
  Cursor cursor;  // goes on after this page
  Offset position;
  size_t ops = 0;
  bool more = false;
};

// Appends the page's operations to `out`, between what begins and ends a page. The buckets of all
// groups are read as one list in the order of positions, so that groups which are behind catch up
// first and then go on with the others. A cursor without groups starts afresh. CheckCursor must
// have passed.
[[nodiscard]] absl::StatusOr<DeltaPage> BuildDeltaPage(
    const projectors::OrgSnapshot& snapshot, uint32_t incarnation,
    std::span<const projectors::CallerBucket> buckets, const Cursor& cursor,
    const DeltaLimits& limits, const OperationEncoder& encoder, PieceCache& pieces,
    std::string* out);

}  // namespace sluice::gateways

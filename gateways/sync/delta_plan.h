#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/sync/cursor.h"
#include "gateways/sync/position_bounds.h"
#include "projectors/model/org_model.h"
#include "projectors/store/org_snapshot.h"

// Which buckets a page of `delta` reads, and from where: the difference between what a cursor's
// holder was sent and what the caller may hold now. Pure.
namespace sluice::gateways {

struct PlanBucket {
  BucketKey key;
  const projectors::CallerBucket* current = nullptr;  // nullptr where lost
  uint32_t lost_entity = 0;                           // index in DeltaPlan::lost_entities
};

// As CursorGroup, with the buckets resolved.
struct PlanGroup {
  CursorGroupState state;
  std::vector<PlanBucket> buckets;

  // Still on its way to where the snapshot was when its buckets became the caller's.
  bool Loading() const {
    return !state.lost &&
           WholeOffset(state.position) < std::max(state.removed_after, state.away_until);
  }
};

struct DeltaPlan {
  std::vector<PlanGroup> groups;
  std::vector<CursorEntity> lost_entities;
  Offset base = kNoOffset;  // as in Cursor, as of this page
  Offset first = kNoOffset;
};

// The holder of a group may know rows that left their bucket after this, and none that left before.
// Where a bucket is or was lost, a row that had left it may have come back unseen, to a position
// that pages have not reached: what they have sent says nothing of it.
[[nodiscard]] inline Offset Settled(const CursorGroupState& state) {
  return state.lost || state.away_until != kNoOffset
             ? state.removed_after
             : std::max(state.removed_after, WholeOffset(state.position));
}

// Whether `cursor` can be used with a snapshot: kUnavailable "not_caught_up" where the snapshot is
// older (or of a log that has lost its end: the caller finds out), kFailedPrecondition
// "cursor_other_log" where its history is another than the cursor's, "org_reprovisioned" where the
// organisation is another one by now, "cursor_expired" where removals that its holder needs, or
// what tells the histories apart, may be gone.
[[nodiscard]] absl::Status CheckCursor(const Cursor& cursor, uint32_t incarnation,
                                       const projectors::OrgSnapshot& snapshot);

// "cursor_other_log", for a cursor of a history that this log does not have (any more).
[[nodiscard]] absl::Status CursorOfOtherLog();

// Buckets that are new to the cursor start from the beginning; buckets that are not the caller's
// any more become lost ones; everything else goes on. `current` must outlive the plan.
// kFailedPrecondition "cursor_expired" when more buckets were lost than a cursor can name, or when
// the caller's buckets changed too often amid pages for a cursor to tell.
[[nodiscard]] absl::StatusOr<DeltaPlan> MakeDeltaPlan(
    const Cursor& cursor, std::span<const projectors::CallerBucket> current, Offset applied);

// The cursor after everything up to `reached` was sent; with `complete`, everything there is.
[[nodiscard]] Cursor CursorAfter(const DeltaPlan& plan, Position reached, bool complete,
                                 uint32_t incarnation, const projectors::AppliedState& applied);

}  // namespace sluice::gateways

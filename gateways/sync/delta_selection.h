#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/sync/delta_plan.h"
#include "gateways/sync/encoder.h"
#include "gateways/sync/piece_reader.h"
#include "projectors/store/org_snapshot.h"

namespace sluice::gateways {

// Which operations `delta` sends by a plan, in the order of positions: those that the holder of the
// cursor has to be told. Knows of no encoding and no page's limits. Pure: no I/O but the
// snapshot's. Not thread-safe.
class DeltaSelection {
 public:
  // Gets each operation; an error of it ends the selection.
  using Send = absl::FunctionRef<absl::Status(const OperationView&)>;

  // `snapshot` must outlive it.
  DeltaSelection(const projectors::OrgSnapshot& snapshot, DeltaPlan plan)
      : snapshot_(snapshot), plan_(std::move(plan)) {}

  // First, once.
  [[nodiscard]] absl::Status Open();
  bool AtEnd() const { return heap_.empty(); }
  // Goes past the lowest position: pages end between positions only. Not at the end.
  [[nodiscard]] absl::Status Next(Send send);
  // Where one bucket is left of which everybody who has come to this place is sent the same, goes
  // past a piece of it, which ends as `key` and `passed_max` say; of `key` the rest is filled in.
  // nullopt, and nothing passed: Next() has to choose. Not at the end.
  [[nodiscard]] absl::StatusOr<std::optional<Piece>> NextPiece(PieceKey key, size_t passed_max,
                                                               PieceReader& pieces);

  const DeltaPlan& plan() const { return plan_; }
  Position reached() const { return reached_; }
  size_t scanned() const { return scanned_; }  // operations read, sent or not

 private:
  // A bucket being read.
  struct Source {
    std::unique_ptr<projectors::DeltaIterator> it;
    const PlanBucket* bucket = nullptr;
    uint32_t group = 0;
    const CursorEntity* lost = nullptr;
  };
  // A bucket of the plan and its group.
  struct Place {
    const PlanGroup* group = nullptr;
    const PlanBucket* bucket = nullptr;
  };
  // The caller's buckets of one entity, by its name.
  struct EntityInfo {
    schemas::EntityId id;
    size_t buckets = 0;
  };

  static bool Later(const Source& a, const Source& b) {
    return a.it->op().position > b.it->op().position;
  }
  // Do buckets, groups and cursor leave nothing to choose among the operations of this one that is
  // left?
  bool SameForAll(const Source& source) const;
  absl::Status Choose(const Source& source, const projectors::DeltaView& op, Send send);
  absl::Status ChooseRemoval(const Source& source, const CursorGroupState& state,
                             const projectors::DeltaView& op, Send send);
  // Was the row of a removal, or of a put that stands for one, in its bucket at a time of which the
  // holder may know?
  absl::StatusOr<bool> MayBeKnown(const Source& source, const CursorGroupState& state,
                                  const projectors::DeltaView& op) const;
  // Has another bucket sent the same at this position?
  bool SentHere(const projectors::DeltaView& op) const;
  // The operation is about to be sent.
  void Note(const projectors::DeltaView& op);
  // Is the row that the caller knows under this name in any bucket of the caller's?
  absl::StatusOr<bool> IsMember(std::string_view entity, std::string_view key) const;
  bool IsCurrent(BucketKey bucket) const;
  // Is it worth a look-up whether the holder has the row of a put already? Not for rows that were
  // in the bucket before, which are changes, nor in a first load, where the holder has nothing.
  bool MayBeHeld(const Source& source, const projectors::DeltaView& op) const;
  // Has the holder this very row, and will it keep it?
  absl::StatusOr<bool> HolderHas(const Source& source, const projectors::DeltaView& op) const;
  bool HasFromCurrent(const projectors::Membership& membership,
                      const projectors::DeltaView& op) const;
  bool HadAtBase(const Source& source, const projectors::Record& record,
                 const projectors::DeltaView& op) const;
  // Was the bucket the caller's at `base`, with the columns that it sees in `source` now?
  bool WasAtBase(const Source& source, BucketKey bucket) const;

  const projectors::OrgSnapshot& snapshot_;
  const DeltaPlan plan_;
  std::vector<Source> heap_;
  // By bucket key. Of one that is back after several times away, where it is the caller's: lost
  // groups beside it only remove.
  absl::flat_hash_map<BucketKey, Place> group_of_;
  std::vector<BucketKey> buckets_;  // its keys, ascending
  std::unordered_map<std::string_view, EntityInfo> entities_;
  std::vector<projectors::RecordKey> sent_here_;  // at the position being sent
  // By entity's name and key, for lost buckets: two of them may have held one row.
  std::set<std::pair<std::string, std::string>, std::less<>> removed_;
  size_t sending_groups_ = 0;
  bool lost_at_base_ = false;  // did the caller lose a bucket whose rows the holder had at `base`?
  // Of the one bucket that is left, once it goes by pieces; nullopt: it does not.
  std::optional<Offset> changed_;
  bool may_go_by_pieces_ = true;
  Position reached_;
  size_t scanned_ = 0;
};

}  // namespace sluice::gateways

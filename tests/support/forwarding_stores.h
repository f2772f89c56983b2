#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "projectors/store/store_writer.h"

namespace sluice::projectors {

// Stores that hand everything on to others, which must outlive them: a double overrides what it
// does otherwise. Thread-safe as those are.
class ForwardingStores : public StoreWriter {
 public:
  explicit ForwardingStores(StoreWriter& stores) : stores_(stores) {}

  Offset CheckpointOf(PartitionId partition) override { return stores_.CheckpointOf(partition); }
  AppliedState CheckpointState(PartitionId partition) override {
    return stores_.CheckpointState(partition);
  }
  AppliedState LastApplied(PartitionId partition) override {
    return stores_.LastApplied(partition);
  }
  std::vector<std::pair<Offset, uint64_t>> AppliedSinceCompared(PartitionId partition) override {
    return stores_.AppliedSinceCompared(partition);
  }
  void NoteCompared(PartitionId partition, Offset last) override {
    stores_.NoteCompared(partition, last);
  }
  void DoubtStoresAhead(PartitionId partition) override { stores_.DoubtStoresAhead(partition); }
  AppliedState LastNoted(PartitionId partition) override { return stores_.LastNoted(partition); }
  absl::Status NoteLost(PartitionId partition, Offset offset, uint64_t event_hash) override {
    return stores_.NoteLost(partition, offset, event_hash);
  }
  AppliedState LastLost(PartitionId partition) override { return stores_.LastLost(partition); }
  ControlMark LastControl(PartitionId partition) override { return stores_.LastControl(partition); }
  absl::StatusOr<ApplyResult> Apply(PartitionId partition,
                                    std::span<const eventlog::StoredEvent> events,
                                    absl::FunctionRef<bool()> stopping) override {
    return stores_.Apply(partition, events, stopping);
  }
  std::unique_ptr<PendingCheckpoint> BeginCheckpoint(PartitionId partition,
                                                     Offset untold) override {
    return stores_.BeginCheckpoint(partition, untold);
  }
  absl::StatusOr<Offset> EndCheckpoint(std::unique_ptr<PendingCheckpoint> pending) override {
    return stores_.EndCheckpoint(std::move(pending));
  }
  absl::Status LookForTrouble(PartitionId partition) override {
    return stores_.LookForTrouble(partition);
  }
  void NoteNear(PartitionId partition, std::optional<SteadyTime> near) override {
    stores_.NoteNear(partition, near);
  }
  Offset Applied(PartitionId partition) override { return stores_.Applied(partition); }
  std::vector<ApartOrg> ApartOf(PartitionId partition) override {
    return stores_.ApartOf(partition);
  }
  std::optional<ApartOrg> ApartStateOf(PartitionId partition, const OrgId& org) override {
    return stores_.ApartStateOf(partition, org);
  }
  Offset ApartFrom(PartitionId partition, const ApartOrg& apart, Offset begin) override {
    return stores_.ApartFrom(partition, apart, begin);
  }
  absl::Status CheckApart(PartitionId partition, const ApartOrg& apart,
                          absl::FunctionRef<bool()> stopping) override {
    return stores_.CheckApart(partition, apart, stopping);
  }
  absl::StatusOr<size_t> ApplyApart(PartitionId partition, const ApartOrg& apart,
                                    std::span<const eventlog::StoredEvent> events,
                                    ApplyResult* result) override {
    return stores_.ApplyApart(partition, apart, events, result);
  }
  absl::StatusOr<bool> AdvanceApart(PartitionId partition, const ApartOrg& apart,
                                    Offset next) override {
    return stores_.AdvanceApart(partition, apart, next);
  }

 protected:
  StoreWriter& stores_;
};

}  // namespace sluice::projectors

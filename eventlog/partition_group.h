#pragma once

#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "schemas/base/ids.h"

namespace sluice::eventlog {

// Which partitions of the log this process folds. A replica set is one group whose members share
// all partitions; every partition number stands for that partition of every topic. Two
// implementations: StaticPartitionGroup (all of them, at once) and kafka/'s KafkaPartitionGroup.
// Thread-safe.
class PartitionGroup {
 public:
  // Called one at a time, on a thread of the group's or inside Start() and Stop(). They may block:
  // the group waits. They must not call Start() or Stop().
  struct Callbacks {
    // Partitions that this process is to fold from now on, besides those it has; none where the
    // group has answered and others have them all.
    absl::AnyInvocable<void(const std::vector<PartitionId>&)> on_assigned;
    // Partitions that it must have stopped folding when the callback returns: another member may
    // begin then. Where the group was lost (the network, a long pause) another may have begun
    // already; that does no harm, as replicas are independent folds.
    absl::AnyInvocable<void(const std::vector<PartitionId>&)> on_revoked;
  };

  virtual ~PartitionGroup() = default;

  // Joins; returns without waiting for an assignment. Called once. kUnavailable and
  // kInvalidArgument where the group cannot even try; a broker that is down is retried for ever.
  virtual absl::Status Start(Callbacks callbacks) = 0;

  // Why this process gets no partitions though it asks for them: kUnavailable, code "group_fenced",
  // from when the group has put it out until it has an assignment again, which is tried for ever.
  // Memory only.
  [[nodiscard]] virtual absl::Status Health() const { return absl::OkStatus(); }

  // Tells the group's monitoring that everything before `next` is folded and flushed. A hint for
  // lag metrics only: stores know their own position. Never blocks, never fails.
  virtual void CommitHint(PartitionId partition, Offset next) = 0;

  // Revokes what is assigned (on_revoked has returned when Stop does) and leaves, so that others
  // take over at once. Later calls do nothing. Also done by the destructor.
  virtual void Stop() = 0;
};

}  // namespace sluice::eventlog

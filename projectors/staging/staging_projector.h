#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "eventlog/partition_group.h"
#include "projectors/store/store_writer.h"
#include "schemas/base/metrics.h"

namespace sluice::projectors {

class NodeDirectory;

struct StagingOptions {
  // A partition is near its end while, at some moment of the last so long, everything had been
  // folded that was in the log then; the log is asked for its end once a second. It is well below
  // the group's session time-out (10 s): a process that was paused stops answering before another
  // can have taken its partitions over and served what is newer.
  std::chrono::milliseconds near_end{6'000};
  size_t batch_bytes_max = 4 << 20;
  size_t batch_events_max = 10'000;
  // How much is read again after a crash, against flushes of the stores.
  std::chrono::milliseconds checkpoint_interval{30'000};
  // First and longest wait before what failed is tried again.
  std::chrono::milliseconds retry_min{100};
  std::chrono::milliseconds retry_max{10'000};
  // Called, on a thread of the projector's, when MayServe() may have come to say something else of
  // some organisation: it must only enqueue. May be empty.
  std::function<void()> serving_changed;
  // What the others have folded is compared with the log, too; nullptr: there are none. Must
  // outlive the projector's threads.
  NodeDirectory* nodes = nullptr;
  std::shared_ptr<prometheus::Registry> registry;
};

// The driver of the staging fold: for each partition that its group assigns, a thread reads
// `changes` from the store's checkpoint, applies, writes checkpoints, and dead-letters what can't
// be applied (before a checkpoint goes past it). Errors of the log or the disk are retried with
// back-off and shown by Health(); a log that does not continue what the stores applied (compared at
// the start, after every error of the log and before every checkpoint) stops that partition for
// good. An organisation with a large event, or whose store is in trouble, is folded apart, by a
// second thread of its partition (docs/fold.md, "Apart"). Thread-safe, but for Start() and Stop().
class StagingProjector {
 public:
  // All must outlive the projector.
  StagingProjector(eventlog::Log& log, eventlog::PartitionGroup& group, StoreWriter& stores,
                   const Clock& clock, StagingOptions options);
  ~StagingProjector();

  // kResourceExhausted, code "no_threads", or std::system_error, where threads can't be made for
  // what is assigned at once. For partitions that come later Health() tells it, and they are tried
  // again each second.
  [[nodiscard]] absl::Status Start();
  // Finishes the batches under way, writes checkpoints, leaves the group.
  void Stop();

  // Ok once every assigned partition has caught up with the end it saw at start and no partition is
  // failing, and then as long as one is well (PartitionHealth); otherwise why not, for /readyz:
  // codes and partitions, no organisation, no folder.
  // "no_threads" for a partition that is assigned, and not folded because its threads can't be
  // made; "group_fenced" while the group has put this process out.
  [[nodiscard]] absl::Status Health() const;
  // Does this process fold `partition`?
  [[nodiscard]] bool Serves(PartitionId partition) const;
  // How often `partition` has come to this process. What was found out of it while the count was
  // another says nothing: it may have been elsewhere meanwhile.
  [[nodiscard]] uint64_t TakenOver(PartitionId partition) const;

  // May this process answer for the partition? Cheap. kUnavailable otherwise: code
  // "not_served_here" where it does not fold it (from when it is told to give it up);
  // "not_caught_up" until it has read what the log had when the partition came, and while it is not
  // near its end (StagingOptions::near_end); "log_truncated" or "log_diverged" where it has stopped
  // for that.
  [[nodiscard]] absl::Status MayServe(PartitionId partition) const;
  // The offset below which everything of the organisation is folded here; kNoOffset where the
  // partition is not.
  [[nodiscard]] Offset FoldedUntil(const OrgId& org) const;
  // The end of the organisation's partition in the log, as of an answer that was asked for no
  // longer than `ago` ago, or why there was none; nullopt while it is being asked for: look again,
  // with the greater age that the caller's own question then has. Never waits; whoever looks
  // meanwhile shares one question.
  [[nodiscard]] std::optional<absl::StatusOr<Offset>> EndSince(const OrgId& org,
                                                               SteadyTime::duration ago) const;
  // As MayServe(partition) for an organisation; "not_caught_up" also while its store is built anew;
  // "offset_below_begin" where that cannot be, because its events have gone from the log.
  [[nodiscard]] absl::Status MayServe(const OrgId& org) const;

  // Organisations that are apart and not served, for /readyz: how many for each partition and code.
  // A count of 0: the partition as a whole is not well.
  struct Troubled {
    PartitionId partition;
    std::string code;
    size_t count = 0;
  };
  [[nodiscard]] std::vector<Troubled> TroubledOrgs() const;

  // Brings those metrics up to date that say how things are, to be called at each scrape: asks the
  // log for its ends, and waits for them for 250 ms at most. A partition that does not answer shows
  // how far it is behind the end that it told last.
  void RefreshMetrics() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::projectors

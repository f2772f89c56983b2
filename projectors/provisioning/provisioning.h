#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "eventlog/partition_group.h"
#include "eventlog/partition_health.h"
#include "projectors/fold/record.h"
#include "projectors/nodes/folded_marks.h"
#include "projectors/provisioning/directory.h"
#include "schemas/base/clock.h"
#include "schemas/base/metrics.h"

namespace sluice::projectors {

// Follows `provisioning` on every partition into a Directory, and watches that it and `changes`
// tell the same; every process has one. Thread-safe.
class DirectoryFollower {
 public:
  // What the rest of the process knows of a partition; called by any thread, each may be empty.
  struct Hooks {
    // The newest that is known of `changes`, by this process's fold or the others'.
    std::function<ControlMark(PartitionId)> last_control;
    // Why nothing must be appended now, nor told of a partition (log_truncated, log_diverged).
    std::function<absl::Status(PartitionId)> may_append;
    std::function<void()> agreement_changed;  // Agreement() or MayServe() came or went
    // StagingProjector::MayServe(); empty where nothing is folded that could tell more.
    std::function<absl::Status(PartitionId)> may_serve;
    // StagingProjector::TakenOver(); empty: the partition came once.
    std::function<uint64_t(PartitionId)> taken_over;
    // Below it `changes` is folded, where may_serve says that it is folded here; empty: all of it.
    std::function<Offset(PartitionId)> folded_until;
    // What others have folded of `changes` (NodeDirectory::Folded()); empty: there are none.
    std::function<std::vector<FoldedMark>(PartitionId)> folded;
    // Whether last_control and `folded` say what the others told before this process came; empty:
    // they do.
    std::function<bool()> others_known;
  };
  DirectoryFollower(eventlog::Log& log, const Clock& clock,
                    std::shared_ptr<prometheus::Registry> registry, Hooks hooks = {});
  ~DirectoryFollower();

  [[nodiscard]] absl::Status Start();
  void Stop();
  const Directory& directory() const;

  // Appends a request, with who made it, and waits for its outcome: up to `timeout`, then
  // kUnavailable, code "provisioning_unavailable" (the request stands and may still be carried out:
  // repeating is safe). Errors of MayAppend(): nothing was appended. A request with an id that its
  // sender made of what it is about, a UUID of version 8, is carried out once, however often it
  // comes: the others get the first one's outcome, without its ETag.
  [[nodiscard]] absl::StatusOr<Directory::Outcome> Request(const OrgId& org,
                                                           v1::ProvisioningRequest request,
                                                           std::chrono::milliseconds timeout,
                                                           eventlog::Cause cause = {});
  // Ok once the partition has been read to the end it had at start, and while the log can be read:
  // what is not known of its organisations then does not exist.
  [[nodiscard]] absl::Status CaughtUp(PartitionId partition) const;
  // Partitions without CaughtUp(), or whose Agreement() is not ok; MayServe() of those
  // that are folded here.
  [[nodiscard]] eventlog::TroubledPartitions NotWell() const;
  // As PartitionHealth has it.
  [[nodiscard]] absl::Status Health() const;
  // Do `provisioning` and `changes` tell the same of a partition, and is it the `provisioning` that
  // was read? As of the last look: when it had been read first, after each error of the log, within
  // a second of a control event or an outcome, once more when the fold has passed over the place
  // that the outcome tells of, and every 30 seconds: `changes` may lose what others have folded
  // without a word. Where it is not ok, nothing of the partition's organisations
  // can be told for sure. kUnavailable, code "not_caught_up", before the first; kDataLoss, codes
  // "log_truncated" and "log_diverged". Memory only.
  [[nodiscard]] absl::Status Agreement(PartitionId partition) const;
  // Hooks::may_append: also for change sets.
  [[nodiscard]] absl::Status MayAppend(PartitionId partition) const;
  // Whether what directory() holds of a partition may be told, and decided on: definitions and
  // rights are two topics of the log, and where they no longer fit each other, what is known may be
  // wrong, and what is not known may be there. kUnavailable, in the words that callers get, with
  // the code of MayAppend(), or of Agreement(): where nothing may be appended to a partition, as
  // its history is lost, what is left of it says nothing either. Memory only.
  [[nodiscard]] absl::Status MayTell(PartitionId partition) const;
  // Agreement() as of a look since the partition came to this process and its fold reached the end
  // of `changes`, with all the control events that it came by; kUnavailable, code "not_caught_up",
  // before it. Nothing that goes by the fold is to be answered for a partition before. Memory only.
  [[nodiscard]] absl::Status MayServe(PartitionId partition) const;

  // What the directory does not hold may be on its way: of that a last word may be said only where
  // ReadUntil() has come to an end that was asked for after the question had come.
  // The end of the organisation's partition of `provisioning`: as StagingProjector::EndSince() of
  // `changes`.
  [[nodiscard]] std::optional<absl::StatusOr<Offset>> EndSince(const OrgId& org,
                                                               SteadyTime::duration ago) const;
  // Below it everything of that partition is in directory(); kNoOffset before the start.
  [[nodiscard]] Offset ReadUntil(const OrgId& org) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The sequencer: for its partitions of `provisioning` (the group's), decides each request that has
// no outcome, appends the control event to `changes` (with an id derived from the request's, so
// that a crash between the two appends is harmless), then the outcome. Announces an organisation as
// closed once `store_applied` says that its OrgClosed has been applied.
class ProvisioningProjector {
 public:
  // `store_applied`: the organisation's last applied offset in this process's stores.
  using StoreApplied = std::function<Offset(const OrgId&)>;
  // What keeps decisions off a log that has lost something: they would take the place of what may
  // be restored, or be passed over by the fold. Each may be empty.
  struct Gate {
    // Why nothing of a partition must be decided now; asked before each batch.
    std::function<absl::Status(PartitionId)> may_decide;
    // Below which offset of `changes` somebody has folded; and then the newest control event that
    // anybody has come by, which covers what lies below. The sequencer reads the rest by itself.
    std::function<Offset(PartitionId)> folded_until;
    std::function<ControlMark(PartitionId)> last_control;
    // The log's: what is decided has to fit, and what is told of it.
    eventlog::AppendLimits append_limits;
  };
  ProvisioningProjector(eventlog::Log& log, eventlog::PartitionGroup& group, const Clock& clock,
                        StoreApplied store_applied, std::shared_ptr<prometheus::Registry> registry,
                        Gate gate = {});
  ~ProvisioningProjector();
  [[nodiscard]] absl::Status Start();
  void Stop();
  // Partitions that have yet to be read, or whose requests can't be decided.
  [[nodiscard]] eventlog::TroubledPartitions NotWell() const;
  // As PartitionHealth has it; "no_threads" for a partition that is assigned and has none.
  [[nodiscard]] absl::Status Health() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::projectors

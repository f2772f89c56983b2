#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "eventlog/follower.h"
#include "eventlog/log.h"
#include "projectors/provisioning/agreement.h"
#include "projectors/provisioning/provisioning.h"
#include "projectors/provisioning/request_ledger.h"
#include "schemas/base/metrics.h"

namespace sluice::projectors {

struct SequencerMetrics {
  // Before the metrics, which are made in it and are gone with it.
  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter& accepted;
  prometheus::Counter& refused;
  prometheus::Counter& failures;
  prometheus::Gauge& pending;
};

// Sequences one partition: reads `provisioning` from its beginning, then, for each request without
// an outcome, appends the control event to `changes` and then the outcome, if `changes` still holds
// the newest control event that an outcome tells of: the new outcome hides that one. What it
// decides on comes from the outcomes that it has read back and from nothing else, so at any moment
// another sequencer may take over: it decides only when it has read up to an end that it asked the
// log for just then. One that was paused between its decision and its append still appends; the
// control event then names a request that has been answered, and the fold passes over it
// (OrgModel::Answered). Start, Stop and the destructor are called by one thread, Health by any.
class PartitionSequencer : eventlog::Follower::Callbacks {
 public:
  // All must outlive the sequencer.
  PartitionSequencer(eventlog::Log& log, const Clock& clock, PartitionId partition,
                     const ProvisioningProjector::StoreApplied& store_applied,
                     const ProvisioningProjector::Gate& gate, const SequencerMetrics& metrics);
  ~PartitionSequencer() override { Stop(); }

  void Start() { follower_.Start(); }
  // Ends what is under way, without waiting: reads, also of a comparison. By any thread.
  void RequestStop() { follower_.RequestStop(); }
  // RequestStop(), and waits; a request may be left between its two appends.
  void Stop() { follower_.Stop(); }
  [[nodiscard]] absl::Status Health() const { return follower_.Health(); }

 private:
  struct Decided {
    RequestLedger::Pending pending;
    v1::ProvisioningOutcome outcome;
    std::optional<eventlog::Event> control;
  };

  absl::StatusOr<Offset> Open() override;
  absl::Status Step() override;
  absl::Status Fold(const std::vector<eventlog::StoredEvent>& events) override;
  bool Failed(const absl::Status& status, std::chrono::milliseconds wait) override;
  // Everything below end_ has been read, and what was appended. A request that was read may have
  // its outcome further on: nothing is decided before the end, and that nothing came for a while
  // says nothing about the end.
  bool CaughtUp() const { return follower_.next() >= end_ && follower_.next() > written_; }
  // Is there anything to decide or to announce?
  bool HasWork() const { return ledger_.pending() > 0 || !ledger_.closing().empty(); }
  // Asks the log where it ends, and reads what is there; CaughtUp() then says whether everything
  // before has been read, of the log that was asked. kDataLoss, code "log_truncated", where it ends
  // before what has been read.
  absl::Status AskForEnd();
  absl::Status AskWhetherToDecide();
  // Does `changes` hold what was told last? kDataLoss as CheckControl().
  absl::Status CheckTold();
  // Reads the control events of `changes` that neither an outcome tells of nor anybody has folded,
  // and whether `provisioning` holds the request of the newest.
  absl::Status CheckNewControls();
  // Decides the next requests and appends what they lead to.
  absl::Status Sequence();
  absl::Status AppendControls(std::vector<Decided>& decided);
  absl::Status AppendOutcomes(std::vector<eventlog::Event> outcomes);
  absl::Status AnnounceDeletedStores();
  Decided DecideOne(RequestLedger::Pending pending) const;
  eventlog::Event OutcomeEvent(const OrgId& org, const v1::ProvisioningOutcome& outcome,
                               eventlog::Cause cause) const;

  eventlog::Log& log_;
  const Clock& clock_;
  const PartitionId partition_;
  const ProvisioningProjector::StoreApplied& store_applied_;
  const ProvisioningProjector::Gate& gate_;
  const SequencerMetrics& metrics_;

  // Of the thread alone.
  RequestLedger ledger_;
  Offset written_ = kNoOffset;        // last outcome appended: decide only once it is read back
  Offset end_ = kNoOffset;            // of the log, when it was last asked
  bool controls_checked_ = false;     // since the last error
  Offset controls_next_ = kNoOffset;  // CheckNewControls() goes on from there
  ControlMark newest_control_;
  double pending_shown_ = 0;

  eventlog::Follower follower_;
};

}  // namespace sluice::projectors

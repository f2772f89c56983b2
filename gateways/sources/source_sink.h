#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "gateways/sources/applied_gate.h"
#include "gateways/sources/chain_follower.h"
#include "gateways/sources/connector.h"
#include "gateways/sources/row_letters.h"
#include "gateways/sources/run_token.h"
#include "gateways/sources/source_metrics.h"
#include "projectors/provisioning/directory.h"
#include "schemas/base/backoff.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

class InFlight;

// What sinks work with. All must outlive them.
struct SinkDeps {
  eventlog::Log& log;
  const Clock& clock;
  const SourceMetrics& metrics;
  // Of all sources: what is appended and has no answer. Shared with the log's callbacks.
  std::shared_ptr<InFlight> in_flight;
  std::function<std::shared_ptr<const projectors::OrgEntry>(const OrgId&)> find;
  // As Directory::List().
  std::function<std::vector<std::shared_ptr<const projectors::OrgEntry>>(std::string_view, size_t)>
      list{};
  // As DirectoryFollower::Request().
  std::function<absl::StatusOr<projectors::Directory::Outcome>(
      const OrgId&, v1::ProvisioningRequest, std::chrono::milliseconds, eventlog::Cause)>
      request;
  // Why nothing may be appended to a partition of `changes` now; may be empty.
  std::function<absl::Status(PartitionId)> may_append;
  AppliedGate::Ask applied;
  std::chrono::milliseconds append_timeout{30'000};  // of a set, until it is durable and was taken
  size_t window_bytes = size_t{4} << 20;             // of a run, appended and not taken yet
  uint64_t rejected_max = 10'000;                    // of a run
};

// The sink of one run: gives its sets ids, steps and versions, keeps a window of them under way,
// sends them again under the same ids while the log is away, and knows by the chain's follower
// which were taken. Used by one thread, but for what is said to be for any.
class SourceSink final : public RowSink {
 public:
  // The run's id is new for each attempt, whatever was lost of `work`, for a set's id must never
  // come twice: the fold applies one set of each.
  struct Run {
    projectors::StreamKey key;
    std::string kind;
    int64_t epoch = 0;
    std::string id;
    std::string item;  // the cause of its events
  };

  // `chain`: the stream's, as `follower` has it. All but the values must outlive it.
  SourceSink(const SinkDeps& deps, const ChainFollower& follower, RunToken& token, Run run,
             const ChainFollower::Chain& chain);

  absl::Status Append(SourceSet set) override;
  absl::Status Flush() override;
  [[nodiscard]] uint64_t next_number() const override { return number_ + 1; }
  absl::StatusOr<std::shared_ptr<const schemas::EntitySchema>> Define(
      const OrgId& org, const v1::ProvisioningRequest::PutEntity& entity) override;
  std::shared_ptr<const schemas::EntitySchema> Find(const OrgId& org,
                                                    std::string_view entity) override;
  absl::Status OpenOrg(const OrgId& org) override;
  absl::Status ForEachOrg(std::string_view entity,
                          const std::function<absl::Status(const OrgId&)>& visit) override;
  absl::Status Reject(const RejectedRow& row) override;
  void Report(const v1::RunNumbers& numbers) override ABSL_LOCKS_EXCLUDED(mutex_);
  void set_loading(bool loading) override { loading_ = loading; }
  [[nodiscard]] bool stopping() const override { return token_.cancelled(); }
  [[nodiscard]] bool Pause(std::chrono::milliseconds delay) override { return token_.Pause(delay); }

  // By any thread.
  [[nodiscard]] v1::RunNumbers numbers() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // The answer of the last append of a set; shared with the log's callback.
  struct Answer {
    absl::Mutex mutex;
    bool done ABSL_GUARDED_BY(mutex) = false;
    absl::StatusOr<Offset> offset ABSL_GUARDED_BY(mutex) = kNoOffset;
  };
  struct Pending {
    OrgId org;
    eventlog::Event event;
    PartitionId partition;
    size_t bytes = 0;
    size_t rows = 0;
    uint64_t number = 0;             // of its step; 0: it has none
    std::shared_ptr<Answer> answer;  // nullptr before it is sent, which none of pending_ is
    bool failed = false;
    bool settled = false;
  };

  const OrgId& OrgOf(const OrgId& org) const { return org.value().empty() ? run_.key.org : org; }
  // EntitySchema::source of the entities whose rows it writes there.
  std::string OwnerIn(const OrgId& org) const;
  absl::StatusOr<std::shared_ptr<const projectors::OrgEntry>> OpenEntry(const OrgId& org);
  absl::Status Cancelled() const;
  absl::Status Enqueue(Pending pending);
  // Has it decided; the outcome is known here by then.
  absl::Status Request(const OrgId& org, v1::ProvisioningRequest request);
  absl::Status MakeEvent(SourceSet& set, uint32_t incarnation, Pending& pending);
  absl::Status FlushLetters();
  // Waits until it may be under way, too.
  absl::Status AwaitRoom(const Pending& pending);
  absl::Status Send(Pending& pending);
  // Takes the answers that have come, and what the follower knows; waits for some where `wait`.
  absl::Status Look(bool wait);
  absl::Status LookAtAnswers(bool wait);
  absl::Status LookAtChain(bool wait);
  // Sends all that is pending again: once nothing is on its way.
  absl::Status SendAgain();
  void Settle(Pending& pending, Offset offset);

  const SinkDeps& deps_;
  const ChainFollower& follower_;
  RunToken& token_;
  const Run run_;
  const ChainFollower::RunSets sets_;
  const PartitionId partition_;
  AppliedGate gate_;
  RowLetters letters_;

  std::string cursor_;
  std::string last_id_;  // of the set before the next
  uint64_t number_;      // of the last step that was made
  uint64_t taken_;       // of the last one that was taken
  uint64_t ids_ = 0;
  bool loading_ = false;
  absl::Status broken_;  // why a set that has its step was never sent: none may come behind it

  std::deque<Pending> pending_;
  size_t pending_bytes_ = 0;
  bool failed_ = false;       // an append of what is pending
  SteadyTime progressed_at_;  // when something was last settled, or there was nothing pending
  Backoff retry_{std::chrono::milliseconds(100), std::chrono::milliseconds(2'000)};

  mutable absl::Mutex mutex_;
  v1::RunNumbers numbers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways

#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/log.h"
#include "gateways/secrets/sealer.h"
#include "gateways/sources/chain_follower.h"
#include "gateways/sources/connector.h"
#include "gateways/sources/known_source.h"
#include "gateways/sources/run_pool.h"
#include "gateways/sources/run_token.h"
#include "gateways/sources/source_metrics.h"
#include "gateways/sources/source_sink.h"
#include "projectors/work/work_follower.h"
#include "projectors/work/work_ledger.h"
#include "schemas/base/backoff.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

struct WorkerOptions {
  std::string node_id;
  std::chrono::milliseconds tick{1'000};               // how often it looks what is due
  std::chrono::milliseconds progress_interval{5'000};  // of what it tells of a run under way
  std::chrono::milliseconds mark_interval{30'000};
  std::chrono::milliseconds stall_timeout{600'000};  // a run of which nothing comes is ended
  // How long another worker, that has begun an attempt in this one's time, is let be.
  std::chrono::milliseconds foreign_patience{60'000};
  std::chrono::milliseconds stop_patience{5'000};  // for runs, when partitions are given up
  uint32_t attempts_max = 10;                      // of an item, in a row without a step
  std::chrono::milliseconds retry_first{5'000};
  std::chrono::milliseconds retry_max{900'000};
  IntervalOptions intervals{};
  // How often at least an entity that can't be defined is tried again.
  std::chrono::milliseconds refused_retry_max{24 * 3'600'000};
};

// All must outlive the workers and their runs.
struct WorkerDeps {
  eventlog::Log& log;
  const Clock& clock;
  const SourceMetrics& metrics;
  const WorkerOptions& options;
  const SinkDeps& sink;
  const std::map<std::string, Connector*>& connectors;  // by kind
  RunPool& entity_runs;                                 // that end
  RunPool& whole_runs;                                  // that last
  Sealer& sealer;
  std::function<std::vector<KnownSource>(PartitionId)> sources;
  // Whether everything that there is is among them.
  std::function<absl::Status(PartitionId)> ready;
};

// Runs the sources of one partition: follows `work` and `changes`, appends the items that are due,
// and has the open ones run by the pools. Nothing depends on its being the only one: another one
// that takes itself for the partition's owner costs work, and neither skips nor repeats anything,
// since each step names the one before it (projectors/docs/work.md). A run may outlive the worker's
// Stop(); it can do no harm then. Thread-safe, but for Start() and Stop().
class PartitionWorker : public std::enable_shared_from_this<PartitionWorker> {
 public:
  PartitionWorker(const WorkerDeps& deps, PartitionId partition);
  ~PartitionWorker();

  // Makes its threads: std::system_error where they can't be made.
  void Start();
  // Ends its runs; does not wait.
  void RequestStop() ABSL_LOCKS_EXCLUDED(mutex_);
  // RequestStop(), and waits for them until then.
  void Stop(absl::Time until) ABSL_LOCKS_EXCLUDED(mutex_);

  // Whether it knows all chains, so that its runs may begin.
  [[nodiscard]] bool ready() const { return ready_; }
  // Streams whose item is open for longer than their interval.
  [[nodiscard]] size_t overdue() const { return overdue_; }

 private:
  struct Run {
    explicit Run(const Clock& clock) : token(clock) {}
    projectors::StreamKey key;
    v1::WorkItem item;
    uint32_t attempt = 0;
    std::string id;  // ce_id of its WorkStarted
    uint32_t incarnation = 0;
    std::shared_ptr<const v1::SourceDefined> defined;
    Connector* connector = nullptr;
    std::shared_ptr<const ChainFollower> chain;
    RunToken token;
    // Guarded by the worker's mutex:
    bool active = false;  // on a thread of the pool
    bool ended = false;
    Offset told = kNoOffset;  // what it said last, in `work`
    std::unique_ptr<SourceSink> sink;
    SteadyTime progress_at{};
    std::string base_cursor;  // of the chain when it began
  };
  // How a run ends for `work`.
  struct Ending {
    std::string metric;
    bool silent = false;  // it is not this run's to say
    bool done = false;
    bool final = false;
    bool letter = false;
    absl::Status error{};  // OK: none to be told of
    std::chrono::milliseconds wait{0};
  };
  // An entity of a source that is to have all, which can't be defined so.
  struct Refusal {
    int64_t epoch = 0;
    absl::Status status{};
    std::chrono::milliseconds wait{0};
    SteadyTime again{};
  };
  using Refusals = std::map<std::string, Refusal>;  // by entity
  using Runs = std::map<projectors::StreamKey, std::shared_ptr<Run>>;

  void Work();
  [[nodiscard]] bool stopping() const ABSL_LOCKS_EXCLUDED(mutex_);
  // False as soon as it is to stop.
  bool Pause(std::chrono::milliseconds delay) ABSL_LOCKS_EXCLUDED(mutex_);

  // Reads `work`, then `changes` so far that every chain is known.
  absl::Status TakeOver();
  absl::Status AwaitWork(Offset end);
  absl::Status Tick();
  absl::Status Schedule(const std::vector<projectors::ScheduledStream>& streams);
  void StartRuns(const std::vector<projectors::ScheduledStream>& streams,
                 const std::map<projectors::StreamKey, const KnownSource*>& sources);
  void StartRun(const projectors::StreamWork& work, const projectors::ScheduledStream& stream,
                const KnownSource& source);
  void WatchRuns(const std::map<projectors::StreamKey, const KnownSource*>& sources);
  void WatchRun(const std::shared_ptr<Run>& run, const KnownSource* source);
  void TellProgress(const std::shared_ptr<Run>& run);
  void EndRuns();
  absl::Status GiveUp(const projectors::StreamKey& key, const projectors::StreamWork& work);
  // Tells the states that nobody has told, and those that were told long ago, and the mark.
  absl::Status Mark();
  void KeepHouse();

  // On a thread of a pool:
  void Execute(const std::shared_ptr<Run>& run);
  void ExecuteStarted(const std::shared_ptr<Run>& run);
  // Whether it is the attempt that counts.
  bool Begin(Run& run);
  absl::Status Read(Run& run);
  absl::Status Discover(const SourceContext& context, Run& run);
  // Of the run's epoch; empty where it has none yet.
  static const std::string& CursorOf(const Run& run, const ChainFollower::Chain& chain);
  [[nodiscard]] absl::StatusOr<SourceContext> ContextOf(const Run& run,
                                                        const ChainFollower::Chain& chain);
  Ending EndingOf(const Run& run, const absl::Status& status, bool fruitful);
  std::chrono::milliseconds RetryWait(const absl::Status& status, uint32_t attempts);
  void Tell(Run& run, const Ending& ending, bool fruitful);
  void NoteEnded(Run& run, Offset told) ABSL_LOCKS_EXCLUDED(mutex_);

  [[nodiscard]] eventlog::Event EventOf(const OrgId& org,
                                        const google::protobuf::Message& message) const;
  // A message of the run's attempt.
  template <typename Message>
  static Message Named(const Run& run) {
    Message message;
    message.set_item(run.item.id());
    message.set_attempt(run.attempt);
    *message.mutable_stream() = run.item.stream();
    return message;
  }
  absl::StatusOr<std::vector<Offset>> Append(eventlog::Topic topic,
                                             const std::vector<eventlog::Event>& events,
                                             std::chrono::milliseconds timeout,
                                             const std::function<bool()>& stopping);

  const WorkerDeps& deps_;
  const PartitionId partition_;
  std::atomic<bool> ready_{false};
  std::atomic<bool> began_anew_{false};  // `work` is being read from its begin again
  std::atomic<size_t> overdue_{0};

  // The thread's own:
  std::shared_ptr<ChainFollower> chain_;
  Offset taken_over_;  // attempts that began behind it began in this worker's time
  bool work_started_ = false;
  SteadyTime mark_at_{};
  SteadyTime house_at_{};
  Offset marked_ = kNoOffset;
  SystemTime marked_time_{};

  mutable absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  projectors::WorkLedger ledger_ ABSL_GUARDED_BY(mutex_);
  Runs runs_ ABSL_GUARDED_BY(mutex_);
  size_t active_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<projectors::StreamKey, Refusals> refusals_ ABSL_GUARDED_BY(mutex_);

  projectors::WorkFollower work_;
  std::thread thread_;
};

}  // namespace sluice::gateways

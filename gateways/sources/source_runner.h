#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/log.h"
#include "gateways/secrets/sealer.h"
#include "gateways/sources/applied_gate.h"
#include "gateways/sources/connector.h"
#include "gateways/sources/partition_worker.h"
#include "gateways/sources/run_pool.h"
#include "gateways/sources/source_metrics.h"
#include "gateways/sources/source_sink.h"
#include "schemas/base/clock.h"

namespace prometheus {
class Registry;
}

namespace sluice::eventlog {
class PartitionGroup;
}

namespace sluice::projectors {
class DirectoryFollower;
}

namespace sluice::gateways {

struct SourceRunnerOptions {
  WorkerOptions worker{};
  RunPoolOptions entity_runs{};
  RunPoolOptions whole_runs{.runs_max = 128,
                            .per_org_max = 64,
                            .per_host_max = 128,
                            .queue_max = 10'000,
                            .turn = std::chrono::minutes(5)};
  // Of all runs, appended and without an answer; beside what ingest has, below the log's queue.
  size_t in_flight_bytes_max = size_t{12} << 20;
  size_t in_flight_events_max = 10'000;
};

// All must outlive the runner.
struct SourceRunnerDeps {
  eventlog::Log& log;
  eventlog::PartitionGroup& group;
  const Clock& clock;
  projectors::DirectoryFollower& directory;
  std::vector<Connector*> connectors;
  Sealer& sealer;
  AppliedGate::Ask applied;
  // Called when the first partition comes to this process and when it goes, which is the same one's
  // in all of them: so one of them alone does what there is one of. May be empty.
  std::function<void(bool)> owns_first{};
  std::shared_ptr<prometheus::Registry> registry;
};

// The role `sources`: has the sources of the partitions run that its group assigns. Thread-safe,
// but for Start() and Stop().
class SourceRunner {
 public:
  SourceRunner(SourceRunnerOptions options, SourceRunnerDeps deps);
  ~SourceRunner();

  // Errors as PartitionGroup::Start(); std::system_error where threads can't be made.
  [[nodiscard]] absl::Status Start();
  // Ends the runs and leaves the group. Waits for runs as long as their connectors take to notice.
  void Stop();
  // To be called at each scrape.
  void RefreshMetrics() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // The sources of all organisations, by the partition of their changes.
  using Scan = std::map<PartitionId, std::vector<KnownSource>>;

  std::vector<KnownSource> SourcesOf(PartitionId partition) ABSL_LOCKS_EXCLUDED(scan_mutex_);
  void Assign(const std::vector<PartitionId>& partitions) ABSL_LOCKS_EXCLUDED(mutex_);
  void Revoke(const std::vector<PartitionId>& partitions) ABSL_LOCKS_EXCLUDED(mutex_);

  const SourceRunnerOptions options_;
  const SourceRunnerDeps deps_;
  const SourceMetrics metrics_;
  const SinkDeps sink_;
  std::map<std::string, Connector*> connectors_;
  RunPool entity_runs_;
  RunPool whole_runs_;
  const WorkerDeps worker_;

  absl::Mutex scan_mutex_;
  Scan scan_ ABSL_GUARDED_BY(scan_mutex_);
  SteadyTime scanned_at_ ABSL_GUARDED_BY(scan_mutex_){};

  mutable absl::Mutex mutex_;
  std::map<PartitionId, std::shared_ptr<PartitionWorker>> workers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <map>
#include <set>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "projectors/provisioning/partition_sequencer.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/metrics.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

constexpr absl::Duration kTendInterval = absl::Seconds(1);

SequencerMetrics MakeMetrics(std::shared_ptr<prometheus::Registry> given) {
  std::shared_ptr<prometheus::Registry> registry = RegistryOrNew(std::move(given));
  auto& requests = CounterFamily(*registry, "sluice_provisioning_requests_total",
                                 "Provisioning requests decided, by outcome");
  return {.registry = registry,
          .accepted = requests.Add({{"outcome", "accepted"}}),
          .refused = requests.Add({{"outcome", "refused"}}),
          .failures = AddCounter(*registry, "sluice_provisioning_failures_total",
                                 "Reads and appends of the sequencer that failed and are repeated"),
          .pending = AddGauge(*registry, "sluice_provisioning_pending_requests",
                              "Provisioning requests that have no outcome yet")};
}

}  // namespace

struct ProvisioningProjector::Impl {
  void Assign(const std::vector<PartitionId>& partitions) {
    absl::MutexLock lock(&mutex);
    for (const PartitionId partition : partitions) {
      if (!sequencers.contains(partition)) {
        AddSequencer(partition);
      }
    }
  }
  // Called on a thread of the group's, where nobody could catch: a process that can't have one more
  // thread goes on with the partitions that it has.
  void AddSequencer(PartitionId partition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    try {
      auto sequencer =
          std::make_unique<PartitionSequencer>(log, clock, partition, store_applied, gate, metrics);
      sequencer->Start();
      sequencers.emplace(partition, std::move(sequencer));
      lacking.erase(partition);
    } catch (const std::system_error& error) {
      lacking.insert(partition);
      spdlog::error("provisioning_no_threads partition={} error=\"{}\"", partition.value(),
                    error.what());
    }
  }
  // Makes the sequencers that could not be made, and notes when all are well, until the end.
  void Tend() {
    while (true) {
      (void)Health();
      absl::MutexLock lock(&mutex);
      if (mutex.AwaitWithTimeout(absl::Condition(&stopping), kTendInterval)) {
        return;
      }
      for (const PartitionId partition : std::set<PartitionId>(lacking)) {
        AddSequencer(partition);
      }
    }
  }
  // Of the first partition whose thread can't be made.
  absl::Status Lacking() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return lacking.empty() ? absl::OkStatus()
                           : Error(StatusCode::kResourceExhausted, "no_threads",
                                   "provisioning, partition {}: the process can't have its "
                                   "threads; raise its limit (ulimit -u, or the container's)",
                                   lacking.begin()->value());
  }

  void Revoke(const std::vector<PartitionId>& partitions) {
    std::vector<std::unique_ptr<PartitionSequencer>> stopped;
    {
      absl::MutexLock lock(&mutex);
      for (const PartitionId partition : partitions) {
        lacking.erase(partition);
        if (const auto found = sequencers.find(partition); found != sequencers.end()) {
          stopped.push_back(std::move(found->second));
          sequencers.erase(found);
        }
      }
    }
    // All are told before the first is waited for: each may have to end a comparison with a log
    // that does not answer, and the group's other partitions go to nobody meanwhile.
    for (const auto& sequencer : stopped) {
      sequencer->RequestStop();
    }
    for (const auto& sequencer : stopped) {
      sequencer->Stop();
    }
  }

  eventlog::TroubledPartitions NotWell() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  absl::Status Health();

  eventlog::Log& log;
  eventlog::PartitionGroup& group;
  const Clock& clock;
  StoreApplied store_applied;
  Gate gate;
  SequencerMetrics metrics;
  mutable absl::Mutex mutex = {};
  std::map<PartitionId, std::unique_ptr<PartitionSequencer>> sequencers ABSL_GUARDED_BY(mutex) = {};
  std::set<PartitionId> lacking ABSL_GUARDED_BY(mutex) = {};  // assigned, and without a thread
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  std::thread tender = {};
  eventlog::PartitionHealth health = {};
};

ProvisioningProjector::ProvisioningProjector(eventlog::Log& log, eventlog::PartitionGroup& group,
                                             const Clock& clock, StoreApplied store_applied,
                                             std::shared_ptr<prometheus::Registry> registry,
                                             Gate gate)
    : impl_(new Impl{log, group, clock, std::move(store_applied), std::move(gate),
                     MakeMetrics(std::move(registry))}) {}

ProvisioningProjector::~ProvisioningProjector() { Stop(); }

absl::Status ProvisioningProjector::Start() {
  impl_->tender = std::thread([impl = impl_.get()] { impl->Tend(); });
  RETURN_IF_ERROR(impl_->group.Start(
      {.on_assigned = [this](const auto& partitions) { impl_->Assign(partitions); },
       .on_revoked = [this](const auto& partitions) { impl_->Revoke(partitions); }}));
  absl::MutexLock lock(&impl_->mutex);
  return impl_->Lacking();
}

void ProvisioningProjector::Stop() {
  {
    absl::MutexLock lock(&impl_->mutex);
    impl_->stopping = true;
  }
  if (impl_->tender.joinable()) {
    impl_->tender.join();
  }
  impl_->group.Stop();
}

absl::Status ProvisioningProjector::Impl::Health() {
  RETURN_IF_ERROR(group.Health());
  absl::MutexLock lock(&mutex);
  RETURN_IF_ERROR(Lacking());
  return health.Of(NotWell(), sequencers.size());
}

eventlog::TroubledPartitions ProvisioningProjector::Impl::NotWell() const {
  eventlog::TroubledPartitions troubled;
  for (const auto& [partition, sequencer] : sequencers) {
    if (const absl::Status status = sequencer->Health(); !status.ok()) {
      troubled.emplace_back(partition,
                            Annotate(status, "provisioning, partition {}", partition.value()));
    }
  }
  return troubled;
}

absl::Status ProvisioningProjector::Health() const { return impl_->Health(); }

eventlog::TroubledPartitions ProvisioningProjector::NotWell() const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->NotWell();
}

}  // namespace sluice::projectors

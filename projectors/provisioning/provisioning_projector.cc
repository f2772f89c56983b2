#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/partition_group.h"
#include "projectors/provisioning/partition_sequencer.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/status.h"

namespace sluice::projectors {

struct ProvisioningProjector::Impl {
  void Assign(const std::vector<PartitionId>& partitions) {
    absl::MutexLock lock(&mutex);
    for (const PartitionId partition : partitions) {
      auto& sequencer = sequencers[partition];
      if (sequencer == nullptr) {
        sequencer = std::make_unique<PartitionSequencer>(log, clock, partition, store_applied, gate,
                                                         metrics);
        sequencer->Start();
      }
    }
  }

  void Revoke(const std::vector<PartitionId>& partitions) {
    std::vector<std::unique_ptr<PartitionSequencer>> stopped;
    {
      absl::MutexLock lock(&mutex);
      for (const PartitionId partition : partitions) {
        if (const auto found = sequencers.find(partition); found != sequencers.end()) {
          stopped.push_back(std::move(found->second));
          sequencers.erase(found);
        }
      }
    }
    for (const auto& sequencer : stopped) {
      sequencer->Stop();
    }
  }

  eventlog::Log& log;
  eventlog::PartitionGroup& group;
  const Clock& clock;
  StoreApplied store_applied;
  Gate gate;
  SequencerMetrics metrics;
  mutable absl::Mutex mutex;
  std::map<PartitionId, std::unique_ptr<PartitionSequencer>> sequencers ABSL_GUARDED_BY(mutex);
};

namespace {

SequencerMetrics MakeMetrics(const std::shared_ptr<prometheus::Registry>& registry) {
  SequencerMetrics metrics;
  if (registry == nullptr) {
    return metrics;
  }
  auto& requests = prometheus::BuildCounter()
                       .Name("sluice_provisioning_requests_total")
                       .Help("Provisioning requests decided, by outcome")
                       .Register(*registry);
  metrics.accepted = &requests.Add({{"outcome", "accepted"}});
  metrics.refused = &requests.Add({{"outcome", "refused"}});
  metrics.failures = &prometheus::BuildCounter()
                          .Name("sluice_provisioning_failures_total")
                          .Help("Reads and appends of the sequencer that failed and are repeated")
                          .Register(*registry)
                          .Add({});
  metrics.pending = &prometheus::BuildGauge()
                         .Name("sluice_provisioning_pending_requests")
                         .Help("Provisioning requests that have no outcome yet")
                         .Register(*registry)
                         .Add({});
  return metrics;
}

}  // namespace

ProvisioningProjector::ProvisioningProjector(eventlog::Log& log, eventlog::PartitionGroup& group,
                                             const Clock& clock, StoreApplied store_applied,
                                             std::shared_ptr<prometheus::Registry> registry,
                                             Gate gate)
    : impl_(new Impl{log,
                     group,
                     clock,
                     std::move(store_applied),
                     std::move(gate),
                     MakeMetrics(registry),
                     {},
                     {}}) {}

ProvisioningProjector::~ProvisioningProjector() { Stop(); }

absl::Status ProvisioningProjector::Start() {
  return impl_->group.Start(
      {.on_assigned = [this](const auto& partitions) { impl_->Assign(partitions); },
       .on_revoked = [this](const auto& partitions) { impl_->Revoke(partitions); }});
}

void ProvisioningProjector::Stop() { impl_->group.Stop(); }

absl::Status ProvisioningProjector::Health() const {
  absl::MutexLock lock(&impl_->mutex);
  for (const auto& [partition, sequencer] : impl_->sequencers) {
    RETURN_IF_ERROR_CTX(sequencer->Health(),
                        fmt::format("provisioning, partition {}", partition.value()));
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors

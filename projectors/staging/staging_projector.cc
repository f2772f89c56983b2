#include "projectors/staging/staging_projector.h"

#include <map>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/partition_group.h"
#include "projectors/staging/partition_folder.h"
#include "projectors/staging/staging_metrics.h"
#include "schemas/status.h"

namespace sluice::projectors {

struct StagingProjector::Impl {
  Impl(eventlog::Log& log_in, eventlog::PartitionGroup& group_in, StoreManager& stores_in,
       const Clock& clock_in, StagingOptions options_in)
      : log(log_in),
        group(group_in),
        stores(stores_in),
        clock(clock_in),
        options(std::move(options_in)),
        metrics(options.registry) {}

  using Folders = std::map<PartitionId, std::unique_ptr<PartitionFolder>>;

  void Assign(const std::vector<PartitionId>& partitions) {
    absl::MutexLock lock(&mutex);
    assigned = true;
    for (const PartitionId partition : partitions) {
      std::unique_ptr<PartitionFolder>& folder = folders[partition];
      if (folder == nullptr) {
        folder = std::make_unique<PartitionFolder>(
            partition, PartitionFolder::Context{log, group, stores, clock, options, metrics});
        folder->Start();
      }
    }
  }

  // Returns when the last checkpoints are written.
  void Revoke(const std::vector<PartitionId>& partitions) {
    Folders leaving;
    {
      absl::MutexLock lock(&mutex);
      for (const PartitionId partition : partitions) {
        if (auto found = folders.extract(partition); !found.empty()) {
          leaving.insert(std::move(found));
        }
      }
    }
    for (const auto& [partition, folder] : leaving) {
      folder->RequestStop();
    }
    for (const auto& [partition, folder] : leaving) {
      folder->Stop();
      metrics.Revoked(partition);
    }
  }

  std::vector<PartitionId> Assigned() const {
    std::vector<PartitionId> partitions;
    absl::MutexLock lock(&mutex);
    for (const auto& [partition, folder] : folders) {
      partitions.push_back(partition);
    }
    return partitions;
  }

  eventlog::Log& log;
  eventlog::PartitionGroup& group;
  StoreManager& stores;
  const Clock& clock;
  const StagingOptions options;
  StagingMetrics metrics;

  mutable absl::Mutex mutex;
  bool assigned ABSL_GUARDED_BY(mutex) = false;  // the group has answered once
  Folders folders ABSL_GUARDED_BY(mutex);
};

StagingProjector::StagingProjector(eventlog::Log& log, eventlog::PartitionGroup& group,
                                   StoreManager& stores, const Clock& clock, StagingOptions options)
    : impl_(std::make_unique<Impl>(log, group, stores, clock, std::move(options))) {}

StagingProjector::~StagingProjector() { Stop(); }

absl::Status StagingProjector::Start() {
  Impl* const impl = impl_.get();
  return impl->group.Start(
      {.on_assigned = [impl](const std::vector<PartitionId>& p) { impl->Assign(p); },
       .on_revoked = [impl](const std::vector<PartitionId>& p) { impl->Revoke(p); }});
}

void StagingProjector::Stop() {
  impl_->group.Stop();
  impl_->Revoke(impl_->Assigned());
}

absl::Status StagingProjector::Health() const {
  absl::MutexLock lock(&impl_->mutex);
  if (!impl_->assigned) {
    return Error(absl::StatusCode::kUnavailable, "staging_not_assigned",
                 "the group has not assigned partitions yet");
  }
  for (const auto& [partition, folder] : impl_->folders) {
    RETURN_IF_ERROR(folder->Health());
  }
  return absl::OkStatus();
}

bool StagingProjector::Serves(PartitionId partition) const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->folders.contains(partition);
}

}  // namespace sluice::projectors

#include "eventlog/static_partition_group.h"

#include <utility>

namespace sluice::eventlog {
namespace {

std::vector<PartitionId> FirstPartitions(int32_t count) {
  std::vector<PartitionId> partitions;
  for (int32_t i = 0; i < count; ++i) {
    partitions.emplace_back(i);
  }
  return partitions;
}

}  // namespace

StaticPartitionGroup::StaticPartitionGroup(int32_t partition_count)
    : partitions_(FirstPartitions(partition_count)) {}

StaticPartitionGroup::~StaticPartitionGroup() { StaticPartitionGroup::Stop(); }

absl::Status StaticPartitionGroup::Start(Callbacks callbacks) {
  const absl::MutexLock lock(&mutex_);
  if (started_) {
    return absl::FailedPreconditionError("the partition group has been started already");
  }
  callbacks_ = std::move(callbacks);
  started_ = true;
  callbacks_.on_assigned(partitions_);
  return absl::OkStatus();
}

void StaticPartitionGroup::CommitHint(PartitionId /*partition*/, Offset /*next*/) {}

void StaticPartitionGroup::Stop() {
  const absl::MutexLock lock(&mutex_);
  if (!started_) {
    return;
  }
  started_ = false;
  callbacks_.on_revoked(partitions_);
}

}  // namespace sluice::eventlog

#include "projectors/store/apart_set.h"

#include <utility>

#include "schemas/base/collect.h"

namespace sluice::projectors {

void ApartSet::WorkOn(PartitionId partition, Offset end) {
  absl::MutexLock lock(&mutex_);
  partitions_[partition].working_end = end;
}

void ApartSet::BeginAt(PartitionId partition, Offset checkpoint) {
  absl::MutexLock lock(&mutex_);
  Partition& state = partitions_[partition];
  state.working_end = checkpoint;
  for (auto& [name, entry] : state.orgs) {
    if (entry.state.next > checkpoint) {
      entry.state.next = checkpoint;
      entry.state.generation = ++generation_;
    }
  }
}

void ApartSet::NoteNear(PartitionId partition, std::optional<SteadyTime> near) {
  absl::MutexLock lock(&mutex_);
  partitions_[partition].near = near;
}

bool ApartSet::CaughtUp(PartitionId partition) const {
  absl::MutexLock lock(&mutex_);
  const auto found = partitions_.find(partition);
  return found != partitions_.end() && found->second.near.has_value();
}

void ApartSet::Set(PartitionId partition, Entry entry) {
  absl::MutexLock lock(&mutex_);
  auto& [working_end, near, orgs] = partitions_[partition];
  entry.state.generation = ++generation_;
  const auto before = orgs.find(entry.state.org.value());
  entry.state.near = before == orgs.end() ? near : before->second.state.near;
  std::string name = entry.state.org.value();
  orgs.insert_or_assign(std::move(name), std::move(entry));
}

bool ApartSet::Advance(PartitionId partition, const ApartOrg& apart, Offset next) {
  absl::MutexLock lock(&mutex_);
  Partition& state = partitions_[partition];
  const auto found = state.orgs.find(apart.org.value());
  if (found == state.orgs.end() || found->second.state.generation != apart.generation) {
    return false;
  }
  const bool due = state.IsDue(found->second, next);
  Offset& reached = found->second.state.next;
  reached = std::max(reached, next);
  if (due) {
    state.orgs.erase(found);
  }
  return due;
}

bool ApartSet::IsDue(PartitionId partition, const ApartOrg& apart, Offset next) const {
  absl::MutexLock lock(&mutex_);
  const auto state = partitions_.find(partition);
  if (state == partitions_.end()) {
    return false;
  }
  const auto found = state->second.orgs.find(apart.org.value());
  return found != state->second.orgs.end() && found->second.state.generation == apart.generation &&
         state->second.IsDue(found->second, next);
}

void ApartSet::Erase(PartitionId partition, const std::string& org) {
  absl::MutexLock lock(&mutex_);
  partitions_[partition].orgs.erase(org);
}

std::optional<ApartSet::Entry> ApartSet::Find(PartitionId partition, std::string_view org) const {
  absl::MutexLock lock(&mutex_);
  const auto state = partitions_.find(partition);
  if (state == partitions_.end()) {
    return std::nullopt;
  }
  const auto found = state->second.orgs.find(org);
  return found == state->second.orgs.end() ? std::nullopt : std::make_optional(found->second);
}

std::vector<ApartSet::Entry> ApartSet::Of(PartitionId partition) const {
  absl::MutexLock lock(&mutex_);
  const auto state = partitions_.find(partition);
  return state == partitions_.end()
             ? std::vector<Entry>()
             : Collect(state->second.orgs, [](const auto& entry) { return entry.second; });
}

}  // namespace sluice::projectors

#include "gateways/http/connection_table.h"

namespace sluice::gateways {

std::optional<uint64_t> ConnectionTable::OldestSilent(Time since_max) const {
  for (const bool served : {false, true}) {
    const auto oldest = silent_.lower_bound(Key(served, Time::min(), 0));
    if (oldest != silent_.end() && std::get<0>(*oldest) == served &&
        std::get<1>(*oldest) <= since_max) {
      return std::get<2>(*oldest);
    }
  }
  return std::nullopt;
}

void ConnectionTable::Forget(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    return;
  }
  silent_.erase(Key(found->second.served, found->second.since, id));
  connections_.erase(found);
}

ConnectionTable::Admission ConnectionTable::Enter(uint64_t id, Time now) {
  absl::MutexLock lock(&mutex_);
  Admission admission;
  if (connections_.size() >= connections_max_) {
    admission.closed = OldestSilent(now - silent_min_);
    if (!admission.closed.has_value()) {
      return admission;
    }
    Forget(*admission.closed);
  }
  connections_[id] = State{.silent = true, .served = false, .since = now};
  silent_.insert(Key(false, now, id));
  admission.admitted = true;
  return admission;
}

std::optional<uint64_t> ConnectionTable::CloseOldestSilent() {
  absl::MutexLock lock(&mutex_);
  const std::optional<uint64_t> oldest = OldestSilent(Time::max());
  if (oldest.has_value()) {
    Forget(*oldest);
  }
  return oldest;
}

void ConnectionTable::Silent(uint64_t id, Time now) {
  absl::MutexLock lock(&mutex_);
  const auto found = connections_.find(id);
  if (found == connections_.end() || found->second.silent) {
    return;
  }
  found->second.silent = true;
  found->second.since = now;
  silent_.insert(Key(found->second.served, now, id));
}

bool ConnectionTable::Busy(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    return false;
  }
  silent_.erase(Key(found->second.served, found->second.since, id));
  found->second.silent = false;
  found->second.served = true;
  return true;
}

bool ConnectionTable::Contains(uint64_t id) const {
  absl::MutexLock lock(&mutex_);
  return connections_.contains(id);
}

void ConnectionTable::Leave(uint64_t id) {
  absl::MutexLock lock(&mutex_);
  Forget(id);
}

size_t ConnectionTable::size() const {
  absl::MutexLock lock(&mutex_);
  return connections_.size();
}

}  // namespace sluice::gateways

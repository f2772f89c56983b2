#include "gateways/http/connection_table.h"

namespace sluice::gateways {

std::optional<uint64_t> ConnectionTable::OldestSilent(Time since_max) const {
  // Those on which nobody was ever known come first, also where they are younger: a stranger who
  // connects often enough would otherwise push out the idle connections of those who are served.
  for (const bool served : {false, true}) {
    const auto oldest = silent_.lower_bound(Key(served, Time::min(), 0));
    if (oldest != silent_.end() && std::get<0>(*oldest) == served &&
        std::get<1>(*oldest) <= since_max) {
      return std::get<2>(*oldest);
    }
  }
  return std::nullopt;
}

// Whoever gives away a place forgets its holder in the same step: the connection is closed on
// another thread a little later, and must neither be chosen a second time nor become busy
// meanwhile.
void ConnectionTable::Forget(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    return;
  }
  const State& state = found->second;
  if (state.silent) {
    (state.reserved ? reserved_ : silent_).erase(Key(state.served, state.since, id));
  } else {
    busy_.GiveBack(state.owner);
  }
  connections_.erase(found);
}

ConnectionTable::Admission ConnectionTable::Enter(uint64_t id, Time now) {
  absl::MutexLock lock(&mutex_);
  Admission admission;
  // The reserve is past the limit and counts for nothing here, or 64 who ask for health would take
  // as many places from everybody else.
  if (connections_.size() - reserved_.size() >= connections_max_) {
    admission.closed = OldestSilent(now - silent_min_);
    admission.reserved = !admission.closed.has_value();
  }
  if (admission.reserved && reserved_.size() >= reserve_max_) {
    admission.closed = std::get<2>(*reserved_.begin());
  }
  if (admission.closed.has_value()) {
    Forget(*admission.closed);
  }
  connections_[id] = State{.silent = true,
                           .served = false,
                           .reserved = admission.reserved,
                           .since = now,
                           .owner = Owner()};
  (admission.reserved ? reserved_ : silent_).insert(Key(false, now, id));
  return admission;
}

std::optional<uint64_t> ConnectionTable::CloseOldestSilent() {
  absl::MutexLock lock(&mutex_);
  std::optional<uint64_t> oldest = OldestSilent(Time::max());
  if (!oldest.has_value() && !reserved_.empty()) {
    oldest = std::get<2>(*reserved_.begin());
  }
  if (oldest.has_value()) {
    Forget(*oldest);
  }
  return oldest;
}

void ConnectionTable::Silent(uint64_t id, Time now) {
  absl::MutexLock lock(&mutex_);
  const auto found = connections_.find(id);
  // Silent already: nobody was known, and its time goes on from when it came. Were it renewed by an
  // answer, a stranger would keep its place by asking for more.
  if (found == connections_.end() || found->second.silent) {
    return;
  }
  busy_.GiveBack(found->second.owner);
  found->second.owner = Owner();
  found->second.silent = true;
  found->second.since = now;
  silent_.insert(Key(found->second.served, now, id));
}

ConnectionTable::Place ConnectionTable::Busy(uint64_t id, const Owner& owner) {
  absl::MutexLock lock(&mutex_);
  const auto found = connections_.find(id);
  if (found == connections_.end()) {
    return Place::kGone;
  }
  State& state = found->second;
  if (!state.silent) {
    return Place::kOwn;
  }
  // The share is looked at before the place is taken: a refused one stays silent, and makes room.
  if (state.reserved || !busy_.TryTake(owner)) {
    return Place::kShare;
  }
  silent_.erase(Key(state.served, state.since, id));
  state.silent = false;
  state.served = true;
  state.owner = owner;
  return Place::kOwn;
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

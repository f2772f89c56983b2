#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <set>
#include <tuple>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace sluice::gateways {

// Which connections a listener has, and which of them serve a caller who is known: at the limit the
// one that has served nobody known for longest makes room, whatever it is busy with. A stranger who
// asks for much and reads nothing holds no place that others need. Thread-safe.
class ConnectionTable {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // A connection may be closed for another's sake once it has been silent for `silent_min`: a
  // client that has just connected, or been known and answered, gets the time to send.
  ConnectionTable(size_t connections_max, std::chrono::milliseconds silent_min)
      : connections_max_(connections_max), silent_min_(silent_min) {}

  struct Admission {
    bool admitted = false;
    std::optional<uint64_t> closed;  // this one has to be closed; the table has forgotten it
  };
  // A new connection `id`, silent from now on.
  [[nodiscard]] Admission Enter(uint64_t id, Time now);
  // The oldest silent one, whatever its age; the table has forgotten it: for a process that is out
  // of descriptors.
  [[nodiscard]] std::optional<uint64_t> CloseOldestSilent();

  // The request of a caller who was known has been answered. Connections on which nobody was known
  // are closed before others; for them this is nothing, or answers would keep them in their places.
  void Silent(uint64_t id, Time now);
  // Whose request `id` serves is known. False where it has to be closed: another took its place.
  [[nodiscard]] bool Busy(uint64_t id);
  // Not closed for another's sake.
  [[nodiscard]] bool Contains(uint64_t id) const;
  // Nothing where the table has forgotten it.
  void Leave(uint64_t id);

  [[nodiscard]] size_t size() const;
  [[nodiscard]] size_t connections_max() const { return connections_max_; }

 private:
  struct State {
    bool silent = true;
    bool served = false;  // a caller was known before
    Time since;
  };
  using Key = std::tuple<bool, Time, uint64_t>;  // served, since, id

  void Forget(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<uint64_t> OldestSilent(Time since_max) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const size_t connections_max_;
  const std::chrono::milliseconds silent_min_;
  mutable absl::Mutex mutex_;
  std::unordered_map<uint64_t, State> connections_ ABSL_GUARDED_BY(mutex_);
  std::set<Key> silent_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways

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
#include "gateways/http/fair_places.h"
#include "gateways/http/owner.h"

namespace sluice::gateways {

// Which connections a listener has, and which of them serve a caller who is known: at the limit the
// one that has served nobody known for longest makes room, whatever it is busy with. A stranger who
// asks for much and reads nothing holds no place that others need. Of busy
// connections an owner, and one of its callers, has as many as FairPlaces gives. Past the limit
// there is a small reserve for requests that are answered from memory, whatever else goes on.
// Thread-safe.
class ConnectionTable {
 public:
  using Time = std::chrono::steady_clock::time_point;

  // A connection may be closed for another's sake once it has been silent for `silent_min`: a
  // client that has just connected, or been known and answered, gets the time to send.
  // `reserve`: connections past the limit; at least one.
  ConnectionTable(size_t connections_max, std::chrono::milliseconds silent_min, size_t reserve)
      : connections_max_(connections_max),
        silent_min_(silent_min),
        reserve_max_(reserve),
        busy_(connections_max) {}

  struct Admission {
    bool reserved = false;           // a place in the reserve only
    std::optional<uint64_t> closed;  // this one has to be closed; the table has forgotten it
  };
  // A new connection `id`, silent from now on. Where the reserve is full its oldest one makes room,
  // whatever its age: whoever asks for health has its answer in less time than others need to
  // connect as often as the reserve is large.
  [[nodiscard]] Admission Enter(uint64_t id, Time now);
  // The oldest silent one, whatever its age; the table has forgotten it: for a process that is out
  // of descriptors.
  [[nodiscard]] std::optional<uint64_t> CloseOldestSilent();

  // The request of a caller who was known has been answered. Connections on which nobody was known
  // are closed before others; for them this is nothing, or answers would keep them in their places.
  void Silent(uint64_t id, Time now);
  enum class Place {
    kOwn,    // until Silent()
    kGone,   // another took its place: it has to be closed
    kShare,  // its owner has as many places as it may have
  };
  // Whose request `id` serves is known: `owner`.
  [[nodiscard]] Place Busy(uint64_t id, const Owner& owner);
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
    bool reserved = false;
    Time since;
    Owner owner;  // where it is busy
  };
  using Key = std::tuple<bool, Time, uint64_t>;  // served, since, id

  void Forget(uint64_t id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  std::optional<uint64_t> OldestSilent(Time since_max) const ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const size_t connections_max_;
  const std::chrono::milliseconds silent_min_;
  const size_t reserve_max_;
  mutable absl::Mutex mutex_;
  std::unordered_map<uint64_t, State> connections_ ABSL_GUARDED_BY(mutex_);
  std::set<Key> silent_ ABSL_GUARDED_BY(mutex_);
  std::set<Key> reserved_ ABSL_GUARDED_BY(mutex_);  // not in silent_
  FairPlaces busy_;
};

}  // namespace sluice::gateways

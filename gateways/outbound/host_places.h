#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// How many requests a host has at once from this process, whichever sources they are of, and when
// it wants none. Thread-safe.
class HostPlaces {
 public:
  // A place at a host, given back when this ends.
  class Place {
   public:
    Place(HostPlaces& places, std::string host) : places_(&places), host_(std::move(host)) {}
    Place(Place&& other) noexcept
        : places_(std::exchange(other.places_, nullptr)), host_(std::move(other.host_)) {}
    Place& operator=(Place&&) = delete;
    ~Place() {
      if (places_ != nullptr) {
        places_->GiveBack(host_);
      }
    }

   private:
    HostPlaces* places_;
    std::string host_;
  };

  // `clock` must outlive this.
  HostPlaces(size_t per_host_max, const Clock& clock);

  // Waits for a place until `until`. kUnavailable with RetryAfterOf() while the host rests, code
  // "source_resting", or when the time is up, code "source_timeout"; kCancelled as soon as
  // `stopping()`, which is asked every few hundredths of a second.
  [[nodiscard]] absl::StatusOr<Place> Take(const std::string& host, SteadyTime until,
                                           const std::function<bool()>& stopping);

  // The host gets no new request for so long. A longer rest that was asked for before stays.
  void Rest(const std::string& host, std::chrono::milliseconds wait);

 private:
  struct HostState {
    size_t taken = 0;
    SteadyTime rests_until{};
  };

  void GiveBack(const std::string& host);
  // Forgets hosts of which nothing needs to be known any more.
  void Sweep() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t per_host_max_;
  const Clock& clock_;
  absl::Mutex mutex_;
  std::map<std::string, HostState> hosts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways

#include "gateways/outbound/host_places.h"

#include <fmt/format.h>

#include <algorithm>

#include "absl/time/time.h"
#include "gateways/outbound/retry_after.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr absl::Duration kPlaceLookInterval = absl::Milliseconds(20);
// Hosts that are remembered to rest. Beyond them a host is asked too early, and says so again.
constexpr size_t kHostsMax = 10'000;

}  // namespace

HostPlaces::HostPlaces(size_t per_host_max, const Clock& clock)
    : per_host_max_(per_host_max), clock_(clock) {}

absl::StatusOr<HostPlaces::Place> HostPlaces::Take(const std::string& host, SteadyTime until,
                                                   const std::function<bool()>& stopping) {
  while (true) {
    if (stopping && stopping()) {
      return absl::CancelledError("stopped while waiting for a place at the host");
    }
    absl::MutexLock lock(&mutex_);
    HostState& state = hosts_[host];
    const SteadyTime now = clock_.SteadyNow();
    if (state.rests_until > now) {
      const auto rest = std::chrono::ceil<std::chrono::milliseconds>(state.rests_until - now);
      return WithRetryAfter(
          Error(absl::StatusCode::kUnavailable, "source_resting",
                fmt::format("{} asked for no requests for another {} ms", host, rest.count())),
          rest);
    }
    if (state.taken < per_host_max_) {
      ++state.taken;
      return Place(*this, host);
    }
    if (now >= until) {
      return Error(absl::StatusCode::kUnavailable, "source_timeout",
                   fmt::format("{} requests to {} are under way, and none ended in time",
                               state.taken, host));
    }
    // By name: whoever gives the last place back forgets the host.
    const auto free = [this, &host]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      const auto found = hosts_.find(host);
      return found == hosts_.end() || found->second.taken < per_host_max_;
    };
    mutex_.AwaitWithTimeout(absl::Condition(&free), kPlaceLookInterval);
  }
}

void HostPlaces::Rest(const std::string& host, std::chrono::milliseconds wait) {
  absl::MutexLock lock(&mutex_);
  if (hosts_.size() >= kHostsMax) {
    Sweep();
  }
  if (hosts_.size() >= kHostsMax && !hosts_.contains(host)) {
    return;
  }
  HostState& state = hosts_[host];
  state.rests_until = std::max(state.rests_until, clock_.SteadyNow() + wait);
}

void HostPlaces::GiveBack(const std::string& host) {
  absl::MutexLock lock(&mutex_);
  const auto found = hosts_.find(host);
  if (--found->second.taken == 0 && found->second.rests_until <= clock_.SteadyNow()) {
    hosts_.erase(found);
  }
}

void HostPlaces::Sweep() {
  const SteadyTime now = clock_.SteadyNow();
  std::erase_if(hosts_, [now](const auto& entry) {
    return entry.second.taken == 0 && entry.second.rests_until <= now;
  });
}

}  // namespace sluice::gateways

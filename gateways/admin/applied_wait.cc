#include "gateways/admin/applied_wait.h"

#include <algorithm>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace sluice::gateways {
namespace {

// How often a wait looks whether the server stops, and at a remote node's position.
constexpr std::chrono::milliseconds kLookInterval{50};

struct Signal {
  absl::Mutex mutex;
  Offset applied ABSL_GUARDED_BY(mutex) = kNoOffset;
};

}  // namespace

Offset AppliedWait::Applied(const OrgId& org) const {
  Offset applied = stores_ == nullptr ? kNoOffset : stores_->AppliedOf(org);
  if (remote_) {
    applied = std::max(applied, remote_(org).value_or(kNoOffset));
  }
  return applied;
}

bool AppliedWait::Wait(const OrgId& org, Offset offset, std::chrono::milliseconds timeout,
                       const HttpRequest& request) const {
  const SteadyTime deadline = clock_.SteadyNow() + timeout;
  // Shared with the callback, which may still run while this returns.
  const auto signal = std::make_shared<Signal>();
  uint64_t subscription = 0;
  if (stores_ != nullptr) {
    subscription = stores_->Subscribe(org, [signal](const projectors::AppliedChange& change) {
      absl::MutexLock lock(&signal->mutex);
      signal->applied = std::max(signal->applied, change.applied);
    });
  }
  bool done = Applied(org) >= offset;
  while (!done && !request.stopping() && clock_.SteadyNow() < deadline) {
    const auto left = std::min<SteadyTime::duration>(deadline - clock_.SteadyNow(), kLookInterval);
    {
      absl::MutexLock lock(&signal->mutex);
      const auto reached = [&]()
                               ABSL_NO_THREAD_SAFETY_ANALYSIS { return signal->applied >= offset; };
      done = signal->mutex.AwaitWithTimeout(absl::Condition(&reached), absl::FromChrono(left));
    }
    done = done || Applied(org) >= offset;
  }
  if (stores_ != nullptr) {
    stores_->Unsubscribe(subscription);
  }
  return done;
}

}  // namespace sluice::gateways

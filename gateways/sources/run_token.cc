#include "gateways/sources/run_token.h"

#include "absl/time/time.h"

namespace sluice::gateways {

void RunToken::Cancel(Why why) {
  const absl::MutexLock lock(&mutex_);
  Why none = Why::kNone;
  why_.compare_exchange_strong(none, why);
}

bool RunToken::Pause(std::chrono::milliseconds delay) {
  Touch();
  const absl::MutexLock lock(&mutex_);
  const auto is_cancelled = [this] { return cancelled(); };
  return !mutex_.AwaitWithTimeout(absl::Condition(&is_cancelled), absl::FromChrono(delay));
}

}  // namespace sluice::gateways

#include "gateways/sources/run_token.h"

#include "absl/time/time.h"

namespace sluice::gateways {

void RunToken::Cancel(Why why) {
  const absl::MutexLock lock(&mutex_);
  Why none = Why::kNone;
  why_.compare_exchange_strong(none, why);
}

RunToken::Hold::Hold(RunToken& token) : token_(token) {
  const absl::MutexLock lock(&token_.mutex_);
  if (token_.holds_++ == 0) {
    token_.held_since_ = token_.clock_.SteadyNow();
  }
}

RunToken::Hold::~Hold() {
  const absl::MutexLock lock(&token_.mutex_);
  if (--token_.holds_ == 0) {
    token_.touched_ += token_.clock_.SteadyNow() - token_.held_since_;
  }
}

void RunToken::Touch() {
  const absl::MutexLock lock(&mutex_);
  touched_ = clock_.SteadyNow();
  held_since_ = touched_;
}

SteadyTime RunToken::touched() const {
  const absl::MutexLock lock(&mutex_);
  return holds_ == 0 ? touched_ : touched_ + (clock_.SteadyNow() - held_since_);
}

bool RunToken::Pause(std::chrono::milliseconds delay) {
  const absl::MutexLock lock(&mutex_);
  const auto is_cancelled = [this] { return cancelled(); };
  return !mutex_.AwaitWithTimeout(absl::Condition(&is_cancelled), absl::FromChrono(delay));
}

}  // namespace sluice::gateways

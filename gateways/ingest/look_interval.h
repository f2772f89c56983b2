#pragma once

#include <chrono>

#include "schemas/base/backoff.h"

namespace sluice::gateways {

// How long a wait within this process waits before it looks again whether it is over: 1 ms at
// first, up to `max`.
[[nodiscard]] inline Backoff LookInterval(
    std::chrono::milliseconds max = std::chrono::milliseconds(50)) {
  return Backoff(std::chrono::milliseconds(1), max, Backoff::Jitter::kNone, /*seed=*/0);
}

}  // namespace sluice::gateways

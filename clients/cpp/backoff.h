#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>

namespace sluice::client {

// How long to wait after the `failures`-th failure in a row (from 1): any time up to `first`, which
// doubles with each failure up to `max`, so that clients which were cut off together do not come
// back together; and that after the time that the server asked for, which counts up to `max`.
template <typename Random>
std::chrono::milliseconds BackoffWait(int failures, std::chrono::milliseconds first,
                                      std::chrono::milliseconds max,
                                      std::chrono::milliseconds retry_after, Random& random) {
  const auto ceiling = std::min(max, first * (int64_t{1} << std::min(failures - 1, 16)));
  std::uniform_int_distribution<int64_t> jitter(0, ceiling.count());
  return std::min(retry_after, max) + std::chrono::milliseconds(jitter(random));
}

}  // namespace sluice::client

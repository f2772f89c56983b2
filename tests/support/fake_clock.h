#pragma once

#include <atomic>
#include <chrono>

#include "schemas/base/clock.h"

namespace sluice::testing {

// A clock that stands still until it is moved. Thread-safe.
class FakeClock final : public Clock {
 public:
  explicit FakeClock(std::chrono::seconds since_1970 = std::chrono::seconds(1'790'000'000))
      : start_(since_1970) {}

  SystemTime Now() const override { return SystemTime(start_ + std::chrono::microseconds(moved_)); }
  SteadyTime SteadyNow() const override {
    return SteadyTime(std::chrono::hours(1) + std::chrono::microseconds(moved_));
  }

  void Advance(std::chrono::microseconds by) { moved_ += by.count(); }

 private:
  const std::chrono::microseconds start_;
  std::atomic<int64_t> moved_{0};  // microseconds
};

}  // namespace sluice::testing

#pragma once

#include <ctime>

#include "schemas/base/clock.h"

namespace sluice {

// RealClock whose steady time goes on while the machine is suspended, as CLOCK_BOOTTIME does and
// std::chrono::steady_clock, which is CLOCK_MONOTONIC, does not: for whoever must not take itself
// for fresh after hours in which others went on. Its times are no deadlines for timers of
// steady_clock, and are compared with no other clock's, from which they differ by all the time for
// which the machine was ever suspended: from one class to another goes how long ago something was.
class BootTimeClock final : public Clock {
 public:
  SystemTime Now() const override { return clock_.Now(); }
  SteadyTime SteadyNow() const override {
    timespec now{};
    if (::clock_gettime(CLOCK_BOOTTIME, &now) != 0) {
      return clock_.SteadyNow();
    }
    return SteadyTime(std::chrono::seconds(now.tv_sec) + std::chrono::nanoseconds(now.tv_nsec));
  }

 private:
  RealClock clock_;
};

}  // namespace sluice

#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>

namespace sluice {

// How long to wait before what has failed is tried again: `first` at most after the first failure
// in a row, twice as long after each further one, up to `max`. Not thread-safe.
class Backoff {
 public:
  // The part of that which is left to chance, so that those who failed together do not come back
  // together.
  enum class Jitter {
    kNone,   // there is nobody else, or who comes back at a known time
    kEqual,  // between half and the whole
    kFull,   // anything up to the whole
  };

  Backoff(std::chrono::milliseconds first, std::chrono::milliseconds max,
          Jitter jitter = Jitter::kEqual, uint32_t seed = std::random_device()())
      : first_(std::min(first, max)), max_(max), jitter_(jitter), random_(seed) {}

  // After one more failure. No longer than `limit`, from which the next wait is doubled then.
  std::chrono::milliseconds Next(
      std::chrono::milliseconds limit = std::chrono::milliseconds::max()) {
    longest_ = std::min({std::max(first_, longest_ * 2), max_, limit});
    const int64_t whole = longest_.count();
    const int64_t least = jitter_ == Jitter::kNone    ? whole
                          : jitter_ == Jitter::kEqual ? whole / 2
                                                      : 0;
    return std::chrono::milliseconds(std::uniform_int_distribution<int64_t>(least, whole)(random_));
  }
  // Likewise where the other side asked to be left alone for `asked`: that long at least, up to
  // `max`, and then the wait, so that those who were told the same time do not come together.
  std::chrono::milliseconds NextAfter(std::chrono::milliseconds asked) {
    return std::min(asked, max_) + Next();
  }
  // It went well.
  void Reset() { longest_ = std::chrono::milliseconds(0); }
  // The last try failed.
  bool failing() const { return longest_.count() > 0; }

 private:
  std::chrono::milliseconds first_;
  std::chrono::milliseconds max_;
  Jitter jitter_;
  std::chrono::milliseconds longest_{0};  // of the waits after the last failure; 0: it went well
  std::minstd_rand random_;
};

}  // namespace sluice

#pragma once

#include <atomic>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gateways/http/owner.h"

namespace prometheus {
class Gauge;
class Registry;
}  // namespace prometheus

namespace sluice::gateways {

// How many bytes all requests (or answers) of a listener may hold at once, and one owner's of them:
// at most a quarter, or one hold alone whatever its size; and of that one of its callers at most
// half, or one hold alone. Thread-safe.
class ByteBudget {
 public:
  // Shown as the gauges `name` and `name`_limit with the label `listener`; `registry` may be null.
  ByteBudget(size_t bytes_max, const std::string& name, const std::string& help,
             const std::string& listener, const std::shared_ptr<prometheus::Registry>& registry);

  // `bytes` more for a hold of `owner` that has `own` already.
  [[nodiscard]] bool TryAcquire(const Owner& owner, size_t own, size_t bytes);
  void Release(const Owner& owner, size_t bytes);
  [[nodiscard]] size_t held() const { return held_.load(std::memory_order_relaxed); }
  [[nodiscard]] size_t bytes_max() const { return bytes_max_; }

 private:
  struct Held {
    size_t bytes = 0;
    std::unordered_map<std::string, size_t> callers;  // none with 0
  };

  const size_t bytes_max_;
  std::atomic<size_t> held_{0};  // changed under mutex_
  absl::Mutex mutex_;
  std::unordered_map<std::string, Held> owners_ ABSL_GUARDED_BY(mutex_);  // none with 0
  std::shared_ptr<prometheus::Registry> registry_;                        // keeps the gauge
  prometheus::Gauge& gauge_;
};

// A part of a budget, given back at the end. Used by one thread at a time.
class ByteHold {
 public:
  ByteHold() = default;
  // For `owner`; all that have none are one.
  ByteHold(ByteBudget& budget, Owner owner) : budget_(&budget), owner_(std::move(owner)) {}
  ByteHold(ByteHold&& other) noexcept
      : budget_(std::exchange(other.budget_, nullptr)),
        owner_(std::move(other.owner_)),
        bytes_(std::exchange(other.bytes_, 0)) {}
  ByteHold& operator=(ByteHold&& other) noexcept {
    std::swap(budget_, other.budget_);
    std::swap(owner_, other.owner_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  ~ByteHold() { Set(0); }

  // Holds `bytes` in all, more or less than before. False, and nothing changed, where more is not
  // to be had.
  [[nodiscard]] bool TryHold(size_t bytes) {
    if (bytes > bytes_ && !budget_->TryAcquire(owner_, bytes_, bytes - bytes_)) {
      return false;
    }
    if (bytes < bytes_) {
      budget_->Release(owner_, bytes_ - bytes);
    }
    bytes_ = bytes;
    return true;
  }
  [[nodiscard]] size_t bytes() const { return bytes_; }
  // Less than before.
  void Set(size_t bytes) {
    if (budget_ != nullptr && bytes < bytes_) {
      budget_->Release(owner_, bytes_ - bytes);
      bytes_ = bytes;
    }
  }

 private:
  ByteBudget* budget_ = nullptr;
  Owner owner_;
  size_t bytes_ = 0;
};

// What may hold bytes of `budget` for `owner` by asking, as a ContentDecoder does; given back when
// the last copy goes.
[[nodiscard]] inline std::function<bool(size_t)> HoldBy(ByteBudget& budget, Owner owner) {
  return [hold = std::make_shared<ByteHold>(budget, std::move(owner))](size_t bytes) {
    return hold->TryHold(bytes);
  };
}

}  // namespace sluice::gateways

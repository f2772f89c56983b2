#pragma once

#include <random>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {

// The log as one process has it: the process can be paused, whose appends come later then, or
// killed, whose appends come no more, and some of its appends can fail. Thread-safe.
class LeashLog final : public ForwardingLog {
 public:
  explicit LeashLog(eventlog::Log& log) : ForwardingLog(log) {}
  ~LeashLog() override { Release(); }

  // Appends wait from now on.
  void Hold() {
    const absl::MutexLock lock(&mutex_);
    holds_ = true;
  }
  // Those that wait come, in their order.
  void Release() {
    std::vector<Held> held;
    {
      const absl::MutexLock lock(&mutex_);
      holds_ = false;
      held.swap(held_);
    }
    for (Held& append : held) {
      log_.AppendAsync(append.topic, append.partition, std::move(append.batch),
                       std::move(append.done));
    }
  }
  // Nothing comes any more; those that wait are lost.
  void Kill() {
    std::vector<Held> lost;
    {
      const absl::MutexLock lock(&mutex_);
      dead_ = true;
      lost.swap(held_);
    }
    for (Held& append : lost) {
      append.done(absl::UnavailableError("killed"));
    }
  }
  // One in `of` appends fails, half of them though they come; 0: none.
  void Fail(uint32_t of, uint32_t seed) {
    const absl::MutexLock lock(&mutex_);
    fails_ = of;
    random_.seed(seed);
  }

  void AppendAsync(eventlog::Topic topic, PartitionId partition, std::vector<eventlog::Event> batch,
                   AppendCallback done) override {
    bool fails = false;
    bool comes = true;
    {
      const absl::MutexLock lock(&mutex_);
      if (!dead_ && holds_) {
        held_.push_back({topic, partition, std::move(batch), std::move(done)});
        return;
      }
      fails = dead_ || (fails_ > 0 && random_() % fails_ == 0);
      comes = !dead_ && (!fails || random_() % 2 == 0);
    }
    if (!fails) {
      log_.AppendAsync(topic, partition, std::move(batch), std::move(done));
      return;
    }
    if (comes) {
      log_.AppendAsync(topic, partition, std::move(batch), [](const auto&) {});
    }
    done(absl::UnavailableError("the answer is lost"));
  }

 private:
  struct Held {
    eventlog::Topic topic;
    PartitionId partition;
    std::vector<eventlog::Event> batch;
    AppendCallback done;
  };

  absl::Mutex mutex_;
  bool holds_ ABSL_GUARDED_BY(mutex_) = false;
  bool dead_ ABSL_GUARDED_BY(mutex_) = false;
  uint32_t fails_ ABSL_GUARDED_BY(mutex_) = 0;
  std::minstd_rand random_ ABSL_GUARDED_BY(mutex_);
  std::vector<Held> held_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::testing

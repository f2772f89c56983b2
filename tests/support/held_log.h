#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/log.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {

// A log whose appends to one partition of a topic do not end, as where it has no leader, until
// Release(). Thread-safe.
class HeldLog final : public ForwardingLog {
 public:
  HeldLog(eventlog::Log& log, PartitionId partition,
          eventlog::Topic topic = eventlog::Topic::kChanges)
      : ForwardingLog(log), topic_(topic), partition_(partition) {}
  ~HeldLog() override { Release(); }

  void Release() {
    std::vector<Held> held;
    {
      absl::MutexLock lock(&mutex_);
      released_ = true;
      held.swap(held_);
    }
    for (Held& append : held) {
      log_.AppendAsync(topic_, partition_, std::move(append.batch), std::move(append.done));
    }
  }
  // Of those that are held, the first alone.
  void ReleaseFirst() {
    std::vector<Held> first;
    {
      absl::MutexLock lock(&mutex_);
      first.push_back(std::move(held_.front()));
      held_.erase(held_.begin());
    }
    log_.AppendAsync(topic_, partition_, std::move(first[0].batch), std::move(first[0].done));
  }
  // Whether so many appends are held, or the end of the partition was asked for so often, before a
  // long time has passed.
  bool AwaitHeld(size_t count) {
    return Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return held_.size() >= count; });
  }
  bool AwaitRanges(size_t count) {
    return Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return ranges_ >= count; });
  }

  void AppendAsync(eventlog::Topic topic, PartitionId partition, std::vector<eventlog::Event> batch,
                   AppendCallback done) override {
    {
      absl::MutexLock lock(&mutex_);
      if (!released_ && topic == topic_ && partition == partition_) {
        held_.push_back({std::move(batch), std::move(done)});
        return;
      }
    }
    log_.AppendAsync(topic, partition, std::move(batch), std::move(done));
  }
  absl::StatusOr<eventlog::OffsetRange> Range(eventlog::Topic topic,
                                              PartitionId partition) override {
    {
      absl::MutexLock lock(&mutex_);
      ranges_ += topic == topic_ && partition == partition_ ? 1 : 0;
    }
    return log_.Range(topic, partition);
  }

 private:
  struct Held {
    std::vector<eventlog::Event> batch;
    AppendCallback done;
  };
  template <typename Enough>
  bool Await(const Enough& enough) {
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(20));
  }

  const eventlog::Topic topic_;
  const PartitionId partition_;
  absl::Mutex mutex_;
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Held> held_ ABSL_GUARDED_BY(mutex_);
  size_t ranges_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::testing

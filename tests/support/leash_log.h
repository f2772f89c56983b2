#pragma once

#include <algorithm>
#include <chrono>
#include <memory>
#include <random>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/log.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {

// The log as one process has it: the process can be paused, which reads nothing then and whose
// appends come later, or killed, whose appends come no more, and some of its appends can fail.
// Thread-safe.
class LeashLog final : public ForwardingLog {
 public:
  explicit LeashLog(eventlog::Log& log) : ForwardingLog(log) {}
  ~LeashLog() override { Release(); }

  // Appends wait from now on, and reads bring nothing.
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

  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(eventlog::Topic topic,
                                                               PartitionId partition,
                                                               Offset from) override {
    auto reader = log_.OpenReader(topic, partition, from);
    if (!reader.ok()) {
      return reader;
    }
    return std::make_unique<LeashReader>(*this, *std::move(reader));
  }

 private:
  class LeashReader final : public eventlog::Reader {
   public:
    LeashReader(LeashLog& log, std::unique_ptr<eventlog::Reader> reader)
        : log_(log), reader_(std::move(reader)) {}
    absl::StatusOr<std::vector<eventlog::StoredEvent>> Read(
        const eventlog::ReadLimits& limits) override {
      {
        const absl::MutexLock lock(&log_.mutex_);
        const auto goes_on = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !log_.holds_; };
        if (!log_.mutex_.AwaitWithTimeout(absl::Condition(&goes_on),
                                          absl::FromChrono(std::min(limits.wait_max, kSlice)))) {
          return std::vector<eventlog::StoredEvent>();
        }
      }
      return reader_->Read(limits);
    }
    Offset next() const override { return reader_->next(); }
    uint64_t session() const override { return reader_->session(); }
    void Cancel() override { reader_->Cancel(); }

   private:
    static constexpr std::chrono::milliseconds kSlice{5};
    LeashLog& log_;
    const std::unique_ptr<eventlog::Reader> reader_;
  };
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

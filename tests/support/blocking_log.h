#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/log.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {

// A log whose readers of one topic that are opened after Block() bring nothing until they are
// cancelled, as where its leader is away and nobody's patience ends. Thread-safe.
class BlockingLog final : public ForwardingLog {
 public:
  BlockingLog(eventlog::Log& log, eventlog::Topic topic) : ForwardingLog(log), topic_(topic) {}

  void Block() { blocks_ = true; }
  // Whether so many reads wait, before a long time has passed.
  bool AwaitBlocked(int count) {
    const auto enough = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return blocked_ >= count; };
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&enough), kLong);
  }
  // None has waited for so long that it ended by itself.
  bool all_cancelled() const { return !gave_up_; }

  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(eventlog::Topic topic,
                                                               PartitionId partition,
                                                               Offset from) override {
    auto reader = log_.OpenReader(topic, partition, from);
    if (!blocks_ || topic != topic_ || !reader.ok()) {
      return reader;
    }
    return std::make_unique<BlockedReader>(*this, *std::move(reader));
  }

 private:
  static constexpr absl::Duration kLong = absl::Seconds(60);
  class BlockedReader final : public eventlog::Reader {
   public:
    BlockedReader(BlockingLog& log, std::unique_ptr<eventlog::Reader> reader)
        : log_(log), reader_(std::move(reader)) {}
    absl::StatusOr<std::vector<eventlog::StoredEvent>> Read(const eventlog::ReadLimits&) override {
      absl::MutexLock lock(&log_.mutex_);
      ++log_.blocked_;
      if (!log_.mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), kLong)) {
        log_.gave_up_ = true;
      }
      return absl::CancelledError("cancelled");
    }
    Offset next() const override { return reader_->next(); }
    void Cancel() override {
      absl::MutexLock lock(&log_.mutex_);
      cancelled_ = true;
    }

   private:
    BlockingLog& log_;
    const std::unique_ptr<eventlog::Reader> reader_;
    bool cancelled_ ABSL_GUARDED_BY(log_.mutex_) = false;
  };

  const eventlog::Topic topic_;
  std::atomic<bool> blocks_{false};
  std::atomic<bool> gave_up_{false};
  absl::Mutex mutex_;
  int blocked_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::testing

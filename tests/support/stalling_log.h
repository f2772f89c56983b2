#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/log.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {

// A log whose readers of one topic come to an offset and then get nothing, as where a broker holds
// answers back, until Release(). Thread-safe.
class StallingLog final : public ForwardingLog {
 public:
  StallingLog(eventlog::Log& log, eventlog::Topic topic, Offset at)
      : ForwardingLog(log), topic_(topic), at_(at) {}

  void Release() {
    absl::MutexLock lock(&mutex_);
    released_ = true;
  }
  void StallAt(Offset at) {
    absl::MutexLock lock(&mutex_);
    at_ = at;
    released_ = false;
  }
  // Waits until so many reads have come back with nothing.
  void AwaitEmptyReads(int count) {
    absl::MutexLock lock(&mutex_);
    const auto enough = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return empty_reads_ >= count; };
    mutex_.AwaitWithTimeout(absl::Condition(&enough), absl::Seconds(60));
  }

  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(eventlog::Topic topic,
                                                               PartitionId partition,
                                                               Offset from) override {
    auto reader = log_.OpenReader(topic, partition, from);
    if (!reader.ok() || topic != topic_) {
      return reader;
    }
    return std::make_unique<StallingReader>(*this, *std::move(reader));
  }

 private:
  class StallingReader final : public eventlog::Reader {
   public:
    StallingReader(StallingLog& log, std::unique_ptr<eventlog::Reader> reader)
        : log_(log), reader_(std::move(reader)) {}
    absl::StatusOr<std::vector<eventlog::StoredEvent>> Read(
        const eventlog::ReadLimits& limits) override {
      eventlog::ReadLimits shortened = limits;
      {
        absl::MutexLock lock(&log_.mutex_);
        if (!log_.released_ && next() >= log_.at_) {
          ++log_.empty_reads_;
          shortened.wait_max = std::chrono::milliseconds(0);
          if (cancelled_) {
            return absl::CancelledError("cancelled");
          }
          return std::vector<eventlog::StoredEvent>();
        }
        if (!log_.released_) {
          shortened.events_max = std::min(shortened.events_max,
                                          static_cast<size_t>(log_.at_.value() - next().value()));
        }
      }
      return reader_->Read(shortened);
    }
    Offset next() const override { return reader_->next(); }
    void Cancel() override {
      {
        absl::MutexLock lock(&log_.mutex_);
        cancelled_ = true;
      }
      reader_->Cancel();
    }

   private:
    StallingLog& log_;
    const std::unique_ptr<eventlog::Reader> reader_;
    bool cancelled_ ABSL_GUARDED_BY(log_.mutex_) = false;
  };

  const eventlog::Topic topic_;
  absl::Mutex mutex_;
  Offset at_ ABSL_GUARDED_BY(mutex_);
  bool released_ ABSL_GUARDED_BY(mutex_) = false;
  int empty_reads_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::testing

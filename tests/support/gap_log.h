#pragma once

#include <atomic>
#include <memory>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "eventlog/log.h"
#include "schemas/base/status.h"
#include "tests/support/forwarding_log.h"

namespace sluice::testing {

// A log behind whose events are offsets without events, which its readers pass over, until it loses
// them. Thread-safe.
class GapLog final : public ForwardingLog {
 public:
  static constexpr Offset kEnd{10};
  using ForwardingLog::ForwardingLog;

  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(eventlog::Topic topic,
                                                               PartitionId partition,
                                                               Offset from) override {
    ASSIGN_OR_RETURN(auto reader, log_.OpenReader(topic, partition, from));
    return std::make_unique<GapReader>(*this, topic, log_.Range(topic, partition)->end,
                                       std::move(reader));
  }
  absl::StatusOr<eventlog::OffsetRange> Range(eventlog::Topic topic,
                                              PartitionId partition) override {
    if (away) {
      return absl::UnavailableError("the log is away");
    }
    return lost ? log_.Range(topic, partition) : eventlog::OffsetRange{Offset(0), kEnd};
  }

  std::atomic<bool> lost = false;
  std::atomic<bool> goes_away = false;  // as soon as a reader has been told so
  std::atomic<bool> away = false;
  std::atomic<bool> slow_to_close = false;
  absl::Notification closing;  // a reader, while `slow_to_close`
  absl::Notification closed;   // it may end

 private:
  class GapReader final : public eventlog::Reader {
   public:
    GapReader(GapLog& log, eventlog::Topic topic, Offset events_end,
              std::unique_ptr<eventlog::Reader> reader)
        : log_(log), topic_(topic), events_end_(events_end), reader_(std::move(reader)) {}
    ~GapReader() override {
      if (log_.slow_to_close.exchange(false)) {
        log_.closing.Notify();
        log_.closed.WaitForNotification();
      }
    }
    absl::StatusOr<std::vector<eventlog::StoredEvent>> Read(
        const eventlog::ReadLimits& limits) override {
      if (log_.lost && next() > events_end_) {
        log_.away = log_.goes_away.load();
        return eventlog::BeyondEndError(topic_, PartitionId(0), next(), events_end_);
      }
      auto events = reader_->Read(limits);
      passed_ = passed_ || (!log_.lost && reader_->next() == events_end_);
      return events;
    }
    Offset next() const override { return passed_ ? kEnd : reader_->next(); }
    void Cancel() override { reader_->Cancel(); }

   private:
    GapLog& log_;
    const eventlog::Topic topic_;
    const Offset events_end_;  // when it was opened
    bool passed_ = false;
    std::unique_ptr<eventlog::Reader> reader_;
  };
};

}  // namespace sluice::testing

// What the directory says of itself while its reader has trouble.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/notification.h"
#include "eventlog/base/clock.h"
#include "projectors/provisioning/provisioning.h"
#include "tests/support/forwarding_log.h"
#include "tests/support/memory_log.h"
#include "tests/unit/projectors/provisioning/provisioning_testing.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

// Behind its events are offsets without events, which its readers pass over, until it loses them.
class GapLog final : public sluice::testing::ForwardingLog {
 public:
  static constexpr Offset kEnd{10};
  using ForwardingLog::ForwardingLog;

  absl::StatusOr<std::unique_ptr<eventlog::Reader>> OpenReader(Topic topic, PartitionId partition,
                                                               Offset from) override {
    ASSIGN_OR_RETURN(auto reader, log_.OpenReader(topic, partition, from));
    return std::make_unique<GapReader>(*this, *log_.Range(topic, partition), std::move(reader));
  }
  absl::StatusOr<eventlog::OffsetRange> Range(Topic topic, PartitionId partition) override {
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
    GapReader(GapLog& log, eventlog::OffsetRange range, std::unique_ptr<eventlog::Reader> reader)
        : log_(log), events_end_(range.end), reader_(std::move(reader)) {}
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
        return eventlog::BeyondEndError(Topic::kProvisioning, PartitionId(0), next(), events_end_);
      }
      auto events = reader_->Read(limits);
      passed_ = passed_ || (!log_.lost && reader_->next() == events_end_);
      return events;
    }
    Offset next() const override { return passed_ ? kEnd : reader_->next(); }
    void Cancel() override { reader_->Cancel(); }

   private:
    GapLog& log_;
    const Offset events_end_;
    bool passed_ = false;
    std::unique_ptr<eventlog::Reader> reader_;
  };
};

class DirectoryFollowerTest : public ::testing::Test {
 protected:
  static constexpr auto kPatience = std::chrono::seconds(60);

  template <typename Condition>
  static void Await(Condition condition) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    while (!condition() && std::chrono::steady_clock::now() < end) {
      std::this_thread::yield();
    }
    EXPECT_TRUE(condition());
  }
  void AwaitEnd() {
    ASSERT_TRUE(follower_.Start().ok());
    Await([this] { return follower_.ReadUntil(testing::Org("acme")) == GapLog::kEnd; });
  }

  const RealClock clock_;
  sluice::testing::MemoryLog memory_;
  GapLog log_{memory_};
  DirectoryFollower follower_{log_, clock_, nullptr};
};

// Events may come there now: what lies there is not folded, though the log is away for long.
TEST_F(DirectoryFollowerTest, WhatWasPassedOverAndHasGoneIsNotFolded) {
  eventlog::Event event;
  event.key = "acme";
  ASSERT_TRUE(memory_.Append(Topic::kProvisioning, PartitionId(0), {event, event}).ok());
  AwaitEnd();
  log_.goes_away = true;
  log_.lost = true;
  Await([this] { return !follower_.CaughtUp(PartitionId(0)).ok(); });
  EXPECT_EQ(follower_.ReadUntil(testing::Org("acme")), Offset(2));
}

TEST_F(DirectoryFollowerTest, AReaderThatIsSlowToCloseHoldsUpNobody) {
  AwaitEnd();
  log_.slow_to_close = true;
  log_.lost = true;
  log_.closing.WaitForNotification();
  std::future<Offset> asked =
      std::async(std::launch::async, [this] { return follower_.ReadUntil(testing::Org("acme")); });
  EXPECT_EQ(asked.wait_for(std::chrono::seconds(10)), std::future_status::ready);
  log_.closed.Notify();
}

}  // namespace
}  // namespace sluice::projectors

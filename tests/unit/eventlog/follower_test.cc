#include "eventlog/follower.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "absl/time/time.h"
#include "schemas/base/status.h"
#include "tests/support/blocking_log.h"
#include "tests/support/gap_log.h"
#include "tests/support/memory_log.h"
#include "tests/unit/eventlog/log_testing.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Notes what it is called with, and does what the test has put in.
class Noting final : public Follower::Callbacks {
 public:
  explicit Noting(Log& log, Backoff retry = Backoff(milliseconds(1), milliseconds(2)))
      : follower_(log, clock_, *this,
                  {.topic = Topic::kChanges,
                   .partition = kP0,
                   .retry = retry,
                   .health = absl::UnavailableError("not read yet")}) {}
  ~Noting() override { follower_.Stop(); }

  absl::StatusOr<Offset> Open() override {
    const absl::MutexLock lock(&mutex_);
    ++opened_;
    return begin;
  }
  absl::Status Step() override {
    RETURN_IF_ERROR(step());
    return follower_.ReadOn({.wait_max = milliseconds(5)});
  }
  absl::Status Fold(const std::vector<StoredEvent>& events) override {
    for (const StoredEvent& stored : events) {
      RETURN_IF_ERROR(fold(stored.event.value));
      const absl::MutexLock lock(&mutex_);
      folded_ += stored.event.value;
    }
    return absl::OkStatus();
  }
  bool Failed(const absl::Status& status, milliseconds wait) override {
    const absl::MutexLock lock(&mutex_);
    errors_.push_back(ErrorCode(status));
    waits_.push_back(wait.count());
    health_then_ = follower_.Health();
    return again;
  }
  void Ended() override {
    const absl::MutexLock lock(&mutex_);
    ended_ = true;
  }

  // Waits for a long time until so many errors, or at least these events, were noted.
  bool AwaitErrors(size_t count) {
    return Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return errors_.size() >= count; });
  }
  bool AwaitFolded(const std::string& values) {
    return Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return folded_ == values; });
  }
  bool AwaitOpened(int count) {
    return Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return opened_ >= count; });
  }
  bool AwaitEnded() {
    return Await([&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return ended_; });
  }
  std::string folded() const {
    const absl::MutexLock lock(&mutex_);
    return folded_;
  }
  std::vector<std::string> errors() const {
    const absl::MutexLock lock(&mutex_);
    return errors_;
  }
  std::vector<int64_t> waits() const {
    const absl::MutexLock lock(&mutex_);
    return waits_;
  }
  absl::Status health_then() const {
    const absl::MutexLock lock(&mutex_);
    return health_then_;
  }
  bool ended() const {
    const absl::MutexLock lock(&mutex_);
    return ended_;
  }
  Follower& follower() { return follower_; }

  // Set before the start.
  Offset begin{0};
  bool again = true;
  std::function<absl::Status()> step = [] { return absl::OkStatus(); };
  std::function<absl::Status(const std::string&)> fold = [](const std::string&) {
    return absl::OkStatus();
  };

 private:
  bool Await(absl::FunctionRef<bool()> condition) {
    const absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&condition), absl::Seconds(60));
  }

  const RealClock clock_;
  mutable absl::Mutex mutex_;
  int opened_ ABSL_GUARDED_BY(mutex_) = 0;
  std::string folded_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> errors_ ABSL_GUARDED_BY(mutex_);
  std::vector<int64_t> waits_ ABSL_GUARDED_BY(mutex_);
  absl::Status health_then_ ABSL_GUARDED_BY(mutex_);
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  Follower follower_;
};

class FollowerTest : public ::testing::Test {
 protected:
  void Append(const std::string& values) {
    for (const char value : values) {
      ASSERT_TRUE(log_.Append(Topic::kChanges, kP0, {MakeEvent(std::string(1, value))}).ok());
    }
  }
  static absl::Status Trouble(const char* code = "trouble") {
    return Error(absl::StatusCode::kUnavailable, code, "the test says so");
  }

  testing::MemoryLog log_;
};

TEST_F(FollowerTest, ReadsFromWhereItIsToldAndSaysHowFarItHasCome) {
  Append("abcd");
  Noting noting(log_);
  noting.begin = Offset(1);
  EXPECT_EQ(noting.follower().next(), kNoOffset);
  EXPECT_EQ(Message(noting.follower().Health()), "not read yet");
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitFolded("bcd"));
  Append("e");
  ASSERT_TRUE(noting.AwaitFolded("bcde"));
  noting.follower().Stop();
  EXPECT_EQ(noting.follower().next(), Offset(5));
  EXPECT_TRUE(noting.ended());
  EXPECT_THAT(noting.errors(), IsEmpty());
}

TEST_F(FollowerTest, WhatCouldNotBeFoldedIsHandedOverAgainBeforeMoreIsRead) {
  Append("ab");
  Noting noting(log_);
  int failures = 2;
  Offset before = kNoOffset;
  noting.fold = [&](const std::string& value) {
    if (value == "a" && failures-- > 0) {
      Append("c");
      before = noting.follower().next();
      return Trouble();
    }
    return absl::OkStatus();
  };
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitFolded("abcc"));
  noting.follower().Stop();
  EXPECT_EQ(before, Offset(0)) << "nothing was folded";
  EXPECT_THAT(noting.errors(), ElementsAre("trouble", "trouble"));
}

TEST_F(FollowerTest, WaitsLongerAfterEachErrorUntilARoundGoesWell) {
  Noting noting(log_, Backoff(milliseconds(1), milliseconds(4), Backoff::Jitter::kNone));
  int rounds = 0;
  noting.step = [&rounds] { return ++rounds == 5 ? absl::OkStatus() : Trouble(); };
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitErrors(6));
  noting.follower().Stop();
  std::vector<int64_t> waits = noting.waits();
  waits.resize(6);
  EXPECT_THAT(waits, ElementsAre(1, 2, 4, 4, 1, 2));
}

// A doubted end is asked for again soon, however long other errors may have lasted.
TEST_F(FollowerTest, ALogWhoseEndIsDoubtedIsAskedAgainSoon) {
  Noting noting(log_, Backoff(milliseconds(100'000), milliseconds(100'000)));
  noting.step = [] { return Trouble("log_end_doubted"); };
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitErrors(1));
  noting.follower().Stop();
  EXPECT_LE(noting.waits().front(), 1'000);
}

TEST_F(FollowerTest, HealthTellsOfTheLastErrorUntilItIsToldOtherwise) {
  Noting noting(log_);
  int rounds = 0;
  absl::Notification told;
  noting.step = [&] {
    ++rounds;
    if (rounds == 3) {
      noting.follower().SetHealth(absl::OkStatus());
      told.Notify();
    }
    return rounds == 1 ? Trouble() : absl::OkStatus();
  };
  absl::Notification goes_on;
  noting.fold = [&goes_on](const std::string&) {
    goes_on.WaitForNotification();
    return absl::OkStatus();
  };
  Append("a");
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitErrors(1));
  EXPECT_EQ(ErrorCode(noting.health_then()), "trouble") << "when Failed() is called";
  EXPECT_EQ(ErrorCode(noting.follower().Health()), "trouble");
  goes_on.Notify();
  Append("b");
  ASSERT_TRUE(noting.AwaitFolded("ab"));
  told.WaitForNotification();  // both may have been folded in the round before
  EXPECT_TRUE(noting.follower().Health().ok());
}

TEST_F(FollowerTest, AfterAnErrorItComparesBeforeItReadsOn) {
  Append("abc");
  Noting noting(log_);
  noting.step = [&] {
    if (noting.folded() == "abc" && noting.errors().empty()) {
      // Before the error is told of: what is read next is of another history, by one session.
      log_.Replace(Topic::kChanges, 2, {MakeEvent("x"), MakeEvent("y")});
      return Trouble();
    }
    return absl::OkStatus();
  };
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitErrors(3));
  noting.follower().Stop();
  EXPECT_EQ(noting.errors()[1], "log_diverged");
  EXPECT_EQ(noting.errors()[2], "log_diverged") << "and for ever";
  EXPECT_EQ(noting.folded(), "abc");
}

TEST_F(FollowerTest, OffsetsWithoutEventsThatAreGoneAreNotFolded) {
  Append("ab");
  testing::GapLog gap(log_);
  Noting noting(gap);
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitFolded("ab"));
  while (noting.follower().next() != testing::GapLog::kEnd) {
  }
  gap.lost = true;
  ASSERT_TRUE(noting.AwaitOpened(2));
  EXPECT_EQ(noting.follower().next(), Offset(2));
  EXPECT_EQ(noting.errors().front(), "offset_beyond_end");
  Append("c");
  ASSERT_TRUE(noting.AwaitFolded("abc"));
}

TEST_F(FollowerTest, WhatIsClosedBeginsWhereItIsToldThen) {
  Append("abc");
  Noting noting(log_);
  noting.step = [&] {
    if (noting.folded() == "abc" && noting.errors().empty()) {
      noting.begin = Offset(1);
      noting.follower().Close();
      return Trouble();
    }
    return absl::OkStatus();
  };
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitFolded("abcbc"));
  EXPECT_THAT(noting.errors(), ElementsAre("trouble"));
}

TEST_F(FollowerTest, WhoDoesNotTryAgainEnds) {
  Append("a");
  Noting noting(log_);
  noting.again = false;
  noting.fold = [](const std::string&) { return Trouble(); };
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitEnded());
  EXPECT_THAT(noting.errors(), ElementsAre("trouble"));
  EXPECT_FALSE(noting.follower().stopping());
}

TEST_F(FollowerTest, AStopEndsAReadThatWaits) {
  testing::BlockingLog blocking(log_, Topic::kChanges);
  blocking.Block();
  Noting noting(blocking);
  noting.follower().Start();
  ASSERT_TRUE(blocking.AwaitBlocked(1));
  noting.follower().Stop();
  EXPECT_TRUE(blocking.all_cancelled());
  EXPECT_TRUE(noting.ended());
  EXPECT_FALSE(noting.follower().cut_off());
  EXPECT_THAT(noting.errors(), IsEmpty()) << "to be stopped is no error";
}

TEST_F(FollowerTest, AStopEndsAComparisonThatWaitsAndTellsOfIt) {
  Append("a");
  testing::BlockingLog blocking(log_, Topic::kChanges);
  blocking.Block();
  Noting noting(blocking);
  noting.step = [&] {
    return VerifyContinuity(blocking, Topic::kChanges, kP0, Offset(0), 0, kReadPatience,
                            &noting.follower().cancellation());
  };
  noting.follower().Start();
  ASSERT_TRUE(blocking.AwaitBlocked(1));
  noting.follower().Stop();
  EXPECT_TRUE(blocking.all_cancelled());
  EXPECT_TRUE(noting.follower().cut_off());
  EXPECT_THAT(noting.errors(), IsEmpty());
}

TEST_F(FollowerTest, AStopWaitsForTheCallbackUnderWayAndARequestDoesNot) {
  Append("ab");
  Noting noting(log_);
  absl::Notification folding;
  absl::Notification goes_on;
  noting.fold = [&](const std::string& value) {
    if (value == "a") {
      folding.Notify();
      goes_on.WaitForNotification();
    }
    return absl::OkStatus();
  };
  noting.follower().Start();
  folding.WaitForNotification();
  noting.follower().RequestStop();
  EXPECT_TRUE(noting.follower().stopping());
  EXPECT_FALSE(noting.ended());
  goes_on.Notify();
  noting.follower().Stop();
  EXPECT_TRUE(noting.ended());
  EXPECT_EQ(noting.folded(), "ab") << "what was begun";
  EXPECT_EQ(noting.follower().next(), Offset(2));
}

TEST_F(FollowerTest, AStopEndsTheWaitAfterAnError) {
  Noting noting(log_, Backoff(milliseconds(100'000'000), milliseconds(100'000'000)));
  noting.step = [] { return Trouble(); };
  noting.follower().Start();
  ASSERT_TRUE(noting.AwaitErrors(1));
  noting.follower().Stop();
  EXPECT_TRUE(noting.ended());
}

TEST_F(FollowerTest, OneThatWasNotStartedStops) {
  Noting noting(log_);
  noting.follower().Stop();
  EXPECT_FALSE(noting.ended());
}

}  // namespace
}  // namespace sluice::eventlog

// Who may be told an end that somebody else has asked for.
#include "eventlog/end_question.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <thread>

#include "absl/synchronization/notification.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"

namespace sluice::eventlog {
namespace {

using std::chrono::seconds;

class EndQuestionTest : public ::testing::Test {
 protected:
  EndQuestionTest()
      : question_(
            clock_, [this](SteadyTime asked) { return Ask(asked); },
            Error(absl::StatusCode::kUnavailable, "stopped", "")) {}

  absl::StatusOr<Offset> Ask(SteadyTime asked) {
    EXPECT_EQ(asked, clock_.SteadyNow());
    const int count = ++asked_;
    if (absl::Notification* const answers = held_.load(); answers != nullptr) {
      answers->WaitForNotification();
    }
    return fails_ ? absl::StatusOr<Offset>(Error(absl::StatusCode::kUnavailable, "away", ""))
                  : Offset(count);
  }
  absl::StatusOr<Offset> Await(SteadyTime since) {
    auto answer = question_.Since(since);
    while (!answer.has_value()) {
      std::this_thread::yield();
      answer = question_.Since(since);
    }
    return *answer;
  }

  sluice::testing::FakeClock clock_;
  std::atomic<int> asked_{0};
  std::atomic<bool> fails_{false};
  std::atomic<absl::Notification*> held_{nullptr};
  EndQuestion question_;
};

TEST_F(EndQuestionTest, AnAnswerIsForThoseWhoCameBeforeItWasAskedFor) {
  const SteadyTime first = clock_.SteadyNow();
  EXPECT_TRUE(question_.answers());
  EXPECT_EQ(*Await(first), Offset(1));
  EXPECT_EQ(*Await(first), Offset(1));
  clock_.Advance(seconds(1));
  EXPECT_EQ(*Await(first), Offset(1));
  EXPECT_EQ(*Await(clock_.SteadyNow()), Offset(2));
  EXPECT_EQ(*Await(first), Offset(2));
  EXPECT_EQ(asked_, 2);
  fails_ = true;
  clock_.Advance(seconds(1));
  EXPECT_EQ(ErrorCode(Await(clock_.SteadyNow()).status()), "away");
  EXPECT_FALSE(question_.answers());
}

TEST_F(EndQuestionTest, WhoeverLooksMeanwhileSharesOneQuestionAndWaitsForNothing) {
  absl::Notification answers;
  held_ = &answers;
  const SteadyTime since = clock_.SteadyNow();
  question_.Start();
  question_.Start();
  EXPECT_FALSE(question_.Since(since).has_value());
  EXPECT_FALSE(question_.Since(since).has_value());
  answers.Notify();
  EXPECT_EQ(*Await(since), Offset(1));
  EXPECT_EQ(asked_, 1);
}

TEST_F(EndQuestionTest, StopsWhenWhatIsUnderWayIsAnswered) {
  absl::Notification answers;
  held_ = &answers;
  const SteadyTime since = clock_.SteadyNow();
  question_.Start();
  question_.RequestStop();
  EXPECT_EQ(ErrorCode(question_.Since(since)->status()), "stopped");
  std::thread stopping([this] { question_.Stop(); });
  answers.Notify();
  stopping.join();
  EXPECT_EQ(**question_.Since(since), Offset(1)) << "an answer stays one";
  clock_.Advance(seconds(1));
  question_.Start();
  EXPECT_EQ(ErrorCode(question_.Since(clock_.SteadyNow())->status()), "stopped");
  EXPECT_EQ(asked_, 1);
}

}  // namespace
}  // namespace sluice::eventlog

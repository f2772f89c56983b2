#include "projectors/store/history_comparer.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using std::chrono::steady_clock;

// Comparisons that do not end before the test says so.
class HistoryComparerTest : public ::testing::Test {
 protected:
  ~HistoryComparerTest() override { LetGo(); }

  static StoreSet::SlotPtr SlotOf(const std::string& org, int32_t partition) {
    const OrgRegistration registration{1, PartitionId(partition), Offset(0)};
    return std::make_shared<StoreSet::Slot>(*OrgId::Parse(org), registration, "none");
  }
  absl::Status Compare(const StoreSet::SlotPtr& slot) {
    absl::MutexLock lock(&mutex_);
    ++compared_;
    order_.push_back(slot->org.value());
    const auto free = [&] { return !held_ || slot->registration.partition != PartitionId(0); };
    mutex_.Await(absl::Condition(&free));
    slot->checked = answer_.ok() && compared_ >= times_;
    return answer_;
  }
  void Hold() {
    absl::MutexLock lock(&mutex_);
    held_ = true;
  }
  void LetGo() {
    absl::MutexLock lock(&mutex_);
    held_ = false;
  }
  void AwaitCompared(int count) {
    absl::MutexLock lock(&mutex_);
    const auto reached = [&] { return compared_ >= count; };
    mutex_.Await(absl::Condition(&reached));
  }

  absl::Mutex mutex_;
  bool held_ = false;
  int times_ = 0;  // that it takes until one is checked
  int compared_ = 0;
  std::vector<std::string> order_;  // of comparisons
  absl::Status answer_;
  StoreMetrics metrics_{nullptr};
  HistoryComparer comparer_{[this](const StoreSet::SlotPtr& slot) { return Compare(slot); },
                            metrics_};
};

TEST_F(HistoryComparerTest, WhatIsCheckedIsNotComparedAgain) {
  const auto slot = SlotOf("acme", 0);
  EXPECT_TRUE(comparer_.AwaitForReader(slot).ok());
  EXPECT_TRUE(slot->checked);
  EXPECT_TRUE(comparer_.AwaitForReader(slot).ok());
  EXPECT_TRUE(comparer_.Await(slot).ok());
  EXPECT_EQ(compared_, 1);
}

TEST_F(HistoryComparerTest, ItsErrorIsThatOfWhoeverWaits) {
  const auto slot = SlotOf("acme", 0);
  answer_ = Error(absl::StatusCode::kDataLoss, "log_diverged", "another event");
  EXPECT_EQ(ErrorCode(comparer_.AwaitForReader(slot)), "log_diverged");
  EXPECT_EQ(ErrorCode(comparer_.Await(slot)), "log_diverged");
  EXPECT_EQ(compared_, 2);
}

// Who is apart asked for it to be compared anew: the comparison that takes long is the one that
// counts, and the next would take as long.
TEST_F(HistoryComparerTest, WhoIsApartWaitsForTheComparisonThatItAskedFor) {
  const auto slot = SlotOf("acme", 0);
  Hold();
  int tries = 0;
  EXPECT_TRUE(comparer_
                  .AwaitApart(slot,
                              [&] {
                                ++tries;  // one has been given up
                                LetGo();
                                return false;
                              })
                  .ok());
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(compared_, 1);
}

TEST_F(HistoryComparerTest, WhoIsApartStopsWaiting) {
  Hold();
  EXPECT_EQ(ErrorCode(comparer_.AwaitApart(SlotOf("acme", 0), [] { return true; })),
            "log_unavailable");
  LetGo();
  {
    absl::MutexLock lock(&mutex_);
    answer_ = Error(absl::StatusCode::kUnavailable, "log_unavailable", "no answer");
  }
  int tries = 0;
  const auto count = [&] { return ++tries > 10; };
  EXPECT_EQ(ErrorCode(comparer_.AwaitApart(SlotOf("beta", 0), count)), "log_unavailable");
  EXPECT_EQ(tries, 0) << "what has failed is tried by whoever asks for it again";
}

// Whoever waits is told, the rest at once; the log has been asked once when it answers.
TEST_F(HistoryComparerTest, ALogThatDoesNotAnswerHoldsNoReader) {
  const auto slot = SlotOf("acme", 0);
  const auto neighbour = SlotOf("beta", 0);
  Hold();
  EXPECT_EQ(ErrorCode(comparer_.AwaitForReader(slot)), "stores_busy");
  const auto start = steady_clock::now();
  for (int i = 0; i < 100; ++i) {
    EXPECT_EQ(ErrorCode(comparer_.AwaitForReader(slot)), "stores_busy");
    EXPECT_EQ(ErrorCode(comparer_.AwaitForReader(neighbour)), "stores_busy");
  }
  EXPECT_LT(steady_clock::now() - start, std::chrono::seconds(10)) << "half a second each";
  EXPECT_EQ(ErrorCode(comparer_.Await(slot)), "log_unavailable");
  LetGo();
  AwaitCompared(2);
  EXPECT_TRUE(comparer_.Await(slot).ok());
  EXPECT_TRUE(comparer_.Await(neighbour).ok());
  EXPECT_EQ(compared_, 2);
}

TEST_F(HistoryComparerTest, OnePartitionHoldsUpNoOther) {
  Hold();
  EXPECT_EQ(ErrorCode(comparer_.AwaitForReader(SlotOf("acme", 0))), "stores_busy");
  EXPECT_TRUE(comparer_.Await(SlotOf("beta", 1)).ok());
}

TEST_F(HistoryComparerTest, WhoIsWaitedForComesFirst) {
  Hold();
  ASSERT_TRUE(comparer_.Ask(SlotOf("first", 0)));
  AwaitCompared(1);
  std::vector<StoreSet::SlotPtr> asked;
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(comparer_.Ask(asked.emplace_back(SlotOf("later" + std::to_string(i), 0))));
  }
  EXPECT_EQ(ErrorCode(comparer_.Await(asked.back())), "log_unavailable");
  LetGo();
  AwaitCompared(4);
  EXPECT_EQ(order_, (std::vector<std::string>{"first", "later2", "later0", "later1"}));
}

// As many as may wait for the first comparison, which does not end: nobody waits for them.
class FullRowTest : public HistoryComparerTest {
 protected:
  void SetUp() override {
    Hold();
    ASSERT_TRUE(comparer_.Ask(SlotOf("first", 0)));
    AwaitCompared(1);
    while (comparer_.Ask(SlotOf("later" + std::to_string(asked_), 0))) {
      ASSERT_LT(++asked_, 1'000);
    }
    ASSERT_GT(asked_, 0);
  }
  int asked_ = 0;
};

// Who has to have a store compared comes first, in place of the last of those.
TEST_F(FullRowTest, WhomNobodyWaitsForGivesWay) {
  EXPECT_EQ(ErrorCode(comparer_.Await(SlotOf("more", 0))), "log_unavailable") << "as in any row";
  EXPECT_FALSE(comparer_.Ask(SlotOf("another", 0)));
  LetGo();
  AwaitCompared(1 + asked_);
  EXPECT_EQ(order_[1], "more");
  EXPECT_EQ(order_[2], "later0");
  EXPECT_EQ(order_.back(), "later" + std::to_string(asked_ - 2));
}

TEST_F(FullRowTest, OnlySoManyAreWaitedFor) {
  std::atomic<int> no_answer = 0;
  std::atomic<int> busy = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < asked_ + 8; ++i) {
    threads.emplace_back([&, slot = SlotOf("more" + std::to_string(i), 0)] {
      const std::string code = ErrorCode(comparer_.Await(slot));
      no_answer += code == "log_unavailable" ? 1 : 0;
      busy += code == "stores_busy" ? 1 : 0;
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(no_answer, asked_);
  EXPECT_EQ(busy, 8);
  EXPECT_EQ(ErrorCode(comparer_.Await(SlotOf("more", 0))), "log_unavailable") << "they have gone";
}

// A store may be doubted while it is compared: what was found out is of before.
TEST_F(HistoryComparerTest, WhatIsStillUncheckedIsComparedAgain) {
  const auto slot = SlotOf("acme", 0);
  times_ = 3;
  EXPECT_TRUE(comparer_.Await(slot).ok());
  EXPECT_TRUE(slot->checked);
  EXPECT_EQ(compared_, 3);
}

TEST_F(HistoryComparerTest, WhoComesAfterItHasStoppedIsTold) {
  comparer_.Stop();
  EXPECT_EQ(ErrorCode(comparer_.Await(SlotOf("acme", 0))), "log_unavailable");
  EXPECT_FALSE(comparer_.Ask(SlotOf("acme", 0)));
}

}  // namespace
}  // namespace sluice::projectors

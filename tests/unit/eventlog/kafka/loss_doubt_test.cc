#include "eventlog/kafka/loss_doubt.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"

namespace sluice::eventlog {
namespace {

using std::chrono::seconds;

class LossDoubtTest : public ::testing::Test {
 protected:
  // Whether it is believed that `changes`-0 ends at `end`, before `lost`.
  bool Tell(int64_t end, int64_t lost, PartitionId partition = PartitionId(0)) {
    doubt_.NoteEnd(Topic::kChanges, partition, Offset(end));
    const absl::Status confirmed = doubt_.Confirm(Topic::kChanges, partition, Offset(lost));
    EXPECT_TRUE(confirmed.ok() || ErrorCode(confirmed) == "log_end_doubted") << confirmed;
    return confirmed.ok();
  }

  std::shared_ptr<testing::FakeClock> clock_ = std::make_shared<testing::FakeClock>();
  LossDoubt doubt_{clock_};
};

TEST_F(LossDoubtTest, AnEndIsBelievedOnceItHasBeenToldForLong) {
  for (int i = 0; i < 15; ++i) {
    EXPECT_FALSE(Tell(5, 7)) << i;
    EXPECT_TRUE(doubt_.IsDoubted(Topic::kChanges, PartitionId(0)));
    clock_->Advance(seconds(1));
  }
  EXPECT_FALSE(Tell(5, 7, PartitionId(1))) << "each partition for itself";
  EXPECT_TRUE(Tell(6, 7)) << "what has come since does not reach it";
  EXPECT_TRUE(Tell(6, 9)) << "nor what lies behind";
  EXPECT_FALSE(doubt_.IsDoubted(Topic::kProvisioning, PartitionId(0)));
}

TEST_F(LossDoubtTest, WhoeverHearsOfTheNewLeaderIsBelievedAtOnce) {
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(Tell(5, i == 5 ? 7 : 9));
    clock_->Advance(seconds(1));
  }
  doubt_.NoteEnd(Topic::kChanges, PartitionId(0), Offset(7));
  EXPECT_TRUE(doubt_.IsDoubted(Topic::kChanges, PartitionId(0)));
  doubt_.NoteEnd(Topic::kChanges, PartitionId(0), Offset(8));
  EXPECT_FALSE(doubt_.IsDoubted(Topic::kChanges, PartitionId(0)));
  for (int i = 0; i < 15; ++i) {
    EXPECT_FALSE(Tell(5, 7)) << "an old answer again, after " << i;
    clock_->Advance(seconds(1));
  }
  EXPECT_TRUE(Tell(5, 7));
}

TEST_F(LossDoubtTest, TimeInWhichNothingWasToldDoesNotCount) {
  EXPECT_FALSE(Tell(5, 7));
  clock_->Advance(seconds(16));
  EXPECT_FALSE(Tell(5, 7));
  clock_->Advance(seconds(16));
  EXPECT_FALSE(Tell(5, 7));
  clock_->Advance(seconds(5));
  EXPECT_TRUE(Tell(5, 7));
}

// Whoever compares may take long for all that fits, and meanwhile others ask for the end.
TEST_F(LossDoubtTest, WhoeverAsksForTheEndCounts) {
  EXPECT_FALSE(Tell(5, 7));
  for (int i = 0; i < 30; ++i) {
    clock_->Advance(seconds(1));
    doubt_.NoteEnd(Topic::kChanges, PartitionId(0), Offset(5));
  }
  EXPECT_TRUE(doubt_.IsDoubted(Topic::kChanges, PartitionId(0)));
  EXPECT_TRUE(Tell(5, 7));
}

// What was told of a higher place says nothing of one that lies below the ends that were told.
TEST_F(LossDoubtTest, EachPlaceIsToldOfForItself) {
  for (int i = 0; i < 20; ++i) {
    static_cast<void>(Tell(90, 1'000));
    clock_->Advance(seconds(1));
  }
  EXPECT_TRUE(Tell(90, 1'000));
  for (int i = 0; i < 15; ++i) {
    EXPECT_FALSE(Tell(60, 70)) << i;
    clock_->Advance(seconds(1));
  }
  EXPECT_TRUE(Tell(60, 70));
}

// Nor of one that lies above them: somebody may claim what never was.
TEST_F(LossDoubtTest, WhatWasToldOfAHigherPlaceDoesNotCount) {
  for (int i = 0; i < 20; ++i) {
    static_cast<void>(Tell(90, 1'000));
    clock_->Advance(seconds(1));
  }
  for (int i = 0; i < 15; ++i) {
    EXPECT_FALSE(Tell(95, 96)) << i;
    clock_->Advance(seconds(1));
  }
  EXPECT_TRUE(Tell(95, 96));
}

TEST_F(LossDoubtTest, WhatNobodyAsksForAnyMoreIsForgotten) {
  for (int i = 0; i < 20; ++i) {
    static_cast<void>(Tell(5, 7));
    clock_->Advance(seconds(1));
  }
  EXPECT_TRUE(Tell(5, 7));
  for (int i = 0; i < 61; ++i) {
    EXPECT_TRUE(doubt_.IsDoubted(Topic::kChanges, PartitionId(0))) << i;
    clock_->Advance(seconds(1));
    doubt_.NoteEnd(Topic::kChanges, PartitionId(0), Offset(4));
  }
  EXPECT_FALSE(doubt_.IsDoubted(Topic::kChanges, PartitionId(0)));
  EXPECT_FALSE(Tell(5, 7)) << "it begins anew";
}

// It may have no leader, or this process was paused.
TEST_F(LossDoubtTest, WhileThePartitionTellsNothingTheDoubtStays) {
  EXPECT_FALSE(Tell(5, 7));
  clock_->Advance(seconds(3'600));
  EXPECT_TRUE(doubt_.IsDoubted(Topic::kChanges, PartitionId(0)));
  EXPECT_FALSE(Tell(5, 7));
}

}  // namespace
}  // namespace sluice::eventlog

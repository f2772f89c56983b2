#include "eventlog/kafka/append_progress.h"

#include <gtest/gtest.h>

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;

TEST(PartitionAppendsTest, WhatHasFailedIsAnsweredInFullBeforeAnythingFollows) {
  PartitionAppends appends;
  ASSERT_TRUE(appends.Take());
  ASSERT_TRUE(appends.Take());
  ASSERT_TRUE(appends.Take());
  appends.Confirmed();
  appends.Answered();
  appends.Failed();
  EXPECT_TRUE(appends.failing());
  EXPECT_FALSE(appends.Take());
  // An older one's confirmation, served late, says nothing of what failed.
  appends.Confirmed();
  EXPECT_FALSE(appends.Take());
  appends.Answered();
  EXPECT_FALSE(appends.Take()) << "one has no answer yet";
  appends.Failed();
  appends.Answered();
  EXPECT_TRUE(appends.Take());
  EXPECT_FALSE(appends.failing());
  EXPECT_FALSE(appends.Take()) << "one goes alone until it is confirmed";
  appends.Confirmed();
  EXPECT_TRUE(appends.Take());
}

TEST(PartitionAppendsTest, WhatWasHeldBackAndIsRefusedIsAnsweredBeforeAnythingFollows) {
  PartitionAppends appends;
  ASSERT_TRUE(appends.Take());
  appends.Failed();
  appends.Answered();
  appends.TakeRefused();
  EXPECT_FALSE(appends.Take());
  appends.Failed();
  appends.Answered();
  EXPECT_TRUE(appends.Take());
}

TEST(PartitionAppendsTest, OneThatGoesAloneMayFailToo) {
  PartitionAppends appends;
  ASSERT_TRUE(appends.Take());
  appends.Failed();
  appends.Answered();
  ASSERT_TRUE(appends.Take());
  appends.Failed();
  EXPECT_FALSE(appends.Take());
  appends.Answered();
  EXPECT_TRUE(appends.Take());
  EXPECT_FALSE(appends.Take());
}

TEST(AppendProgressTest, OnlyWhatIsInFlightIsWaitedFor) {
  AppendProgress progress(milliseconds(300));
  PartitionAppends& silent = progress.Of(Topic::kChanges, PartitionId(0));
  PartitionAppends& well = progress.Of(Topic::kChanges, PartitionId(1));
  EXPECT_EQ(&silent, &progress.Of(Topic::kChanges, PartitionId(0)));
  EXPECT_FALSE(progress.Pass(milliseconds(1'000)));
  ASSERT_TRUE(silent.Take());
  ASSERT_TRUE(well.Take());
  EXPECT_FALSE(progress.Pass(milliseconds(200)));
  well.Confirmed();
  EXPECT_TRUE(progress.OthersInFlight());
  EXPECT_TRUE(progress.Pass(milliseconds(100)));
  EXPECT_TRUE(progress.OthersInFlight());
  well.Answered();
  EXPECT_FALSE(progress.OthersInFlight());
  silent.Answered();
  EXPECT_FALSE(progress.Pass(milliseconds(1'000)));
}

}  // namespace
}  // namespace sluice::eventlog

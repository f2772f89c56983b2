// What the fold forgets, and when: removals, and the stays of rows in buckets.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/projectors/fold/fold_testing.h"

namespace sluice::projectors {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using FoldHorizonTest = FoldTest;

// A membership remembers when the row was in the bucket.
TEST_F(FoldHorizonTest, AMembershipRemembersEarlierStays) {
  Define({kAll});
  const auto membership = [this] { return Find("A1")->memberships.front(); };
  const auto put = Put("A1", "U1");
  RunSet(4, {put});
  RunSet(5, {put});
  EXPECT_EQ(membership().entered, Offset(4));
  EXPECT_THAT(membership().earlier, IsEmpty());
  RunSet(6, {testing::Delete(kAccount, "A1")});
  EXPECT_EQ(membership().entered, Offset(4));
  EXPECT_THAT(membership().earlier, IsEmpty());
  RunSet(7, {put});
  EXPECT_EQ(membership().entered, Offset(7));
  EXPECT_THAT(membership().earlier, ElementsAre(Stay{Offset(4), Offset(6)}));
  RunSet(8, {put});
  RunSet(9, {testing::Delete(kAccount, "A1", 1)});
  RunSet(10, {Put("A1", "U1", "", 2)});
  EXPECT_EQ(membership().entered, Offset(10));
  EXPECT_THAT(membership().earlier,
              ElementsAre(Stay{Offset(4), Offset(6)}, Stay{Offset(7), Offset(9)}));
  EXPECT_FALSE(membership().vague);
  RunSet(11, {testing::Delete(kAccount, "A1", 3)});
  // The removal is forgotten, and with it all that was before.
  options_.tombstone_horizon = 1;
  RunSet(20, {Put("A2", "U1")});
  RunSet(21, {Put("A1", "U1", "", 4)});
  EXPECT_EQ(membership().entered, Offset(21));
  EXPECT_THAT(membership().earlier, IsEmpty());
}

// They are forgotten one by one, and the oldest become one where there are too many.
TEST_F(FoldHorizonTest, StaysAreForgottenAndBounded) {
  options_.tombstone_horizon = 31;
  Define({kAll});
  const auto membership = [this] { return Find("A1")->memberships.front(); };
  const auto stay = [this](int64_t offset) {
    RunSet(offset, {Put("A1", "U1")});
    RunSet(offset + 1, {testing::Delete(kAccount, "A1")});
  };
  for (int64_t i = 0; i < 10; ++i) {
    stay(10 + 2 * i);
  }
  RunSet(30, {Put("A1", "U1")});
  ASSERT_EQ(membership().earlier.size(), kStaysMax);
  EXPECT_TRUE(membership().vague);
  EXPECT_EQ(membership().earlier[0], (Stay{Offset(10), Offset(15)}));
  EXPECT_EQ(membership().earlier[1], (Stay{Offset(16), Offset(17)}));
  options_.tombstone_horizon = 13;
  RunSet(31, {Put("A1", "U1")});
  EXPECT_FALSE(membership().vague);
  EXPECT_EQ(membership().earlier[0], (Stay{Offset(18), Offset(19)}));
  EXPECT_EQ(membership().entered, Offset(30));
}

// It stands only for who loads meanwhile: the others are within the age, and not too many.
TEST_F(FoldHorizonTest, AStayThatEndedByTheHorizonIsNotCountedWithTheOthers) {
  options_.tombstone_horizon = 17;  // events: at the last one it is at 11
  Define({kAll});
  for (const int64_t offset : {10, 14, 16, 18, 20, 22, 24, 26, 28}) {
    RunSet(offset, {Put("A1", "U1")});
    RunSet(offset + 1, {testing::Delete(kAccount, "A1")});
  }
  RunSet(43, {Put("A1", "U1")});
  const Membership membership = Find("A1")->memberships.front();
  EXPECT_FALSE(membership.vague);
  ASSERT_EQ(membership.earlier.size(), kStaysMax + 1);
  EXPECT_EQ(membership.earlier[0], (Stay{Offset(10), Offset(11)}));
}

// A client that has what was there at 11, has loaded from a store of 19 up to 17, and is then told
// of one in which the row has gone again, has the row of the first stay still.
TEST_F(FoldHorizonTest, AStayIsRememberedUntilTheHorizonHasPassedTheBeginOfTheNext) {
  options_.tombstone_horizon = 100;
  Define({kAll});
  const auto membership = [this] { return Find("A1")->memberships.front(); };
  const auto put = Put("A1", "U1");
  RunSet(10, {put});
  RunSet(11, {testing::Delete(kAccount, "A1")});
  for (int64_t offset = 12; offset < 18; ++offset) {
    RunSet(offset, {Put("A2", "U1")});
  }
  RunSet(18, {put});
  options_.tombstone_horizon = 5;
  RunSet(19, {put});
  EXPECT_THAT(membership().earlier, ElementsAre(Stay{Offset(10), Offset(11)}));
  EXPECT_EQ(membership().first_entered(), Offset(10));
  options_.tombstone_horizon = 1;
  RunSet(20, {put});
  EXPECT_THAT(membership().earlier, IsEmpty());
  EXPECT_EQ(membership().first_entered(), Offset(18));
}

TEST_F(FoldHorizonTest, AMembershipRemembersThatADefinitionEndedIt) {
  Define({kAll});
  RunSet(4, {Put("A1", "U1")});
  Run({testing::MakeEvent(5, testing::DefineProfile("field", {{"account", {kUser}}}, {"r"}))});
  ASSERT_EQ(Find("A1")->memberships.size(), 2u);
  for (const Membership& m : Find("A1")->memberships) {
    EXPECT_EQ(m.by_definition, !m.member);
  }
  Run({testing::MakeEvent(6, testing::DefineProfile("field", {{"account", {kAll}}}, {"r"}))});
  for (const Membership& m : Find("A1")->memberships) {
    EXPECT_EQ(m.by_definition, !m.member);
    const std::vector<Stay> earlier = {{Offset(4), Offset(5), true}};
    EXPECT_EQ(m.earlier, m.member ? earlier : std::vector<Stay>());
  }
}

TEST_F(FoldHorizonTest, TheHorizonFollowsTheAppliedPosition) {
  options_.tombstone_horizon = 3;
  Define({kAll});
  EXPECT_EQ(store_.content().applied.horizon, kNoOffset);
  RunSet(1000, {});
  EXPECT_EQ(store_.content().applied.horizon, Offset(1));  // three events ago, not three positions
  options_.tombstone_horizon = 1000;
  RunSet(1001, {});
  EXPECT_EQ(store_.content().applied.horizon, Offset(1));  // never back
}

// The horizon is one of a few marks, and late by a sixteenth at most.
TEST_F(FoldHorizonTest, AFarHorizonIsLateByLittle) {
  options_.tombstone_horizon = 320;
  Define({kAll});
  for (int64_t i = 0; i < 1'000; ++i) {
    RunSet(4 + 7 * i, {});
    const AppliedState& applied = store_.content().applied;
    EXPECT_LE(applied.marks.size(), 18u);
    const int64_t exact = 4 + 7 * (i - 320);
    if (i >= 340) {
      EXPECT_LE(applied.horizon, Offset(exact));
      EXPECT_GT(applied.horizon, Offset(exact - 7 * 20));
    }
  }
}

TEST_F(FoldHorizonTest, EventsWithATimeFarAheadExpireNothing) {
  const auto at = [](int64_t minutes) {
    return SystemTime(std::chrono::hours(500'000) + std::chrono::minutes(minutes));
  };
  const auto run = [&](int64_t offset, int64_t minute, const v1::ChangeSet& set) {
    StoredEvent event = testing::MakeEvent(offset, set);
    event.event.time = at(minute);
    Run({event});
  };
  options_.tombstone_age = std::chrono::minutes(64);
  std::vector<StoredEvent> definitions = {
      testing::MakeEvent(1, testing::OpenOrg(1)),
      testing::MakeEvent(2, testing::DefineEntity(kAccount, "account", {{1, "id"}})),
      testing::MakeEvent(3, testing::DefineProfile("field", {{"account", {kAll}}}, {"sales"}))};
  for (StoredEvent& event : definitions) {
    event.event.time = at(0);
  }
  Run(definitions);
  run(4, 0, testing::MakeSet({Put("A1", "")}));
  run(5, 1, testing::MakeSet({testing::Delete(kAccount, "A1")}));
  for (int64_t i = 0; i < 20; ++i) {
    run(6 + i, 10'000'000, testing::MakeSet({}));
    EXPECT_EQ(store_.content().applied.horizon, kNoOffset);
  }
  EXPECT_EQ(store_.content().applied.clock_us,
            std::chrono::microseconds(at(2).time_since_epoch()).count());
  run(26, 2, testing::MakeSet({}));  // never back
  EXPECT_EQ(store_.content().applied.clock_us,
            std::chrono::microseconds(at(2).time_since_epoch()).count());
  // The clock goes on with the times that are true; 68 minutes later the removal is forgotten.
  for (int64_t minute = 22; minute < 90; ++minute) {
    run(10 + 5 * minute, minute, testing::MakeSet({}));
  }
  EXPECT_GE(store_.content().applied.horizon, Offset(5));
}

// The events after a quiet time do not make up for it: a removal among them would be forgotten at
// once.
TEST_F(FoldHorizonTest, AQuietTimeIsNotMadeUpFor) {
  options_.tombstone_age = std::chrono::minutes(64);
  const auto run = [&](int64_t offset, int64_t second, const v1::ChangeSet& set) {
    StoredEvent event = testing::MakeEvent(offset, set);
    event.event.time = SystemTime(std::chrono::hours(24 * 365)) + std::chrono::seconds(second);
    Run({event});
  };
  Define({kAll});
  run(10, 0, testing::MakeSet({Put("A1", "")}));
  constexpr int64_t kMonth = 30 * 24 * 3'600;
  run(11, kMonth, testing::MakeSet({testing::Delete(kAccount, "A1")}));
  for (int64_t i = 1; i <= 300; ++i) {
    run(11 + i, kMonth + i, testing::MakeSet({}));
  }
  EXPECT_LT(store_.content().applied.horizon, Offset(11));
}

TEST_F(FoldHorizonTest, ABucketSaysWhenItChangedAlsoWithoutRows) {
  options_.tombstone_horizon = 3;
  Define({kUser});
  RunSet(4, {Put("A1", "U1")});
  RunSet(5, {Put("A2", "U2")});
  EXPECT_EQ(Bucket("e1|user:a2=U1").changed, Offset(4));
  RunSet(6, {Put("A1", "U2")});
  EXPECT_EQ(Bucket("e1|user:a2=U1"), (BucketState{"e1|user:a2=U1", 0, 0, Offset(6)}));
  EXPECT_EQ(Bucket("e1|user:a2=U2").changed, Offset(6));
  RunSet(7, {});
  RunSet(8, {});
  EXPECT_EQ(Bucket("e1|user:a2=U1").changed, Offset(6));
  RunSet(9, {});
  EXPECT_EQ(Bucket("e1|user:a2=U1"), BucketState());
}

}  // namespace
}  // namespace sluice::projectors

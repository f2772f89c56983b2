#include "projectors/work/work_schedule.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/projectors/work/work_events.h"

namespace sluice::projectors {
namespace {

using std::chrono::hours;
using std::chrono::minutes;
using std::chrono::seconds;

class WorkScheduleTest : public ::testing::Test {
 protected:
  WorkScheduleTest() { ledger_.Begin(/*whole=*/true); }

  std::vector<v1::WorkItem> Due() { return DueItems(ledger_, {&stream_, 1}, now_); }
  void Apply(const eventlog::Event& event) {
    ASSERT_TRUE(ledger_.Apply({Offset(next_++), event}).ok());
  }
  void Run(const v1::WorkItem& item) {
    Apply(WorkEvent(stream_.key, item, now_));
    Apply(WorkEvent(stream_.key, Attempt<v1::WorkStarted>(item, 1), now_));
    Apply(WorkEvent(stream_.key, Attempt<v1::WorkDone>(item, 1), now_));
  }

  WorkLedger ledger_;
  ScheduledStream stream_{Key("acme"), 7, minutes(5)};
  SystemTime now_ = kWorkStart;
  int64_t next_ = 0;
};

TEST_F(WorkScheduleTest, AStreamRunsAtOnceAndThenOnceAnInterval) {
  int runs = 0;
  for (; now_ < kWorkStart + hours(1); now_ += seconds(1)) {
    for (const v1::WorkItem& item : Due()) {
      ++runs;
      if (runs == 1) {
        EXPECT_EQ(now_, kWorkStart);
      }
      EXPECT_LE(item.due_us(), now_.time_since_epoch().count());
      EXPECT_TRUE(item.id().starts_with("acme/1/crm/account/7/"));
      Run(item);
    }
  }
  EXPECT_EQ(runs, 13);
}

TEST_F(WorkScheduleTest, NotPiledUpOverADay) {
  Run(Due().at(0));
  now_ += hours(24);
  ASSERT_EQ(Due().size(), 1U);
  Run(Due().at(0));
  EXPECT_TRUE(Due().empty());
  now_ += minutes(5);
  EXPECT_EQ(Due().size(), 1U);
}

TEST_F(WorkScheduleTest, NothingIsDueWhileAnItemIsOpen) {
  Apply(WorkEvent(stream_.key, Due().at(0), now_));
  now_ += hours(24);
  stream_.request = 3;
  EXPECT_TRUE(Due().empty());
}

TEST_F(WorkScheduleTest, ARequestComesBetweenSlots) {
  Run(Due().at(0));
  EXPECT_TRUE(Due().empty());
  stream_.request = 3;
  ASSERT_EQ(Due().size(), 1U);
  const v1::WorkItem item = Due().at(0);
  EXPECT_EQ(item.reason(), v1::WorkItem::REASON_REQUESTED);
  EXPECT_EQ(item.id(), "acme/1/crm/account/7/r3");
  Run(item);
  EXPECT_TRUE(Due().empty());
  now_ += minutes(5);
  EXPECT_EQ(Due().at(0).reason(), v1::WorkItem::REASON_SCHEDULED);
}

TEST_F(WorkScheduleTest, ANewEpochRunsAtOnceAndAnOldOneNever) {
  Run(Due().at(0));
  stream_.epoch = 9;
  Run(Due().at(0));
  EXPECT_TRUE(Due().empty());
  stream_.epoch = 7;
  now_ += hours(1);
  EXPECT_TRUE(Due().empty());
}

TEST_F(WorkScheduleTest, SlotsAreSpreadOverTheInterval) {
  std::set<int64_t> phases;
  for (int i = 0; i < 100; ++i) {
    const ScheduledStream stream{Key("org-" + std::to_string(i)), 7, minutes(5)};
    phases.insert(NextSlot(nullptr, stream, now_).time_since_epoch().count() / 1'000'000 % 300);
  }
  EXPECT_GT(phases.size(), 50U);
}

TEST_F(WorkScheduleTest, AClockThatGoesBackStopsNothing) {
  now_ += hours(24 * 365);
  Run(Due().at(0));
  now_ = kWorkStart;
  ASSERT_EQ(Due().size(), 1U);
  Run(Due().at(0));
  EXPECT_TRUE(Due().empty());
  EXPECT_LE(NextSlot(ledger_.Find(stream_.key), stream_, now_), now_ + minutes(5));
}

TEST_F(WorkScheduleTest, AsManyAsAsked) {
  const std::vector<ScheduledStream> streams(5, stream_);
  EXPECT_EQ(DueItems(ledger_, streams, now_, 3).size(), 3U);
}

}  // namespace
}  // namespace sluice::projectors

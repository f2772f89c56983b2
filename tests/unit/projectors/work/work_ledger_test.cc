#include "projectors/work/work_ledger.h"

#include <gtest/gtest.h>

#include "tests/unit/projectors/work/work_events.h"

namespace sluice::projectors {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

class WorkLedgerTest : public ::testing::Test {
 protected:
  WorkLedgerTest() { ledger_.Begin(/*whole=*/true); }

  template <typename Message>
  void Say(const Message& message, std::string id = "e") {
    const eventlog::StoredEvent event{Offset(next_++), WorkEvent(key_, message, now_, id)};
    ASSERT_TRUE(ledger_.Apply(event).ok());
  }
  const StreamWork& Work() { return *ledger_.Find(key_); }
  v1::SourceState State(uint64_t number) {
    v1::SourceState state;
    state.set_epoch(7);
    state.set_number(number);
    state.set_last_id("id" + std::to_string(number));
    return state;
  }

  WorkLedger ledger_;
  const StreamKey key_ = Key("acme");
  SystemTime now_ = kWorkStart;
  int64_t next_ = 0;
};

TEST_F(WorkLedgerTest, AnItemIsOpenUntilItIsDone) {
  const v1::WorkItem item = Item(key_, 100);
  Say(item);
  EXPECT_EQ(Work().open->id(), item.id());
  Say(Item(key_, 200));  // not piled up
  EXPECT_EQ(Work().open->id(), item.id());
  Say(Attempt<v1::WorkStarted>(item, 1), "first");
  EXPECT_TRUE(Work().running);
  EXPECT_EQ(Work().started_id, "first");
  Say(Attempt<v1::WorkDone>(item, 1));
  EXPECT_FALSE(Work().open.has_value());
  EXPECT_EQ(Work().last_run, kWorkStart);

  Say(item);  // a scheduler that was paused
  EXPECT_FALSE(Work().open.has_value());
  Say(Item(key_, 50));
  EXPECT_FALSE(Work().open.has_value());
  Say(Item(key_, 200));
  EXPECT_TRUE(Work().open.has_value());
}

TEST_F(WorkLedgerTest, OneAttemptCounts) {
  const v1::WorkItem item = Item(key_, 100);
  Say(item);
  Say(Attempt<v1::WorkStarted>(item, 2), "too early");
  EXPECT_EQ(Work().attempt, 0U);
  Say(Attempt<v1::WorkStarted>(item, 1), "first");
  Say(Attempt<v1::WorkStarted>(item, 1), "second");
  EXPECT_EQ(Work().started_id, "first");
  Say(Attempt<v1::WorkStarted>(item, 2), "third");
  EXPECT_EQ(Work().started_id, "third");

  Say(Attempt<v1::WorkDone>(item, 1));
  EXPECT_TRUE(Work().open.has_value());
  auto failed = Attempt<v1::WorkFailed>(item, 1);
  failed.set_code("late");
  failed.set_final(true);
  Say(failed);
  EXPECT_TRUE(Work().open.has_value());
  EXPECT_EQ(Work().error_code, "");
  auto progress = Attempt<v1::WorkProgress>(item, 1);
  progress.mutable_numbers()->set_rows(1);
  Say(progress);
  EXPECT_EQ(Work().numbers.rows(), 0U);
}

TEST_F(WorkLedgerTest, AFailureWaitsAndAFinalOneCloses) {
  const v1::WorkItem item = Item(key_, 100);
  Say(item);
  Say(Attempt<v1::WorkStarted>(item, 1));
  auto failed = Attempt<v1::WorkFailed>(item, 1);
  failed.set_code("source_unreachable");
  failed.set_detail("no route");
  failed.set_retry_at_us(42'000'000);
  Say(failed);
  EXPECT_FALSE(Work().running);
  EXPECT_EQ(Work().not_before, SystemTime(seconds(42)));
  EXPECT_EQ(Work().error_detail, "no route");
  EXPECT_EQ(Work().fruitless, 1U);

  Say(Attempt<v1::WorkStarted>(item, 2));
  EXPECT_EQ(Work().fruitless, 2U);
  auto stopped = Attempt<v1::WorkFailed>(item, 2);
  Say(stopped);  // told to stop: counts for nothing
  EXPECT_EQ(Work().fruitless, 1U);
  EXPECT_EQ(Work().error_code, "source_unreachable");

  Say(Attempt<v1::WorkStarted>(item, 3));
  failed.set_attempt(3);
  failed.set_final(true);
  Say(failed);
  EXPECT_FALSE(Work().open.has_value());
}

TEST_F(WorkLedgerTest, ACursorThatMovesMakesAttemptsFruitful) {
  const v1::WorkItem item = Item(key_, 100);
  Say(item);
  Say(Attempt<v1::WorkStarted>(item, 1));
  Say(Attempt<v1::WorkStarted>(item, 2));
  auto progress = Attempt<v1::WorkProgress>(item, 2);
  progress.set_changes_next(10);
  Say(progress);
  EXPECT_EQ(Work().fruitless, 2U);
  *progress.mutable_state() = State(1);  // a set, behind which the cursor stays
  progress.mutable_state()->set_epoch(0);
  progress.set_changes_next(20);
  Say(progress);
  EXPECT_EQ(Work().fruitless, 2U);
  progress.mutable_state()->set_number(2);
  progress.mutable_state()->set_cursor("page 2");
  progress.set_changes_next(30);
  Say(progress);
  EXPECT_EQ(Work().fruitless, 0U);
}

TEST_F(WorkLedgerTest, AnAttemptWaitsNoLongerThanItWasToldOnceTheClockIsSetBack) {
  const v1::WorkItem item = Item(key_, 100);
  Say(item);
  Say(Attempt<v1::WorkStarted>(item, 1));
  const SystemTime right = now_;
  now_ += hours(24);  // the clock of who fails
  auto failed = Attempt<v1::WorkFailed>(item, 1);
  failed.set_code("source_unreachable");
  failed.set_retry_at_us((now_ + seconds(30)).time_since_epoch().count());
  Say(failed);
  EXPECT_FALSE(MayBegin(Work(), now_));
  EXPECT_TRUE(MayBegin(Work(), now_ + seconds(30)));
  EXPECT_TRUE(MayBegin(Work(), right));
  EXPECT_FALSE(MayBegin(Work(), now_ - kSkewMax));  // clocks differ by as much
}

TEST_F(WorkLedgerTest, TheStateIsThatOfWhoHasReadFurthest) {
  const v1::WorkItem item = Item(key_, 100);
  Say(item);
  auto told = Attempt<v1::WorkDone>(item, 0);
  told.clear_item();
  *told.mutable_state() = State(5);
  told.set_changes_next(500);
  Say(told);
  EXPECT_EQ(Work().state.number(), 5U);
  EXPECT_TRUE(Work().open.has_value());  // only told
  *told.mutable_state() = State(3);
  told.set_changes_next(300);
  Say(told);
  EXPECT_EQ(Work().state.number(), 5U);
  EXPECT_EQ(Work().bound, 7);
  told.mutable_stream()->set_epoch(-1);
  *told.mutable_state() = State(5);
  told.set_changes_next(600);
  Say(told);
  EXPECT_EQ(Work().bound, -1);
}

TEST_F(WorkLedgerTest, ANewEpochClosesWhatWasOpen) {
  const v1::WorkItem old_item = Item(key_, 100, 7);
  Say(old_item);
  Say(Attempt<v1::WorkStarted>(old_item, 1));
  const v1::WorkItem item = Item(key_, 100, 9);
  Say(item);
  EXPECT_EQ(Work().open->id(), item.id());
  EXPECT_EQ(Work().attempt, 0U);
  Say(Attempt<v1::WorkDone>(old_item, 1));
  EXPECT_TRUE(Work().open.has_value());
  Say(Item(key_, 1'000, 7));
  EXPECT_EQ(Work().epoch, 9);
}

TEST_F(WorkLedgerTest, ARequestIsAnsweredOnce) {
  v1::WorkItem item = Item(key_, 100);
  item.set_reason(v1::WorkItem::REASON_REQUESTED);
  item.set_request(12);
  Say(item);
  Say(Attempt<v1::WorkStarted>(item, 1));
  Say(Attempt<v1::WorkDone>(item, 1));
  Say(item);
  EXPECT_FALSE(Work().open.has_value());
  item.set_request(13);
  Say(item);
  EXPECT_TRUE(Work().open.has_value());
}

TEST_F(WorkLedgerTest, ASlotOfAClockThatWasWrongKeepsNoOtherAway) {
  v1::WorkItem item = Item(key_, 1'790'000'000 + 7 * 86'400);
  Say(item);
  Say(Attempt<v1::WorkStarted>(item, 1));
  Say(Attempt<v1::WorkDone>(item, 1));
  item = Item(key_, 1'790'000'000);
  Say(item);
  EXPECT_TRUE(Work().open.has_value());
}

TEST_F(WorkLedgerTest, MarksAreOfOneLogAndOfKnownAge) {
  EXPECT_TRUE(ledger_.untouched());
  EXPECT_FALSE(ledger_.Marked("log#1").has_value());
  v1::WorkMark mark;
  mark.set_log_id("log#1");
  mark.set_changes_next(100);
  Say(mark);
  EXPECT_FALSE(ledger_.untouched());
  EXPECT_EQ(ledger_.Marked("log#1"), Offset(100));
  EXPECT_FALSE(ledger_.Marked("log#2").has_value());
  mark.set_changes_next(50);  // of a worker that was paused
  Say(mark);
  EXPECT_EQ(ledger_.Marked("log#1"), Offset(100));

  auto told = Attempt<v1::WorkDone>(Item(key_, 1), 0);
  *told.mutable_state() = State(5);
  told.set_changes_next(100);
  Say(told);
  mark.set_log_id("log#2");
  mark.set_changes_next(0);
  Say(mark);
  EXPECT_EQ(ledger_.Marked("log#2"), Offset(0));
  EXPECT_EQ(Work().changes_next, kNoOffset);
  EXPECT_EQ(Work().state.number(), 0U);
}

TEST_F(WorkLedgerTest, WhereRetentionHasCutOnlyALateMarkSaysAll) {
  ledger_.Begin(/*whole=*/false);
  EXPECT_FALSE(ledger_.untouched());
  v1::WorkMark mark;
  mark.set_log_id("log#1");
  mark.set_changes_next(100);
  Say(mark);
  EXPECT_FALSE(ledger_.Marked("log#1").has_value());
  now_ += hours(48);
  Say(mark);
  EXPECT_TRUE(ledger_.Marked("log#1").has_value());
}

TEST_F(WorkLedgerTest, WhatIsOldIsNotKept) {
  for (int hour = 0; hour < 24 * 9; ++hour) {
    v1::WorkMark mark;
    mark.set_log_id("log#1");
    Say(mark);
    now_ += hours(1);
  }
  EXPECT_EQ(ledger_.FirstKept(now_), Offset(24 * 2 - 1));
  EXPECT_EQ(ledger_.FirstKept(kWorkStart + hours(1)), kNoOffset);

  // A stream of which nothing is heard for more than a week is gone, for whoever reads on.
  Say(Item(key_, 100));
  now_ += hours(24 * 7);
  Say(v1::WorkMark());
  EXPECT_NE(ledger_.Find(key_), nullptr);
  now_ += hours(25);
  Say(v1::WorkMark());
  EXPECT_EQ(ledger_.Find(key_), nullptr);
}

TEST_F(WorkLedgerTest, WhatIsMalformedChangesNothing) {
  v1::WorkItem item = Item(key_, 100);
  item.clear_id();
  EXPECT_FALSE(ledger_.Apply({Offset(0), WorkEvent(key_, item, now_)}).ok());
  eventlog::Event event = WorkEvent(key_, Item(key_, 100), now_);
  event.value = "\xff";
  EXPECT_FALSE(ledger_.Apply({Offset(0), event}).ok());
  event = WorkEvent(key_, Item(key_, 100), now_);
  event.key = "No Org";
  EXPECT_FALSE(ledger_.Apply({Offset(0), event}).ok());
  event.type = "sluice.v1.EventPosition";
  EXPECT_TRUE(ledger_.Apply({Offset(0), event}).ok());
  EXPECT_TRUE(ledger_.streams().empty());
}

}  // namespace
}  // namespace sluice::projectors

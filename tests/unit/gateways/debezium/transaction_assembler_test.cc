#include "gateways/debezium/transaction_assembler.h"

#include <gmock/gmock.h>

#include <memory>

namespace sluice::gateways {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

// Table a in partitions 0 and 1, table b in partition 2. Offsets are given one after the other.
class TransactionAssemblerTest : public ::testing::Test {
 protected:
  void Make(AssemblerLimits limits = {}) {
    assembler_ = std::make_unique<TransactionAssembler>(
        limits,
        std::vector<TransactionAssembler::Partition>{
            {"a", Offset(0)}, {"a", Offset(0)}, {"b", Offset(0)}},
        Offset(0));
  }
  void SetUp() override { Make(); }

  // A change of row `key`; its place in the source's log is `lsn`.
  void Change(size_t partition, const std::string& transaction, int64_t lsn, const std::string& key,
              size_t bytes = 100) {
    TableChange change;
    change.offset = Offset(next_[partition]++);
    change.event.op = ChangeOp::kUpdate;
    change.event.transaction = transaction;
    change.event.lsn = lsn;
    change.key.key = key;
    change.bytes = bytes;
    assembler_->AddChange(partition, std::move(change));
  }
  void Begin(const std::string& transaction) {
    assembler_->AddMark(Offset(next_[3]++), {false, transaction, std::nullopt, 0, {}}, now_);
  }
  void End(const std::string& transaction, int64_t lsn, uint64_t a, uint64_t b = 0) {
    TransactionMark mark{true, transaction, lsn, a + b, {}};
    if (a > 0) {
      mark.collections.emplace_back("a", a);
    }
    if (b > 0) {
      mark.collections.emplace_back("b", b);
    }
    assembler_->AddMark(Offset(next_[3]++), std::move(mark), now_);
  }

  // "id@lsn: keys" of each set that can go out, "..." behind one that is not settled.
  std::vector<std::string> Out() {
    std::vector<std::string> sets;
    while (auto set = assembler_->Take()) {
      std::string text =
          set->transaction + "@" + (set->lsn.has_value() ? std::to_string(*set->lsn) : "") + ":";
      for (const TableChange& change : set->changes) {
        text += " " + change.key.key;
      }
      sets.push_back(text + (set->settled ? "" : "..."));
    }
    return sets;
  }
  void TellEnds() {
    ASSERT_TRUE(assembler_->wants_ends(now_));
    assembler_->SetEnds({Offset(next_[0]), Offset(next_[1]), Offset(next_[2])}, now_);
    EXPECT_FALSE(assembler_->wants_ends(now_));
  }
  std::vector<int64_t> Positions() const {
    return {assembler_->position(0).value(), assembler_->position(1).value(),
            assembler_->position(2).value(), assembler_->marks_position().value()};
  }

  std::unique_ptr<TransactionAssembler> assembler_;
  int64_t next_[4] = {};
  SteadyTime now_{};
};

TEST_F(TransactionAssemblerTest, TwoPartitions) {
  Begin("7");
  Change(1, "7", 102, "a2");
  End("7", 110, 2, 1);
  Change(2, "7", 103, "b1");
  EXPECT_THAT(Out(), IsEmpty());
  EXPECT_THAT(Positions(), ElementsAre(0, 0, 0, 0));
  Change(0, "7", 101, "a1");
  EXPECT_THAT(Out(), ElementsAre("7@110: a1 a2 b1"));
  EXPECT_THAT(Positions(), ElementsAre(1, 1, 1, 2));
}

TEST_F(TransactionAssemblerTest, InTheOrderOfTheirEnds) {
  Change(0, "8", 100, "x");
  Change(0, "7", 105, "y");
  End("7", 108, 1);
  EXPECT_THAT(Out(), ElementsAre("7@108: y"));
  EXPECT_EQ(assembler_->counters().left_over, 1U);  // 8 commits later, and so cannot come before
  Change(1, "9", 120, "z");
  End("10", 115, 0);
  End("9", 130, 1);
  EXPECT_THAT(Out(), ElementsAre("9@130: z"));
  EXPECT_EQ(assembler_->marks_position(), Offset(3));
}

TEST_F(TransactionAssemblerTest, RowsOfASnapshotStandByThemselves) {
  Change(0, "7", 100, "x");
  Change(0, "", 90, "s1");
  Change(1, "", 90, "s2");
  EXPECT_THAT(Out(), ElementsAre("@: s1 s2"));
  EXPECT_THAT(Positions(), ElementsAre(0, 1, 0, 0));  // x still waits
}

TEST_F(TransactionAssemblerTest, ReplayAfterRestart) {
  for (int round = 0; round < 2; ++round) {
    Begin("7");
    Change(0, "7", 101, "x");
    Change(0, "7", 102, "x");
    End("7", 110, 2);
    Begin("8");
    Change(0, "8", 105, "y");
    End("8", 120, 1);
  }
  EXPECT_THAT(Out(), ElementsAre("7@110: x x", "8@120: y"));
  EXPECT_EQ(assembler_->counters().repeated, 3U);
  EXPECT_THAT(Positions(), ElementsAre(6, 0, 0, 8));
}

TEST_F(TransactionAssemblerTest, AReplayedEndBeforeItsChanges) {
  Change(0, "7", 101, "x");
  End("7", 110, 1);
  EXPECT_THAT(Out(), ElementsAre("7@110: x"));
  End("7", 110, 1);
  EXPECT_THAT(Out(), IsEmpty());
  Change(0, "7", 101, "x");
  EXPECT_EQ(assembler_->position(0), Offset(2));
}

TEST_F(TransactionAssemblerTest, CountRestarts) {
  Begin("7");
  Change(0, "7", 101, "x");
  Change(0, "7", 102, "y");
  Begin("7");  // the connector goes on amid the transaction, and counts from here
  End("7", 110, 1);
  EXPECT_THAT(Out(), IsEmpty());
  Change(1, "7", 103, "z");
  EXPECT_THAT(Out(), IsEmpty());  // more than were counted, and maybe not all
  ++next_[1];
  TellEnds();
  EXPECT_THAT(Out(), IsEmpty());
  assembler_->Pass(1, Offset(next_[1]));
  EXPECT_THAT(Out(), ElementsAre("7@110: x y z"));
  EXPECT_EQ(assembler_->counters().incomplete, 0U);
}

TEST_F(TransactionAssemblerTest, CountsThatAreTooLowLoseNothing) {
  Change(0, "7", 101, "x");
  End("7", 110, 1);
  EXPECT_THAT(Out(), ElementsAre("7@110: x"));
  Change(0, "7", 102, "y");
  EXPECT_THAT(Out(), ElementsAre("7@110: y"));
  EXPECT_EQ(assembler_->counters().late, 1U);
}

TEST_F(TransactionAssemblerTest, RowsThatWereInsertedAtOnceHaveOneLsn) {
  Change(0, "7", 101, "x");
  Change(0, "7", 101, "y");
  Change(0, "7", 101, "x");
  End("7", 110, 3);
  EXPECT_THAT(Out(), IsEmpty());
  Change(0, "7", 101, "z");
  EXPECT_THAT(Out(), ElementsAre("7@110: x y z"));
}

TEST_F(TransactionAssemblerTest, WithoutChangesThatAreNowhere) {
  Change(0, "7", 101, "x");
  End("7", 110, 2);
  Change(1, "8", 120, "y");
  End("8", 130, 1);
  EXPECT_THAT(Out(), IsEmpty());
  EXPECT_FALSE(assembler_->wants_ends(now_));
  now_ += std::chrono::seconds(30);
  TellEnds();
  EXPECT_THAT(Out(), ElementsAre("7@110: x", "8@130: y"));
  EXPECT_EQ(assembler_->counters().incomplete, 1U);
  // It was somewhere all the same.
  Change(0, "7", 102, "z");
  EXPECT_THAT(Out(), ElementsAre("7@110: z"));
}

TEST_F(TransactionAssemblerTest, ManyThatMissSomethingWaitSideBySide) {
  for (int i = 0; i < 50; ++i) {
    End(std::to_string(100 + i), 1'000 + i, 1);
    EXPECT_THAT(Out(), IsEmpty());
    now_ += std::chrono::seconds(1);
  }
  TellEnds();
  EXPECT_THAT(Out(), IsEmpty());                      // nothing is there of those either
  EXPECT_EQ(assembler_->counters().incomplete, 21U);  // those of 30 seconds ago
}

// The repeat's changes were passed over before a restart of ours, its END comes after it.
TEST_F(TransactionAssemblerTest, AnOldEndWithoutChangesHoldsUpNothing) {
  assembler_ = std::make_unique<TransactionAssembler>(
      AssemblerLimits(), std::vector<TransactionAssembler::Partition>{{"a", Offset(0)}}, Offset(0),
      110);
  End("7", 110, 1);
  Change(0, "8", 115, "x");
  End("8", 120, 1);
  EXPECT_THAT(Out(), IsEmpty());
  ASSERT_TRUE(assembler_->wants_ends(now_));
  assembler_->SetEnds({Offset(1)}, now_);
  EXPECT_THAT(Out(), ElementsAre("8@120: x"));
  EXPECT_EQ(assembler_->counters().incomplete, 0U);
  EXPECT_EQ(assembler_->lsn_done(), 120);
}

TEST_F(TransactionAssemblerTest, MissingChangesMayStillLieInThePartition) {
  End("7", 110, 1);
  EXPECT_THAT(Out(), IsEmpty());
  now_ += std::chrono::seconds(30);
  ++next_[0];
  TellEnds();
  EXPECT_THAT(Out(), IsEmpty());
  --next_[0];
  Change(0, "7", 101, "x");
  EXPECT_THAT(Out(), ElementsAre("7@110: x"));
  EXPECT_EQ(assembler_->counters().incomplete, 0U);
}

TEST_F(TransactionAssemblerTest, HugeGoesOutInParts) {
  Make({.held_bytes_max = 1'000, .set_bytes_max = 300, .set_changes_max = 3});
  Change(0, "8", 90, "other");
  End("7", 200, 14);
  EXPECT_THAT(Out(), IsEmpty());
  for (int i = 0; i < 9; ++i) {
    Change(1, "7", 101 + i, "x" + std::to_string(i));
  }
  EXPECT_THAT(Out(), IsEmpty());  // as much as there is room for
  Change(1, "7", 110, "x9");
  EXPECT_THAT(Out(), ElementsAre("7@200: x0 x1 x2...", "7@200: x3 x4 x5...", "7@200: x6 x7 x8...",
                                 "7@200: x9..."));
  for (int i = 10; i < 14; ++i) {
    Change(1, "7", 101 + i, "x" + std::to_string(i));
  }
  EXPECT_THAT(Out(), ElementsAre("7@200: x10 x11 x12...", "7@200: x13"));
  EXPECT_EQ(assembler_->counters().split, 1U);
  EXPECT_EQ(assembler_->held_bytes(), 100U);
}

TEST_F(TransactionAssemblerTest, WhatThereIsNoRoomForIsReadAgain) {
  Make({.held_bytes_max = 300, .set_bytes_max = 1'000});
  for (int i = 0; i < 6; ++i) {
    Change(0, "9", 120 + i, "x" + std::to_string(i));
  }
  EXPECT_EQ(assembler_->counters().skipped, 2U);
  EXPECT_EQ(assembler_->position(0), Offset(0));
  EXPECT_TRUE(assembler_->IsPaused(0) && assembler_->IsPaused(1));
  // The next END needs another partition: that one is read, though there is no room.
  End("8", 110, 0, 1);
  EXPECT_THAT(Out(), IsEmpty());
  EXPECT_TRUE(assembler_->IsPaused(0));
  EXPECT_FALSE(assembler_->IsPaused(2));
  // What was skipped is read again for each END, as its changes may be there.
  EXPECT_THAT(assembler_->TakeSeeks(), ElementsAre(Pair(0, Offset(4))));
  EXPECT_THAT(assembler_->TakeSeeks(), IsEmpty());
  next_[0] = 4;
  Change(2, "8", 105, "b");
  EXPECT_THAT(Out(), ElementsAre("8@110: b"));
  End("9", 130, 6);
  EXPECT_THAT(Out(), IsEmpty());
  Change(0, "9", 124, "x4");
  Change(0, "9", 125, "x5");
  EXPECT_THAT(Out(), ElementsAre("9@130: x0 x1 x2 x3 x4 x5"));
  EXPECT_THAT(Positions(), ElementsAre(6, 0, 1, 2));
}

TEST_F(TransactionAssemblerTest, HalfATransactionThatNeverEndedIsLeft) {
  Begin("7");
  Change(0, "7", 101, "x");
  Begin("8");
  Change(0, "8", 205, "y");
  End("8", 210, 1);
  EXPECT_THAT(Out(), ElementsAre("8@210: y"));
  EXPECT_EQ(assembler_->counters().left_over, 1U);
  EXPECT_EQ(assembler_->held_bytes(), 0U);
  EXPECT_EQ(assembler_->position(0), Offset(2));
}

// After a restart of ours nothing is known of 6, so it goes out again, and what lies before it
// looks left over: but the connector has sent that again, too.
TEST_F(TransactionAssemblerTest, WhatLooksLeftOverIsReadAgain) {
  Change(0, "7", 101, "x");
  Change(0, "6", 90, "a");
  Change(0, "7", 101, "x");  // a repeat of what is held
  End("6", 100, 1);
  EXPECT_THAT(Out(), ElementsAre("6@100: a"));
  EXPECT_THAT(assembler_->TakeSeeks(), ElementsAre(Pair(0, Offset(2))));
  next_[0] = 2;
  Change(0, "7", 101, "x");
  End("7", 110, 1);
  EXPECT_THAT(Out(), ElementsAre("7@110: x"));
}

// The driver may have read on meanwhile.
TEST_F(TransactionAssemblerTest, WhatIsReadBeforeTheSeekComesAgain) {
  Change(0, "7", 101, "x");
  Change(0, "6", 90, "a");
  Change(0, "7", 101, "x");
  End("6", 100, 1);
  EXPECT_THAT(Out(), ElementsAre("6@100: a"));
  Change(0, "8", 120, "y");
  assembler_->Pass(0, Offset(4));
  EXPECT_EQ(assembler_->next(0), Offset(2));
  EXPECT_EQ(assembler_->position(0), Offset(2));
  EXPECT_THAT(assembler_->TakeSeeks(), ElementsAre(Pair(0, Offset(2))));
  next_[0] = 2;
  Change(0, "7", 101, "x");
  Change(0, "8", 120, "y");
  End("7", 110, 1);
  End("8", 130, 1);
  EXPECT_THAT(Out(), ElementsAre("7@110: x", "8@130: y"));
}

TEST_F(TransactionAssemblerTest, AnEndThatWasNotLookedAtMakesNoRoom) {
  Make({.held_bytes_max = 100, .set_bytes_max = 1'000});
  Change(1, "6", 80, "a");
  Change(1, "6", 81, "b");
  Change(0, "7", 101, "x");  // no room
  End("7", 110, 2);
  Change(0, "7", 102, "y");
  EXPECT_THAT(Out(), IsEmpty());
  EXPECT_THAT(assembler_->TakeSeeks(), ElementsAre(Pair(0, Offset(0))));
  next_[0] = 0;
  Change(0, "7", 101, "x");
  Change(0, "7", 102, "y");
  EXPECT_THAT(Out(), ElementsAre("7@110: x y"));
}

TEST_F(TransactionAssemblerTest, ADatabaseGivesAnIdAgain) {
  Change(0, "7", 101, "x");
  End("7", 110, 1);
  EXPECT_THAT(Out(), ElementsAre("7@110: x"));
  Change(0, "7", 901, "y");
  End("7", 910, 1);
  EXPECT_THAT(Out(), ElementsAre("7@910: y"));
}

TEST_F(TransactionAssemblerTest, RecordsAreTakenOnce) {
  Change(0, "7", 101, "x");
  End("7", 110, 2);
  next_[0] = 0;
  Change(0, "7", 102, "y");  // at an offset that was read
  --next_[3];
  End("7", 110, 1);
  EXPECT_THAT(Out(), IsEmpty());
  Change(0, "7", 102, "y");
  EXPECT_THAT(Out(), ElementsAre("7@110: x y"));
}

}  // namespace
}  // namespace sluice::gateways

#include "gateways/debezium/snapshot_generations.h"

#include <gmock/gmock.h>

namespace sluice::gateways {
namespace {

using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr PartitionId kP0{0};
constexpr PartitionId kP1{1};

class SnapshotGenerationsTest : public ::testing::Test {
 protected:
  SnapshotGenerationsTest() {
    generations_.Add("t", kP0);
    generations_.Add("t", kP1);
  }

  uint32_t Row(PartitionId partition, int64_t offset, int64_t lsn,
               SnapshotPart part = SnapshotPart::kRow, bool first = false) {
    return generations_.AddRow("t", partition, Offset(offset), part, lsn, first);
  }
  v1::DebeziumCursor Save(int64_t next0, int64_t next1) {
    v1::DebeziumCursor cursor;
    for (const auto& [partition, next] : {std::pair(0, next0), {1, next1}}) {
      auto& added = *cursor.add_partitions();
      added.set_topic("t");
      added.set_partition(partition);
      added.set_next(next);
    }
    generations_.Save(&cursor);
    return cursor;
  }

  SnapshotGenerations generations_{false, {}, {}};  // by the LSNs of events
};

TEST_F(SnapshotGenerationsTest, EachPartitionEntersAtItsFirstRow) {
  EXPECT_EQ(Row(kP0, 10, 100), 1U);
  EXPECT_EQ(Row(kP1, 20, 100), 1U);
  EXPECT_EQ(Row(kP0, 11, 100), 1U);
  EXPECT_EQ(generations_.At("t", kP0, Offset(9)), 0U);
  EXPECT_EQ(generations_.At("t", kP0, Offset(10)), 1U);
  EXPECT_EQ(generations_.At("t", kP1, Offset(19)), 0U);
  EXPECT_EQ(Row(kP0, 30, 200), 2U);  // another snapshot
  EXPECT_EQ(Row(kP1, 30, 200), 2U);
}

TEST_F(SnapshotGenerationsTest, ReadAgainItIsTheSame) {
  EXPECT_EQ(Row(kP0, 10, 100), 1U);
  EXPECT_EQ(Row(kP0, 20, 200), 2U);
  EXPECT_EQ(Row(kP0, 10, 100), 1U);
  EXPECT_EQ(Row(kP1, 5, 100), 1U);  // the other partition lags
  EXPECT_EQ(Row(kP1, 6, 200), 2U);
  EXPECT_EQ(generations_.At("t", kP0, Offset(15)), 1U);
}

TEST_F(SnapshotGenerationsTest, ADatabaseThatWasRestoredGivesAnLsnAgain) {
  Row(kP0, 10, 100);
  Row(kP0, 20, 200);
  EXPECT_EQ(Row(kP0, 30, 100), 3U);
}

TEST_F(SnapshotGenerationsTest, AChangeOfAPartitionWithoutRowsIsOfTheSnapshotBeforeIt) {
  Row(kP0, 10, 100);
  EXPECT_EQ(generations_.Of("t", kP1, 0, 101), 1U);  // committed after it
  EXPECT_EQ(generations_.Of("t", kP1, 0, 100), 0U);
  Row(kP1, 10, 100);
  EXPECT_EQ(generations_.Of("t", kP1, 0, 101), 0U);  // it lies before its rows
}

TEST_F(SnapshotGenerationsTest, WhatIsBeforeASweptSnapshotBringsNothingBack) {
  Row(kP0, 10, 100, SnapshotPart::kFirst);
  EXPECT_THAT(generations_.Due(), IsEmpty());
  Row(kP0, 11, 100, SnapshotPart::kLast);
  ASSERT_THAT(generations_.Due(), SizeIs(1));
  EXPECT_EQ(generations_.Due()[0].generation, 1U);
  EXPECT_EQ(generations_.Of("t", kP1, 0, 50), 0U);
  generations_.Swept(generations_.Due()[0], [](PartitionId) { return Offset(40); });
  EXPECT_THAT(generations_.Due(), IsEmpty());
  EXPECT_TRUE(generations_.IsStale("t", 50));
  EXPECT_TRUE(generations_.IsStale("t", 100));
  EXPECT_FALSE(generations_.IsStale("t", 101));
  EXPECT_EQ(generations_.Of("t", kP1, 0, 101), 1U);
  EXPECT_EQ(generations_.At("t", kP1, Offset(40)), 1U);
  EXPECT_EQ(generations_.At("t", kP1, Offset(39)), 0U);
}

TEST_F(SnapshotGenerationsTest, ASnapshotOfWhichTheBeginIsLostSweepsNothing) {
  Row(kP0, 10, 100, SnapshotPart::kRow, /*first=*/true);
  Row(kP0, 11, 100, SnapshotPart::kLast);
  EXPECT_THAT(generations_.Due(), IsEmpty());
  Row(kP0, 12, 200, SnapshotPart::kFirst);
  Row(kP0, 13, 200, SnapshotPart::kLast);
  EXPECT_THAT(generations_.Due(), SizeIs(1));
}

TEST_F(SnapshotGenerationsTest, WhatWasCommittedAfterItIsNotSwept) {
  generations_.AddChange("t", kP0, Offset(5), 90);
  generations_.AddChange("t", kP1, Offset(5), 120);  // read before the snapshot is known
  Row(kP0, 10, 100, SnapshotPart::kFirst);
  Row(kP0, 11, 100, SnapshotPart::kLast);
  ASSERT_THAT(generations_.Due(), SizeIs(1));
  EXPECT_EQ(generations_.Due()[0].version, 100);
  // A database that was restored: what was before it tells nothing.
  generations_.AddChange("t", kP0, Offset(12), 300);
  const v1::DebeziumCursor cursor = Save(13, 6);
  EXPECT_EQ(cursor.partitions(0).lsn(), 300);
  SnapshotGenerations later(false, cursor, {});
  later.AddRow("t", kP0, Offset(13), SnapshotPart::kFirst, 200, false);
  later.AddRow("t", kP0, Offset(14), SnapshotPart::kLast, 200, false);
  ASSERT_THAT(later.Due(), SizeIs(1));
  EXPECT_EQ(later.Due()[0].version, (int64_t{2} << kGenerationShift) - 1);
}

TEST_F(SnapshotGenerationsTest, TheLastRowOfAllEndsEachTable) {
  generations_.Add("one row", kP0);
  generations_.AddRow("one row", kP0, Offset(0), SnapshotPart::kFirst, 100, false);
  EXPECT_THAT(generations_.Due(), IsEmpty());
  Row(kP0, 10, 100, SnapshotPart::kLast);
  EXPECT_THAT(generations_.Due(), SizeIs(2));
}

TEST(SnapshotGenerationsByCommitTest, ASnapshotHasItsPlaceAmongCommits) {
  SnapshotGenerations generations(true, {}, {});
  generations.Add("t", kP0);
  generations.AddChange("t", kP0, Offset(0), 90);
  EXPECT_EQ(generations.AddRow("t", kP0, Offset(1), SnapshotPart::kFirst, 100, false), 0U);
  EXPECT_EQ(generations.AddRow("t", kP0, Offset(2), SnapshotPart::kLast, 100, false), 0U);
  ASSERT_THAT(generations.Due(), SizeIs(1));
  EXPECT_EQ(generations.Due()[0].version, 100);
  generations.Swept(generations.Due()[0], [](PartitionId) { return Offset(3); });
  EXPECT_TRUE(generations.IsStale("t", 100));  // the snapshot has it, or it is gone
  EXPECT_FALSE(generations.IsStale("t", 101));
  generations.Truncated("t", 200);
  EXPECT_TRUE(generations.IsStale("t", 199));
  EXPECT_FALSE(generations.IsStale("t", 200));
  EXPECT_THAT(generations.Due(), IsEmpty());
  v1::DebeziumCursor cursor;
  generations.Save(&cursor);
  EXPECT_TRUE(SnapshotGenerations(true, cursor, {}).IsStale("t", 199));
  EXPECT_FALSE(generations.TakeWentBack());
}

TEST(SnapshotGenerationsByCommitTest, WhereLsnsGoBackItIsAnotherGeneration) {
  SnapshotGenerations generations(true, {}, {});
  generations.Add("t", kP0);
  generations.Add("t", kP1);
  generations.AddChange("t", kP0, Offset(0), 900);
  EXPECT_EQ(generations.AddRow("t", kP0, Offset(1), SnapshotPart::kFirst, 100, false), 1U);
  EXPECT_EQ(generations.AddRow("t", kP1, Offset(0), SnapshotPart::kRow, 100, false), 1U);
  EXPECT_EQ(generations.AddRow("t", kP0, Offset(2), SnapshotPart::kLast, 100, false), 1U);
  EXPECT_TRUE(generations.TakeWentBack());
  ASSERT_THAT(generations.Due(), SizeIs(1));
  EXPECT_EQ(generations.Due()[0].version, (int64_t{1} << kGenerationShift) - 1);
}

TEST(SnapshotGenerationsByCommitTest, ThatTheyWentBackIsSeenLate) {
  SnapshotGenerations generations(true, {}, {});
  generations.Add("t", kP0);
  generations.Add("t", kP1);
  EXPECT_EQ(generations.AddRow("t", kP0, Offset(1), SnapshotPart::kFirst, 100, false), 0U);
  generations.AddChange("t", kP1, Offset(0), 900);
  EXPECT_EQ(generations.AddRow("t", kP1, Offset(1), SnapshotPart::kLast, 100, false), 1U);
  EXPECT_EQ(generations.AddRow("t", kP0, Offset(2), SnapshotPart::kRow, 100, false), 1U);
  EXPECT_THAT(generations.Due(), IsEmpty());
}

TEST_F(SnapshotGenerationsTest, GoesOnFromACursor) {
  Row(kP0, 10, 100, SnapshotPart::kFirst);
  Row(kP0, 20, 200, SnapshotPart::kFirst);
  const v1::DebeziumCursor cursor = Save(15, 3);
  EXPECT_EQ(cursor.partitions(0).generation(), 1U);
  EXPECT_EQ(cursor.partitions(1).generation(), 0U);
  SnapshotGenerations later(false, cursor, {});
  later.Add("t", kP0);
  later.Add("t", PartitionId(7));  // a new partition may have the keys of another
  EXPECT_EQ(later.At("t", kP0, Offset(15)), 1U);
  EXPECT_EQ(later.At("t", PartitionId(7), Offset(0)), 2U);
  EXPECT_EQ(later.AddRow("t", kP0, Offset(20), SnapshotPart::kFirst, 200, false), 2U);
}

TEST_F(SnapshotGenerationsTest, ASourceThatBeginsAnewIsAboveAllThatWas) {
  Row(kP0, 10, 100);
  SnapshotGenerations anew(false, {}, Save(20, 20));
  anew.Add("t", kP0);
  EXPECT_EQ(anew.At("t", kP0, Offset(0)), 2U);
  EXPECT_EQ(anew.AddRow("t", kP0, Offset(10), SnapshotPart::kFirst, 100, false), 3U);
}

TEST_F(SnapshotGenerationsTest, OnlySoManySnapshotsAreRemembered) {
  for (int64_t i = 1; i <= 10; ++i) {
    EXPECT_EQ(Row(kP0, 10 * i, 100 * i), static_cast<uint32_t>(i));
  }
  EXPECT_THAT(Save(100, 0).snapshots(), SizeIs(4));
}

}  // namespace
}  // namespace sluice::gateways

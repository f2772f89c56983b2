#include "projectors/nodes/folded_marks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/sluice/v1/events.pb.h"

namespace sluice::projectors {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr PartitionId kP0{0};

class FoldedMarksTest : public ::testing::Test {
 protected:
  static FoldedMark Mark(int64_t at, uint64_t hash) { return {Offset(at), hash}; }
  // `node` tells, at `offset` of `nodes`, of its own place.
  void Tell(const std::string& node, int64_t offset, FoldedMark mark, int64_t told_until = 0,
            int64_t compared = -1) {
    v1::NodeAnnouncement announced;
    Add(mark, told_until, compared, announced);
    marks_.Take(node, Offset(offset), announced);
  }
  static void Add(FoldedMark mark, int64_t told_until, int64_t compared,
                  v1::NodeAnnouncement& announced) {
    auto& told = *announced.add_folded();
    told.set_partition(kP0.value());
    told.set_applied(mark.at.value());
    told.set_event_hash(mark.event_hash);
    told.set_told_until(told_until);
    told.set_compared(compared);
  }
  FoldedMarks marks_{"me"};
};

// Its node is gone, and somebody has folded past it, of another history.
TEST_F(FoldedMarksTest, WhatIsHigherDoesNotTakeThePlaceOfWhatItsNodeDidNotKnowOf) {
  Tell("gone", 10, Mark(9, 0xA));
  Tell("other", 11, Mark(12, 0xB), /*told_until=*/10, /*compared=*/6);
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(9, 0xA), Mark(12, 0xB)));
  Tell("other", 12, Mark(15, 0xC), /*told_until=*/12, /*compared=*/8);
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(9, 0xA), Mark(15, 0xC)))
      << "when it looked, it had not folded as far";
  EXPECT_THAT(marks_.Uncompared(PartitionId(1)), IsEmpty());
}

TEST_F(FoldedMarksTest, WhoHasComparedAndFoldedOnStandsForTheOthers) {
  for (int i = 0; i < 100; ++i) {
    Tell("gone" + std::to_string(i), i, Mark(i, 0xA));
  }
  Tell("other", 101, Mark(120, 0xB), /*told_until=*/100, /*compared=*/99);
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(120, 0xB)));
}

// Neither of two that have compared each other's place.
TEST_F(FoldedMarksTest, SomebodyIsAlwaysLeft) {
  Tell("a", 10, Mark(9, 0xA), 10, 9);
  Tell("b", 11, Mark(9, 0xA), 11, 9);
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(9, 0xA)));
  Tell("a", 12, Mark(9, 0xA), 12, 9);
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(9, 0xA)));
}

TEST_F(FoldedMarksTest, WhatThisProcessHasComparedAndAppliedIsNotComparedAgain) {
  Tell("a", 10, Mark(9, 0xA));
  Tell("b", 11, Mark(20, 0xB));
  EXPECT_FALSE(marks_.Compared(kP0).has_value());
  marks_.NoteCompared(kP0, {Offset(12), Offset(15)});
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(20, 0xB))) << "it lies ahead";
  Tell("a", 12, Mark(9, 0xA));
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(20, 0xB))) << "the same, told again";
  Tell("a", 13, Mark(10, 0xC));
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(10, 0xC), Mark(20, 0xB)));
}

// A process in the place of another one, whose disk has gone with it.
TEST_F(FoldedMarksTest, WhatThisNodeToldBeforeItCameIsToldOnUntilItIsCompared) {
  Tell("me", 10, Mark(9, 0xA));
  marks_.SetKnown();
  EXPECT_THAT(marks_.OfFormer(kP0), ElementsAre(Mark(9, 0xA)));
  Tell("me", 11, Mark(3, 0xB));
  EXPECT_THAT(marks_.OfFormer(kP0), ElementsAre(Mark(9, 0xA))) << "that is its own word";
  marks_.NoteCompared(kP0, {Offset(12), Offset(8)});
  EXPECT_THAT(marks_.OfFormer(kP0), ElementsAre(Mark(9, 0xA)));
  marks_.NoteCompared(kP0, {Offset(12), Offset(9)});
  EXPECT_THAT(marks_.OfFormer(kP0), IsEmpty());
}

TEST_F(FoldedMarksTest, WhatIsToldOnCountsToo) {
  v1::NodeAnnouncement announced;
  Add(Mark(3, 0xB), 20, 3, announced);
  Add(Mark(9, 0xA), 0, 0, announced);
  marks_.Take("a", Offset(21), announced);
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(3, 0xB), Mark(9, 0xA)));
  marks_.Take("a", Offset(22), v1::NodeAnnouncement());  // by an older release
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(3, 0xB), Mark(9, 0xA)));
}

TEST_F(FoldedMarksTest, OffsetsOfATopicThatIsNoMoreSayNothing) {
  Tell("gone", 10, Mark(9, 0xA));
  Tell("other", 11, Mark(12, 0xB), /*told_until=*/1'000, /*compared=*/12);
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(9, 0xA), Mark(12, 0xB)));
  marks_.NoteCompared(kP0, {Offset(1'000), Offset(9)});
  Tell("other", 1'001, Mark(12, 0xB), /*told_until=*/1'000, /*compared=*/12);
  marks_.BeginAnew();
  Tell("third", 1, Mark(5, 0xC));
  EXPECT_THAT(marks_.Uncompared(kP0), ElementsAre(Mark(5, 0xC), Mark(12, 0xB)));
  EXPECT_EQ(marks_.Compared(kP0)->until, Offset(0));
}

}  // namespace
}  // namespace sluice::projectors

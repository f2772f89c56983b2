// What the stores know of rejections whose dead letters have yet to be written.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/unit/projectors/store/store_apart_testing.h"

namespace sluice::projectors {
namespace {

using ::testing::SizeIs;

// An event of acme's is refused, and its dead letter has nowhere to go for long.
class WaitingLetterTest : public StoreApartTest {
 protected:
  void SetUp() override {
    node_.CatchUp(log_);
    node_.Checkpoint();
    Add(20);
    refused_ = Next();
    node_.untold = Offset(refused_);
    log_.push_back(
        testing::MakeEvent(refused_, testing::MakeSet({testing::Delete(9, "A1")}), "acme"));
  }
  void FoldOn() {
    Add(20);
    node_.MainToEnd(log_, 7);
    EXPECT_TRUE(node_.told.contains(refused_));
    node_.told.clear();
  }
  void ExpectToldAgain(const std::string& why) {
    node_.CatchUp(log_);
    ExpectBoth();
    EXPECT_TRUE(node_.told.contains(refused_)) << why;
    node_.told.clear();
  }

  int64_t refused_ = 0;
};

TEST_F(WaitingLetterTest, TheCheckpointGoesUpToItAndTheStoresAreOnDisk) {
  const Offset before = node_->CheckpointState(kApartPartition).position;
  FoldOn();
  node_.FinishCheckpoint();
  const Offset position = node_->CheckpointState(kApartPartition).position;
  EXPECT_GT(position, before);
  EXPECT_LT(position, Offset(refused_));
  const Offset applied = node_->AppliedOf(Org("beta"));
  node_.Start();
  EXPECT_EQ(node_.next(), Offset(position.value() + 1));
  EXPECT_EQ(node_->AppliedOf(Org("beta")), applied);
  ExpectToldAgain("after a crash");
  node_.FinishCheckpoint();
  EXPECT_EQ(node_->CheckpointState(kApartPartition).position, position);
  node_.untold = kNoOffset;
  node_.FinishCheckpoint();
  EXPECT_EQ(node_->CheckpointState(kApartPartition).position, log_.back().offset);
}

TEST_F(WaitingLetterTest, ItIsToldAgainWhereAFlushFails) {
  for (const bool crash : {true, false}) {
    FoldOn();
    node_.FinishCheckpoint();  // acme's store is on disk with the event
    Add(20);
    node_.MainToEnd(log_, 7);
    node_.LoseFolder("acme");
    node_.FinishCheckpoint();
    ASSERT_THAT(node_->ApartOf(kApartPartition), SizeIs(1));
    if (crash) {
      node_.Stop();
    }
    node_.RestoreFolders();
    if (crash) {
      node_.Start();
    }
    ExpectToldAgain(crash ? "after a crash" : "without a crash");
    if (crash) {
      node_.Reassign();
    }
  }
}

TEST_F(WaitingLetterTest, ItIsToldAgainWhereItsOrganisationHasGoneApartSince) {
  for (const bool back : {false, true}) {
    AddLarge();
    FoldOn();
    ASSERT_THAT(node_->ApartOf(kApartPartition), SizeIs(1));
    if (back) {
      node_.CatchUp(log_);
    }
    node_.told.clear();
    node_.FinishCheckpoint();
    node_.Start();
    ExpectToldAgain(back ? "it was given back" : "it is apart");
    node_.Reassign();
  }
}

TEST_F(WaitingLetterTest, ItIsToldAgainWhereThePartitionComesBackWhileItsOrganisationIsApart) {
  AddLarge();
  FoldOn();
  ASSERT_THAT(node_->ApartOf(kApartPartition), SizeIs(1));
  node_.Reassign();
  ExpectToldAgain("whoever was told of it first has gone");
}

// acme goes apart in a batch that fails as a whole, because the log cannot tell of beta's store.
TEST_F(WaitingLetterTest, ItIsToldWhereTheBatchFailsFirst) {
  bool well = true;
  StoreOptions options = Options();
  options.path = dir_ / "compared";
  options.check_history = [&well](PartitionId, Offset, uint64_t) {
    return well ? absl::OkStatus()
                : Error(absl::StatusCode::kUnavailable, "log_unavailable", "the broker is away");
  };
  ApartNode node(options);
  log_.pop_back();
  Add(1, "beta");
  node.CatchUp(log_);
  node.untold = log_.back().offset;
  node.FinishCheckpoint();
  node.Start();
  node.MainToEnd({log_.begin(), log_.end() - 1}, 7);
  node.told.clear();
  log_.back() =  // which beta's store has applied there
      testing::MakeEvent(refused_, testing::MakeSet({testing::Delete(9, "A1")}), "acme");
  AddLarge();
  Add(1, "beta");
  const ApartNode::Log rest(log_.end() - 4, log_.end());
  ASSERT_EQ(rest.front().offset, Offset(refused_));
  well = false;
  EXPECT_EQ(ErrorCode(node->Apply(kApartPartition, rest).status()), "log_unavailable");
  ASSERT_THAT(node->ApartOf(kApartPartition), SizeIs(1));
  well = true;
  node.MainToEnd(log_, 7);
  EXPECT_TRUE(node.told.contains(refused_));
}

}  // namespace
}  // namespace sluice::projectors

// The folder of one organisation's store comes back from a backup: what it holds is compared with
// the log and gone on from, where it is the organisation's own, and nobody sees what it holds until
// it has caught up.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "tests/support/apart_node.h"
#include "tests/support/temp_dir.h"

namespace sluice::projectors {
namespace {

namespace fs = std::filesystem;
using testing::AccountEvent;
using testing::ApartNode;
using ::testing::IsEmpty;
using testing::Org;
using testing::OrgWithAccounts;
using ::testing::SizeIs;
using Log = ApartNode::Log;

class StoreRestoredTest : public testing::TwoOrgsTest {
 protected:
  void SetUp() override {
    node_.CatchUp(log_);
    node_.Checkpoint();
    held_ = node_->AppliedOf(Org("acme"));
    node_.Stop();
    fs::copy(node_.FolderOf("acme"), dir_ / "backup");
    node_.Start();
    Add(20);
    node_.CatchUp(log_);
    node_.Checkpoint();
    node_.Start();
  }
  // The history of what the store holds, as the log would tell it.
  absl::Status Compare(Offset applied, uint64_t hash) {
    ++compared_;
    const auto event =
        std::find_if(log_.begin(), log_.end(), [&](const auto& e) { return e.offset == applied; });
    if (event != log_.end() && eventlog::EventHash(event->event) == hash) {
      return absl::OkStatus();
    }
    return Error(absl::StatusCode::kDataLoss, "log_diverged", "another event");
  }
  StoreOptions Options() {
    StoreOptions options = testing::SmallStoreOptions(dir_ / "node");
    options.fold.step_rows = 5;
    options.open_stores_max = 1;  // whoever is not used is closed
    options.check_history = [this](PartitionId, Offset applied, uint64_t hash) {
      return Compare(applied, hash);
    };
    return options;
  }
  void PutBack() {
    fs::remove_all(node_.FolderOf("acme"));
    fs::create_directories(node_.FolderOf("acme"));
    fs::copy(dir_ / "backup", node_.FolderOf("acme"));
  }
  std::string CodeOfReader() { return ErrorCode(node_->Snapshot(Org("acme")).status()); }
  // It is known, nobody is shown what it holds, and what it lacks is read.
  void ExpectItGoesOn() {
    const auto apart = node_->ApartOf(ApartNode::kPartition);
    ASSERT_THAT(apart, SizeIs(1));
    EXPECT_EQ(apart[0].reason, "store_rewound");
    EXPECT_EQ(apart[0].next, Offset(held_.value() + 1));
    EXPECT_EQ(CodeOfReader(), "not_caught_up");
    compared_ = 0;
    node_.Side(log_, 4);
    EXPECT_EQ(compared_, 1) << "before anything is applied to it";
    EXPECT_EQ(CodeOfReader(), "not_caught_up");
    ExpectBothOf(log_);
    EXPECT_FALSE(fs::exists(node_.FolderOf("acme") + ".damaged-1"));
  }
  // `log`: where what is to be read begins.
  void ExpectBothOf(const Log& log) {
    node_.CatchUp(log);
    node_.ExpectFoldOf("acme", log_);
    node_.ExpectFoldOf("beta", log_);
    EXPECT_THAT(node_->ApartOf(ApartNode::kPartition), IsEmpty());
  }
  Log LogAfter(Offset offset) {
    Log rest = log_;
    std::erase_if(rest, [&](const auto& event) { return event.offset <= offset; });
    return rest;
  }
  void ExpectBuiltAnew() {
    node_.Start();
    EXPECT_EQ(CodeOfReader(), "not_caught_up");
    EXPECT_TRUE(node_->LookForTrouble(ApartNode::kPartition).ok());
    const auto apart = node_->ApartOf(ApartNode::kPartition);
    ASSERT_THAT(apart, SizeIs(1));
    EXPECT_EQ(apart[0].reason, "store_corrupt");
    EXPECT_EQ(apart[0].next, Offset(0));
    ExpectBothOf(log_);
    EXPECT_TRUE(fs::exists(node_.FolderOf("acme") + ".damaged-1"));
  }

  const testing::TempDir dir_;
  int compared_ = 0;
  Offset held_;  // what the backup has applied
  ApartNode node_{Options()};
};

TEST_F(StoreRestoredTest, WhileTheProcessWasStoppedAReaderFindsIt) {
  node_.Stop();
  PutBack();
  node_.Start();
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  EXPECT_TRUE(node_->LookForTrouble(ApartNode::kPartition).ok());
  ExpectItGoesOn();
}

TEST_F(StoreRestoredTest, WhileTheProcessWasStoppedTheFoldFindsIt) {
  node_.Stop();
  PutBack();
  node_.Start();
  Add(4);
  node_.MainToEnd(log_, 16);
  ExpectItGoesOn();
}

TEST_F(StoreRestoredTest, WhileItRunsAndTheStoreIsClosed) {
  Add(2);
  node_.CatchUp(log_);
  node_.ExpectFoldOf("acme", log_);
  node_.ExpectFoldOf("beta", log_);  // closes acme's
  Add(2, "beta");
  node_.CatchUp(log_);
  PutBack();
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  EXPECT_TRUE(node_->LookForTrouble(ApartNode::kPartition).ok());
  ExpectItGoesOn();
}

// What the checkpoint says of who was to be built anew does not win over what is there now.
TEST_F(StoreRestoredTest, WhereARebuildHadBegun) {
  node_.Stop();
  fs::remove_all(node_.FolderOf("acme"));
  node_.Start();
  EXPECT_EQ(node_->ApartOf(ApartNode::kPartition).at(0).next, Offset(0));
  Add(2);
  node_.MainToEnd(log_, 16);
  node_.Checkpoint();
  node_.Stop();
  PutBack();
  node_.Start();
  EXPECT_EQ(node_->ApartOf(ApartNode::kPartition).at(0).next, Offset(0));
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  ExpectBothOf(LogAfter(held_));
  EXPECT_FALSE(fs::exists(node_.FolderOf("acme") + ".damaged-1"));
}

TEST_F(StoreRestoredTest, WhileItRunsAndItsFolderHadGone) {
  node_.Stop();
  fs::remove_all(node_.FolderOf("acme"));
  node_.Start();
  EXPECT_EQ(node_->ApartOf(ApartNode::kPartition).at(0).reason, "store_missing");
  PutBack();
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  ExpectBothOf(LogAfter(held_));
  EXPECT_FALSE(fs::exists(node_.FolderOf("acme") + ".damaged-1"));
}

// One that was put aside for a large event has a position of its own in the checkpoint.
TEST_F(StoreRestoredTest, WhereItIsApartFartherOn) {
  log_.push_back(testing::MakeEvent(
      Next(), testing::DefineProfile("field", {{"account", {v1::RULE_KIND_ALL}}}, {"sales"}),
      "acme"));
  node_.MainToEnd(log_, 16);
  ASSERT_THAT(node_->ApartOf(ApartNode::kPartition), SizeIs(1));
  node_.Checkpoint();
  node_.Stop();
  PutBack();
  node_.Start();
  ASSERT_THAT(node_->ApartOf(ApartNode::kPartition), SizeIs(1));
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  ExpectBothOf(log_);
}

// Whatever a checkpoint says that was begun before and ended after: a crash loses nothing.
TEST_F(StoreRestoredTest, AmidACheckpointAndACrash) {
  for (const bool end_late : {true, false}) {
    node_.Stop();
    PutBack();
    node_.Start();
    Add(2, "beta");
    node_.MainToEnd(log_, 16);
    node_.StepOfCheckpoint();
    EXPECT_EQ(CodeOfReader(), "not_caught_up");
    EXPECT_TRUE(node_->LookForTrouble(ApartNode::kPartition).ok());
    node_.Side(log_, 4);
    if (end_late) {
      node_.CatchUp(log_);
    }
    node_.FinishCheckpoint();
    node_.Start();
    EXPECT_EQ(CodeOfReader(), "not_caught_up");
    Add(2, "beta");
    ExpectBothOf(log_);
    node_.Checkpoint();
    node_.Start();
    EXPECT_THAT(node_->ApartOf(ApartNode::kPartition), IsEmpty());
    EXPECT_TRUE(node_->Snapshot(Org("acme")).ok()) << "it is at the checkpoint again";
    ExpectBothOf(log_);
  }
}

// The backup is of a time whose events the log has lost and replaced.
TEST_F(StoreRestoredTest, OfAnotherHistoryItIsBuiltAnew) {
  node_.Stop();
  PutBack();
  const auto last = std::find_if(log_.begin(), log_.end(),
                                 [&](const auto& event) { return event.offset == held_; });
  *last = AccountEvent("acme", held_.value(), "another", "U2");
  node_.Start();
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  EXPECT_TRUE(node_->LookForTrouble(ApartNode::kPartition).ok());
  ExpectBothOf(log_);
  EXPECT_TRUE(fs::exists(node_.FolderOf("acme") + ".damaged-1"));
  EXPECT_TRUE(node_->LookForTrouble(ApartNode::kPartition).ok())
      << "its neighbours' history is right";
}

TEST_F(StoreRestoredTest, OfAnotherOrganisationItIsBuiltAnew) {
  node_.Stop();
  fs::remove_all(node_.FolderOf("acme"));
  fs::copy(node_.FolderOf("beta"), node_.FolderOf("acme"));
  ExpectBuiltAnew();
}

TEST_F(StoreRestoredTest, HalfCopiedItIsBuiltAnew) {
  node_.Stop();
  PutBack();
  for (const auto& entry : fs::directory_iterator(node_.FolderOf("acme"))) {
    if (entry.path().extension() == ".sst") {
      fs::remove(entry.path());
      break;
    }
  }
  ExpectBuiltAnew();
}

TEST_F(StoreRestoredTest, OfAnOlderIncarnationItIsBuiltAnew) {
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  log_.push_back(testing::MakeEvent(Next(), closed, "acme"));
  const Offset opened(offset_ + 1);
  for (auto& event : OrgWithAccounts("acme", Next(), 2)) {
    offset_ = event.offset.value();
    log_.push_back(std::move(event));
  }
  Add(6);
  node_.CatchUp(log_);
  node_.Checkpoint();
  node_.Stop();
  const std::string folder = node_.FolderOf("acme", 2);
  fs::remove_all(folder);
  fs::copy(dir_ / "backup", folder);
  node_.Start();
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  EXPECT_TRUE(node_->LookForTrouble(ApartNode::kPartition).ok());
  EXPECT_EQ(node_->ApartOf(ApartNode::kPartition).at(0).reason, "store_corrupt");
  EXPECT_EQ(node_->ApartOf(ApartNode::kPartition).at(0).next, opened);
  node_.CatchUp(log_);
  node_.ExpectFoldOf("acme", LogAfter(Offset(opened.value() - 1)));
  EXPECT_TRUE(fs::exists(folder + ".damaged-1"));
}

// The partition's checkpoint goes back where all of its stores have gone; but as long as nothing
// was read, which may be for want of events in the log, that is not for good.
TEST_F(StoreRestoredTest, AllOfAPartitionComeBack) {
  const Offset checkpoint = node_.next();
  node_.Stop();
  fs::copy(node_.FolderOf("beta"), dir_ / "backup-beta");
  for (const std::string org : {"acme", "beta"}) {
    fs::remove_all(node_.FolderOf(org));
  }
  for (int i = 0; i < 2; ++i) {
    node_.Start();
    EXPECT_EQ(node_.next(), Offset(0));
  }
  node_.Stop();
  PutBack();
  fs::create_directories(node_.FolderOf("beta"));
  fs::copy(dir_ / "backup-beta", node_.FolderOf("beta"));
  node_.Start();
  EXPECT_EQ(node_.next(), checkpoint);
  EXPECT_EQ(CodeOfReader(), "not_caught_up");
  EXPECT_TRUE(node_->Snapshot(Org("beta")).ok());
  EXPECT_TRUE(node_->LookForTrouble(ApartNode::kPartition).ok());
  ExpectBothOf(LogAfter(held_));
}

}  // namespace
}  // namespace sluice::projectors

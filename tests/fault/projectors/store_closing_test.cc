#include <gtest/gtest.h>

#include <filesystem>

#include "tests/support/store_node.h"
#include "tests/support/temp_dir.h"

// Organisations that are closed and opened again, with crashes at the worst moments.
namespace sluice::projectors {
namespace {

namespace fs = std::filesystem;
using eventlog::StoredEvent;
using testing::AccountEvent;
using testing::Org;
using testing::StoreNode;
using Log = std::vector<StoredEvent>;

StoredEvent CloseEvent(std::string_view org, int64_t offset, uint32_t incarnation) {
  v1::OrgClosed closed;
  closed.set_incarnation(incarnation);
  return testing::MakeEvent(offset, closed, org);
}

void Append(Log* log, Log events) {
  std::move(events.begin(), events.end(), std::back_inserter(*log));
}

Log Slice(const Log& log, int64_t first, int64_t last) {
  Log slice;
  std::copy_if(log.begin(), log.end(), std::back_inserter(slice), [&](const StoredEvent& e) {
    return e.offset >= Offset(first) && e.offset <= Offset(last);
  });
  return slice;
}

// acme: open at 0, an account at 10, a rejected event at 11 (no such entity), closed at 12, open
// again at 20, an account at 30. beta: open at 40, an account at 50.
class StoreClosing : public ::testing::Test {
 protected:
  StoreClosing() {
    Append(&log_, testing::OrgWithAccounts("acme", 0));
    log_.push_back(AccountEvent("acme", 10, "A1", "U1", "s1"));
    log_.push_back(testing::MakeEvent(11, testing::MakeSet({testing::Upsert(9, "X", "")}), "acme"));
    log_.push_back(CloseEvent("acme", 12, 1));
    Append(&log_, testing::OrgWithAccounts("acme", 20, 2));
    log_.push_back(AccountEvent("acme", 30, "A2", "U1", "s2"));
    Append(&log_, testing::OrgWithAccounts("beta", 40));
    log_.push_back(AccountEvent("beta", 50, "B1", "U1", "s1"));
  }
  Log Until(int64_t last) const { return Slice(log_, 0, last); }
  void ExpectEnd() {
    node_.ExpectFoldOf("acme", Slice(log_, 20, 30));
    node_.ExpectFoldOf("beta", Slice(log_, 40, 50));
    EXPECT_FALSE(fs::exists(node_.FolderOf("acme", 1)));
  }

  const testing::TempDir dir_;
  Log log_;
  StoreNode node_{testing::SmallStoreOptions(dir_ / "node")};
};

TEST_F(StoreClosing, ANewIncarnationInTheSameBatch) {
  node_.CatchUp(log_, 100);
  ExpectEnd();
  node_.Restart();
  node_.CatchUp(log_, 100);
  ExpectEnd();
}

TEST_F(StoreClosing, ACrashAfterEachEventWithAndWithoutCheckpoint) {
  for (const bool checkpoint : {false, true}) {
    SCOPED_TRACE(checkpoint);
    const testing::TempDir dir;
    StoreNode node(testing::SmallStoreOptions(dir / "node"));
    for (size_t count = 1; count <= log_.size(); ++count) {
      node.CatchUp({log_.begin(), log_.begin() + static_cast<std::ptrdiff_t>(count)}, 1);
      if (checkpoint && count % 3 == 0) {
        node.Checkpoint();
      }
      node.Crash();
    }
    node.CatchUp(log_);
    node.ExpectFoldOf("acme", Slice(log_, 20, 30));
    node.ExpectFoldOf("beta", Slice(log_, 40, 50));
    for (const Rejected& rejected : node.rejected) {
      EXPECT_EQ(rejected.offset, Offset(11)) << rejected.code << " for what is no error";
    }
    node.Restart();
    node.ExpectFoldOf("acme", Slice(log_, 20, 30));
  }
}

TEST_F(StoreClosing, ClosedIsNotFoundAndItsLastPositionStaysKnown) {
  node_.CatchUp(Until(12));
  EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "org_not_found");
  EXPECT_EQ(node_->AppliedOf(Org("acme")), Offset(12));
  node_.Restart();
  EXPECT_EQ(node_->AppliedOf(Org("acme")), Offset(12));
  EXPECT_FALSE(fs::exists(node_.FolderOf("acme", 1)));
}

TEST_F(StoreClosing, DeletionWaitsForAReader) {
  node_.CatchUp(Until(11));
  auto snapshot = node_->Snapshot(Org("acme"));
  ASSERT_TRUE(snapshot.ok()) << snapshot.status();
  node_.CatchUp(log_);
  EXPECT_TRUE(fs::exists(node_.FolderOf("acme", 1)));
  const auto record = (*snapshot)->GetRecordIn({EntityId(1), "A1"}, {});
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_TRUE(record->has_value()) << "the old incarnation is read to the end";
  EXPECT_EQ((*snapshot)->applied().position, Offset(11));
  snapshot = absl::CancelledError();
  node_.Checkpoint();
  ExpectEnd();
}

TEST_F(StoreClosing, AFolderLeftByACrashBetweenMarkAndDeletionIsRemoved) {
  node_.CatchUp(Until(11));
  node_.Checkpoint();
  const std::string folder = node_.FolderOf("acme", 1);
  fs::copy(folder, dir_ / "copy");
  node_.CatchUp(log_);
  node_.Checkpoint();
  node_.Stop();
  fs::copy(dir_ / "copy", folder);
  node_.Start();
  EXPECT_FALSE(fs::exists(folder));
  EXPECT_TRUE(fs::exists(node_.FolderOf("acme", 2)));
  ExpectEnd();
}

TEST_F(StoreClosing, ReplayBelowTheClosedMarkDoesNotOpenItAgain) {
  node_.CatchUp(Until(12));
  node_.CatchUp(Until(12));
  EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "org_not_found");
  // A sequencer may repeat an event after a crash, even behind the closing.
  log_.insert(log_.begin() + 7, testing::MakeEvent(13, testing::OpenOrg(1), "acme"));
  node_.CatchUp(Until(13));
  EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "org_not_found");
  node_.CatchUp(log_);
  ExpectEnd();
}

TEST_F(StoreClosing, RejectionsOfItsLastBatchAreToldAgainUntilACheckpointPassesThem) {
  const auto offsets = [&] {
    std::vector<int64_t> found;
    for (const Rejected& rejected : std::exchange(node_.rejected, {})) {
      found.push_back(rejected.offset.value());
    }
    return found;
  };
  node_.CatchUp(Until(12), 100);
  EXPECT_EQ(offsets(), std::vector<int64_t>{11});
  node_.Crash();
  node_.CatchUp(Until(12), 100);
  EXPECT_EQ(offsets(), std::vector<int64_t>{11}) << "the store is gone, its rejections are not";
  node_.Crash();
  node_.CatchUp(log_, 100);
  EXPECT_EQ(offsets(), std::vector<int64_t>{11});
  node_.Restart();
  node_.CatchUp(log_, 3);
  EXPECT_EQ(offsets(), std::vector<int64_t>{11}) << "there is a new incarnation's store";
  node_.Checkpoint();
  const auto again = node_->Apply(StoreNode::kPartition, log_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_TRUE(again->rejected.empty());
  node_.Crash();
  const auto last = node_->Apply(StoreNode::kPartition, log_);
  ASSERT_TRUE(last.ok()) << last.status();
  EXPECT_TRUE(last->rejected.empty());
  ExpectEnd();
}

TEST_F(StoreClosing, RejectionsKeptInTheStoreOutliveIt) {
  node_.CatchUp(Until(11), 1);  // the rejection is in the store before the closing comes
  node_.CatchUp(Until(12), 1);
  node_.rejected.clear();
  node_.Crash();
  node_.CatchUp(Until(12), 1);
  ASSERT_EQ(node_.rejected.size(), 1U);
  EXPECT_EQ(node_.rejected[0].offset, Offset(11));
}

}  // namespace
}  // namespace sluice::projectors

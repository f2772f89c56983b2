// One organisation's work, or trouble, is its own: who is set apart, and how it comes back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <filesystem>

#include "projectors/store/apart_set.h"
#include "projectors/store/node_store.h"
#include "tests/support/hot_row.h"
#include "tests/unit/projectors/store/store_apart_testing.h"

namespace sluice::projectors {
namespace {

namespace fs = std::filesystem;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr PartitionId kPartition = kApartPartition;

TEST_F(StoreApartTest, ALargeEventIsDoneApartAndNeighboursGoOn) {
  node_.CatchUp(log_);
  const Offset before = node_->AppliedOf(Org("acme"));
  AddLarge();
  Add(20);
  node_.MainToEnd(log_, 50);
  node_.ExpectFoldOf("beta", log_);
  const auto apart = node_->ApartOf(kPartition);
  ASSERT_THAT(apart, SizeIs(1));
  EXPECT_EQ(apart[0].reason, "large_event");
  EXPECT_FALSE(apart[0].hidden);
  // Readers keep the state before.
  EXPECT_LE(node_->AppliedOf(Org("acme")), apart[0].next);
  EXPECT_GE(node_->AppliedOf(Org("acme")), before);
  EXPECT_TRUE(node_->Snapshot(Org("acme")).ok());
  node_.Checkpoint();
  node_.Side(log_, 4);
  node_.Start();  // a crash: the checkpoint is beyond acme's position, and remembers it
  EXPECT_THAT(node_->ApartOf(kPartition), SizeIs(1));
  node_.CatchUp(log_);
  ExpectBoth();
}

// However many rows point at it: its places are not read by the thread that others wait for.
TEST(HotRowApartTest, AChangeOfARowThatManyPointAtIsDoneApart) {
  const testing::TempDir dir;
  testing::HotRowEvents events;
  ApartNode::Log log = events.Definitions();
  log.push_back(events.Product("hot"));
  for (int from = 0; from < 4'200; from += 300) {
    log.push_back(events.Orders(from, from + 300));
  }
  StoreOptions options = testing::SmallStoreOptions(dir / "node");
  options.registry = std::make_shared<prometheus::Registry>();
  ApartNode node(options);
  node.CatchUp(log);
  const auto parts = [&] {
    const std::string text = prometheus::TextSerializer().Serialize(options.registry->Collect());
    const std::string name = "\nsluice_store_event_parts_total ";
    return std::stod(text.substr(text.find(name) + name.size()));
  };
  const double before = parts();
  log.push_back(events.Order(4'200));
  ASSERT_TRUE(node.Main(log, 1));
  EXPECT_THAT(node->ApartOf(kPartition), IsEmpty());
  log.push_back(events.Product("cold"));
  ASSERT_TRUE(node.Main(log, 1));
  const auto apart = node->ApartOf(kPartition);
  ASSERT_THAT(apart, SizeIs(1));
  EXPECT_EQ(apart[0].reason, "large_event");
  EXPECT_FALSE(apart[0].hidden);
  EXPECT_EQ(parts(), before) << "it was begun";
  node.CatchUp(log);
  node.ExpectFoldOf("acme", log);
  EXPECT_THAT(node->ApartOf(kPartition), IsEmpty());
}

// However little it says: it is not the set that takes room and time, but the rows.
TEST_F(StoreApartTest, ASmallSetOfLargeRowsTakesOneTurnOfTheMainThread) {
  StoreOptions options = testing::SmallStoreOptions(dir_ / "large");
  options.registry = std::make_shared<prometheus::Registry>();
  ApartNode node(options);
  constexpr int kRows = 60;
  std::vector<v1::Operation> patches;
  for (int i = 0; i < kRows; ++i) {
    const std::string key = "L" + std::to_string(i);
    const std::string row =
        testing::RowWriter().Text(1, key).Text(2, "U1").Text(3, std::string(400'000, 't')).bytes();
    log_.push_back(
        testing::MakeEvent(Next(), testing::MakeSet({testing::Upsert(1, key, row)}), "acme"));
    patches.push_back(testing::Patch(1, key, testing::RowWriter().Text(2, "U2").bytes()));
  }
  node.CatchUp(log_);
  const auto metric = [&](const std::string& name) {
    const std::string text = prometheus::TextSerializer().Serialize(options.registry->Collect());
    return std::stod(text.substr(text.find("\n" + name + " ") + name.size() + 2));
  };
  const double parts = metric("sluice_store_event_parts_total");
  const double held = metric("sluice_store_step_bytes_sum");
  const double steps = metric("sluice_store_step_bytes_count");
  log_.push_back(testing::MakeEvent(Next(), testing::MakeSet(patches), "acme"));
  Add(1, "beta");
  ASSERT_TRUE(node.Main(log_, 2));
  node.ExpectFoldOf("beta", log_);
  const auto apart = node->ApartOf(kPartition);
  ASSERT_THAT(apart, SizeIs(1));
  EXPECT_EQ(apart[0].reason, "large_event");
  EXPECT_EQ(metric("sluice_store_event_parts_total"), parts + 1) << "between it and its neighbour";
  EXPECT_EQ(metric("sluice_store_step_bytes_count"), steps + 2);
  EXPECT_LE(metric("sluice_store_step_bytes_sum") - held, 12 << 20);
  node.Checkpoint();
  node.Side(log_, 4);
  node.Start();  // a crash amid its operations
  node.CatchUp(log_);
  node.ExpectFoldOf("acme", log_);
  EXPECT_THAT(node->ApartOf(kPartition), IsEmpty());
}

TEST_F(StoreApartTest, WhoIsApartIsGivenBackOnlyAtTheEndOfTheMainThreadsBatch) {
  ApartSet set;
  const ApartOrg org{Org("acme"), Offset(10), "large_event"};
  set.WorkOn(kPartition, Offset(20));
  set.Set(kPartition, {.state = org});
  ApartOrg known = set.Of(kPartition).at(0).state;
  EXPECT_FALSE(set.Advance(kPartition, known, Offset(19)));
  set.WorkOn(kPartition, Offset(40));
  EXPECT_FALSE(set.Advance(kPartition, known, Offset(39)));
  EXPECT_EQ(set.Find(kPartition, "acme")->state.next, Offset(39));
  // Its position is set anew: what was read for the old one does not move it.
  set.Set(kPartition, {.state = org});
  EXPECT_FALSE(set.Advance(kPartition, known, Offset(40)));
  EXPECT_EQ(set.Find(kPartition, "acme")->state.next, Offset(10));
  known = set.Of(kPartition).at(0).state;
  EXPECT_TRUE(set.Advance(kPartition, known, Offset(40)));
  EXPECT_FALSE(set.Find(kPartition, "acme").has_value());
}

// It was apart, and had come to 501 of a log that has lost its end since: what it came by there was
// of another history, whose place what comes now takes.
TEST_F(StoreApartTest, HowFarSomebodyHadComeInALostHistoryIsNotBelieved) {
  node_.MainToEnd(log_, 7);
  node_.Checkpoint();
  node_.Stop();
  const Offset end(log_.back().offset.value() + 1);
  {
    const auto env = std::make_shared<RocksEnv>(RocksEnv::Limits{});
    const auto remembered = NodeStore::Open(env, Options().path + "/node", Options().log_id);
    ASSERT_TRUE(remembered.ok()) << remembered.status();
    const ApartOrg acme{.org = Org("acme"), .next = Offset(501), .reason = "store_io_error"};
    ASSERT_TRUE((*remembered)->PutApart(kPartition, acme).ok());
  }
  node_.Start();
  const auto apart = node_->ApartStateOf(kPartition, Org("acme"));
  ASSERT_TRUE(apart.has_value());
  EXPECT_EQ(apart->next, end);
  EXPECT_EQ(node_->ApartFrom(kPartition, *apart, kNoOffset), end);
  Add(10);
  node_.CatchUp(log_);
  ExpectBoth();
}

// The side thread reads for itself, and had come further: by then what comes to the main thread may
// be of another history.
TEST_F(StoreApartTest, AStoreThatComesBackWithMoreThanItsPartitionIsComparedAgain) {
  int asked = 0;
  StoreOptions options = Options();
  options.path = dir_ / "compared";
  options.check_history = [&asked](PartitionId, Offset, uint64_t) {
    ++asked;
    return Error(absl::StatusCode::kDataLoss, "log_diverged", "another event");
  };
  ApartNode node(options);
  AddLarge();
  node.MainToEnd(log_, 7);
  Add(10, "acme");  // which the main thread has yet to come by
  while (!node->ApartOf(kPartition).empty()) {
    const ApartOrg acme = node->ApartOf(kPartition).front();
    ApartNode::Log events;
    for (const auto& event : log_) {
      if (event.event.key == "acme" &&
          event.offset >= node->ApartFrom(kPartition, acme, kNoOffset)) {
        events.push_back(event);
      }
    }
    ApplyResult result;
    if (!events.empty()) {
      ASSERT_TRUE(node->ApplyApart(kPartition, acme, events, &result).ok());
    } else {
      ASSERT_TRUE(node->AdvanceApart(kPartition, acme, Offset(offset_ + 1)).ok());
    }
  }
  EXPECT_EQ(asked, 0);
  log_.back() = testing::AccountEvent("beta", offset_, "A1", "U1");
  Add(1, "acme");
  const ApartNode::Log last(log_.end() - 2, log_.end());
  EXPECT_EQ(ErrorCode(node->Apply(kPartition, last).status()), "log_diverged");
  EXPECT_EQ(asked, 1);
}

// What its second thread has read may be of another history; for the moment the store can't tell.
TEST_F(StoreApartTest, AStoreThatCannotBeOpenedToBeComparedIsComparedWhenItIs) {
  int asked = 0;
  StoreOptions options = Options();
  options.path = dir_ / "compared";
  options.open_stores_max = 1;  // whoever is not used is closed
  options.check_history = [&asked](PartitionId, Offset, uint64_t) {
    ++asked;
    return Error(absl::StatusCode::kDataLoss, "log_diverged", "another event");
  };
  ApartNode node(options);
  node.MainToEnd(log_, 7);
  const std::string large(600 << 10, 'x');
  log_.push_back(testing::AccountEvent("acme", Next(), "A1", large));
  node.MainToEnd(log_, 7);
  ASSERT_THAT(node->ApartOf(kPartition), SizeIs(1));
  EXPECT_TRUE(node->Snapshot(Org("beta")).ok());
  node.LoseFolder("acme");
  const ApartOrg acme = node->ApartOf(kPartition).front();
  EXPECT_TRUE(node->CheckApart(kPartition, acme, [] { return false; }).ok());
  node.RestoreFolders();
  EXPECT_EQ(asked, 0);
  ApplyResult result;
  const ApartNode::Log last(log_.end() - 1, log_.end());
  EXPECT_EQ(ErrorCode(node->ApplyApart(kPartition, acme, last, &result).status()), "log_diverged");
  EXPECT_EQ(asked, 1);
}

TEST_F(StoreApartTest, ADamagedStoreIsMovedAsideAndBuiltAnew) {
  DamageAcme();
  ExpectRebuildOfAcme();
  EXPECT_TRUE(fs::exists(node_.FolderOf("acme") + ".damaged-1"));
}

TEST_F(StoreApartTest, OneDamagedFolderIsKept) {
  for (int round = 1; round <= 3; ++round) {
    DamageAcme();
    Add(10);
    node_.CatchUp(log_);
    EXPECT_TRUE(fs::exists(node_.FolderOf("acme") + ".damaged-" + std::to_string(round)));
    EXPECT_FALSE(fs::exists(node_.FolderOf("acme") + ".damaged-" + std::to_string(round - 1)));
  }
  // It goes with its organisation.
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  log_.push_back(testing::MakeEvent(Next(), closed, "acme"));
  node_.CatchUp(log_);
  node_.Checkpoint();
  EXPECT_FALSE(fs::exists(fs::path(node_.FolderOf("acme")).parent_path()));
}

TEST_F(StoreApartTest, AReaderThatFindsDamageHasItMended) {
  DamageAcme();
  EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "not_caught_up");
  EXPECT_THAT(node_->ApartOf(kPartition), IsEmpty());
  EXPECT_TRUE(node_->LookForTrouble(kPartition).ok());
  EXPECT_THAT(node_->ApartOf(kPartition), SizeIs(1));
  node_.CatchUp(log_);
  ExpectBoth();
}

TEST_F(StoreApartTest, HowFarStoresAreIsKnownWithoutOpeningThem) {
  EXPECT_EQ(node_->KnownAppliedOf(Org("acme")), kNoOffset);
  node_.CatchUp(log_);
  const Offset applied = node_->AppliedOf(Org("acme"));
  EXPECT_EQ(node_->KnownAppliedOf(Org("acme")), applied);
  node_.Checkpoint();
  node_.Stop();
  fs::rename(node_.FolderOf("acme") + "/CURRENT", dir_ / "kept");  // it can't be opened
  node_.Start();
  EXPECT_EQ(node_->KnownAppliedOf(Org("acme")), applied);
  node_.Stop();
  fs::rename(dir_ / "kept", node_.FolderOf("acme") + "/CURRENT");
  node_.Start();
  Add(6);
  node_.CatchUp(log_);
  EXPECT_EQ(node_->KnownAppliedOf(Org("acme")), node_->AppliedOf(Org("acme")));
  EXPECT_GT(node_->KnownAppliedOf(Org("acme")), applied);
}

TEST_F(StoreApartTest, AFolderThatHasGoneIsBuiltAnewBesideItsNeighbours) {
  node_.CatchUp(log_);
  node_.Checkpoint();
  const Offset next = node_.next();
  node_.Stop();
  fs::remove_all(node_.FolderOf("acme"));
  node_.Start();
  EXPECT_EQ(node_.next(), next) << "the partition is not sent back";
  ExpectRebuildOfAcme();
}

// Who was apart had a position that counts on its store.
TEST_F(StoreApartTest, WhereAllFoldersHaveGoneNobodyIsApartAnyMore) {
  node_.CatchUp(log_);
  AddLarge();
  node_.MainToEnd(log_, 50);
  node_.Checkpoint();
  node_.Start();
  EXPECT_THAT(node_->ApartOf(kPartition), SizeIs(1));
  node_.Stop();
  for (const std::string org : {"acme", "beta"}) {
    fs::remove_all(node_.FolderOf(org));
  }
  for (int i = 0; i < 2; ++i) {
    node_.Start();
    EXPECT_THAT(node_->ApartOf(kPartition), IsEmpty());
  }
  node_.CatchUp(log_);
  ExpectBoth();
}

// An error of one store's files at a checkpoint: the checkpoint is everybody else's.
TEST_F(StoreApartTest, AStoreThatCannotBeFlushedDoesNotStopTheCheckpoint) {
  node_.CatchUp(log_);
  node_.Checkpoint();
  for (const bool crash : {true, false}) {
    Add(20);
    node_.MainToEnd(log_, 7);
    node_.LoseFolder("acme");
    node_.Checkpoint();
    EXPECT_EQ(node_->CheckpointOf(kPartition), node_.next());
    auto apart = node_->ApartOf(kPartition);
    ASSERT_THAT(apart, SizeIs(1));
    EXPECT_EQ(apart[0].org, Org("acme"));
    node_.ExpectFoldOf("beta", log_);
    // It is not given back as long as it cannot be flushed.
    for (int i = 0; i < 3; ++i) {
      node_.Side(log_, 100);
      EXPECT_THAT(node_->ApartOf(kPartition), SizeIs(1));
    }
    Add(10);
    node_.MainToEnd(log_, 7);
    node_.Checkpoint();
    node_.RestoreFolders();
    if (crash) {
      node_.Start();
      EXPECT_THAT(node_->ApartOf(kPartition), SizeIs(1));
    }
    node_.CatchUp(log_);
    ExpectBoth();
    Add(2);
    node_.CatchUp(log_);
    node_.Checkpoint();
    node_.Start();
    EXPECT_THAT(node_->ApartOf(kPartition), IsEmpty());
    node_.CatchUp(log_);
    ExpectBoth();
  }
}

// What is applied while the stores are flushed is not claimed by the checkpoint.
TEST_F(StoreApartTest, EventsAreAppliedWhileACheckpointIsUnderWay) {
  node_.CatchUp(log_);
  node_.Checkpoint();
  Add(20);
  node_.CatchUp(log_);
  const Offset at_begin = node_.next();
  node_.StepOfCheckpoint();
  Add(20);
  AddLarge();  // acme is set apart, and given back, amid it
  node_.CatchUp(log_);
  node_.StepOfCheckpoint();
  Add(20);
  AddLarge();
  node_.MainToEnd(log_, 7);
  node_.StepOfCheckpoint();
  node_.Start();
  EXPECT_EQ(node_.next(), at_begin);
  node_.CatchUp(log_);
  ExpectBoth();
}

TEST_F(StoreApartTest, ACheckpointThatIsNotEndedHasWrittenNothing) {
  node_.CatchUp(log_);
  node_.Checkpoint();
  const Offset before = node_.next();
  Add(20);
  node_.CatchUp(log_);
  node_.StepOfCheckpoint();
  node_.StepOfCheckpoint();
  node_.Start();
  EXPECT_EQ(node_.next(), before);
  node_.CatchUp(log_);
  ExpectBoth();
}

TEST_F(StoreApartTest, AStoreWhoseFilesCannotBeReadForLongIsBuiltAnew) {
  node_.CatchUp(log_);
  node_.Checkpoint();
  node_.Start();
  node_.LoseFolder("acme");
  Add(20);
  node_.MainToEnd(log_, 7);
  for (int i = 0; i < 8; ++i) {
    node_.Side(log_, 4);
    EXPECT_EQ(ErrorCode(node_.last_error), "store_io_error");
  }
  EXPECT_FALSE(fs::exists(node_.FolderOf("acme") + ".damaged-1")) << "it may pass";
  node_.CatchUp(log_);
  ExpectBoth();
  EXPECT_TRUE(fs::exists(node_.FolderOf("acme") + ".damaged-1"));
  node_.Checkpoint();
  node_.Start();
  node_.CatchUp(log_);
  ExpectBoth();
}

// Nobody writes to it, so nothing but readers finds that it cannot be opened.
class QuietStoreTest : public StoreApartTest {
 protected:
  void SetUp() override {
    node_.CatchUp(log_);
    node_.Checkpoint();
    node_.Start();
    node_.LoseFolder("acme");
    EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "store_io_error");
    EXPECT_TRUE(node_->LookForTrouble(kPartition).ok());
    const auto apart = node_->ApartOf(kPartition);
    ASSERT_THAT(apart, SizeIs(1));
    EXPECT_EQ(apart[0].reason, "store_io_error");
    for (int i = 0; i < 8; ++i) {
      node_.Side(log_, 4);
      EXPECT_EQ(ErrorCode(node_.last_error), "store_io_error");
      EXPECT_EQ(ErrorCode(node_->Snapshot(Org("acme")).status()), "not_caught_up");
    }
    EXPECT_THAT(node_->ApartOf(kPartition), SizeIs(1));
  }
  bool Rebuilt() { return fs::exists(node_.FolderOf("acme") + ".damaged-1"); }
};

TEST_F(QuietStoreTest, IsBuiltAnewWhereItCannotBeOpenedForLong) {
  EXPECT_FALSE(Rebuilt()) << "it may pass";
  node_.CatchUp(log_);
  ExpectBoth();
  EXPECT_TRUE(Rebuilt());
}

TEST_F(QuietStoreTest, ComesBackAsItWasWhereItCanBeOpenedAgain) {
  node_.RestoreFolders();
  node_.CatchUp(log_);
  ExpectBoth();
  EXPECT_FALSE(Rebuilt());
}

}  // namespace
}  // namespace sluice::projectors

#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <algorithm>
#include <set>
#include <sstream>

#include "schemas/base/status.h"
#include "tests/support/store_node.h"
#include "tests/support/temp_dir.h"

// Events that are larger than one batch, and removals that the horizon has passed.
namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using testing::AccountEvent;
using testing::Org;
using testing::StoreNode;
using Log = std::vector<StoredEvent>;

class LargeEventTest : public ::testing::Test {
 protected:
  StoreOptions Options() {
    StoreOptions options = testing::SmallStoreOptions(dir_ / "node");
    options.registry = registry_;
    return options;
  }
  double Metric(const std::string& name) {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, registry_->Collect());
    const std::string lines = text.str();
    const size_t at = lines.find("\n" + name + " ");
    return at == std::string::npos ? -1 : std::stod(lines.substr(at + name.size() + 2));
  }
  // So many accounts, and then an event that gives each a second bucket.
  Log AccountsAndProfile(int accounts) {
    Log log = testing::OrgWithAccounts("acme", 0);
    for (int i = 0; i < accounts; ++i) {
      log.push_back(AccountEvent("acme", 10 + i, "A" + std::to_string(i), "U1"));
    }
    log.push_back(testing::MakeEvent(
        1000, testing::DefineProfile("team", {{"account", {v1::RULE_KIND_TEAM}}}, {"sales"}),
        "acme"));
    log.push_back(testing::MakeEvent(
        1001, testing::DefineProfile("field", {{"account", {v1::RULE_KIND_USER}}}, {"sales"}),
        "acme"));
    return log;
  }

  const testing::TempDir dir_;
  const std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
};

TEST_F(LargeEventTest, ReadersSeeTheStateBeforeUntilItIsWhole) {
  StoreNode node(Options());
  const Log log = AccountsAndProfile(100);
  node.CatchUp({log.begin(), log.end() - 1});
  const StoredEvent& large = log.back();
  int parts = 0;
  const auto stopped =
      node->Apply(StoreNode::kPartition, {&large, 1}, [&] { return ++parts == 3; });
  EXPECT_TRUE(absl::IsCancelled(stopped.status())) << stopped.status();
  EXPECT_EQ(node->AppliedOf(Org("acme")), Offset(1000));
  const auto before = node->Snapshot(Org("acme")).value();
  EXPECT_EQ(before->model()->profiles().at("field")->entities(0).rules_size(), 2);
  EXPECT_EQ(before->Bucket(MakeBucketName("e1|all").key).value().count, 100u);
  EXPECT_TRUE(node->Verify(Org("acme")).ok());
  ASSERT_TRUE(node->Apply(StoreNode::kPartition, {&large, 1}).ok());
  EXPECT_EQ(node->Snapshot(Org("acme")).value()->Bucket(MakeBucketName("e1|all").key)->count, 0u);
  node.ExpectFoldOf("acme", log);
  EXPECT_GE(Metric("sluice_store_event_parts_total"), 9);
}

// The parts add up; what an earlier process wrote of them is not known.
TEST_F(LargeEventTest, ItsChangesAreToldWhenItIsWhole) {
  StoreNode node(Options());
  Log log = AccountsAndProfile(100);
  node.CatchUp({log.begin(), log.end() - 1});
  std::vector<AppliedChange> changes;
  const auto note = [&](const AppliedChange& change) { changes.push_back(change); };
  node->Subscribe(Org("acme"), note);
  int parts = 0;
  EXPECT_TRUE(absl::IsCancelled(
      node->Apply(StoreNode::kPartition, {&log.back(), 1}, [&] { return ++parts == 3; }).status()));
  EXPECT_TRUE(changes.empty());
  ASSERT_TRUE(node->Apply(StoreNode::kPartition, {&log.back(), 1}).ok());
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].applied, Offset(1001));
  EXPECT_TRUE(changes[0].definitions);
  ASSERT_NE(changes[0].buckets, nullptr);
  EXPECT_TRUE(std::ranges::binary_search(*changes[0].buckets, MakeBucketName("e1|all").key));

  log.push_back(testing::MakeEvent(
      1002,
      testing::DefineProfile("field", {{"account", {v1::RULE_KIND_USER, v1::RULE_KIND_ALL}}},
                             {"sales"}),
      "acme"));
  parts = 0;
  EXPECT_TRUE(absl::IsCancelled(
      node->Apply(StoreNode::kPartition, {&log.back(), 1}, [&] { return ++parts == 3; }).status()));
  node.Restart();
  changes.clear();
  node->Subscribe(Org("acme"), note);
  node.CatchUp(log);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].applied, Offset(1002));
  EXPECT_EQ(changes[0].buckets, nullptr);
}

// The log was restored to a time before it, and went on with another.
TEST_F(LargeEventTest, AnotherEventIsNotTakenForItsRest) {
  StoreOptions options = Options();
  const Log log = AccountsAndProfile(100);
  std::vector<std::pair<Offset, uint64_t>> asked;
  options.check_history = [&](PartitionId, Offset offset, uint64_t hash) {
    asked.emplace_back(offset, hash);
    return offset < Offset(1001)
               ? absl::OkStatus()
               : Error(absl::StatusCode::kDataLoss, "log_diverged", "another event");
  };
  StoreNode node(options);
  node.CatchUp({log.begin(), log.end() - 1});
  int parts = 0;
  const auto stopped =
      node->Apply(StoreNode::kPartition, {&log.back(), 1}, [&] { return ++parts == 3; });
  ASSERT_TRUE(absl::IsCancelled(stopped.status()));
  node.Checkpoint();
  node.Crash();
  Log other = log;
  other.back() = AccountEvent("acme", 1001, "another", "U2");
  EXPECT_EQ(ErrorCode(node.TryCatchUp(other)), "log_diverged");
  ASSERT_FALSE(asked.empty());
  EXPECT_EQ(asked.back(), std::pair(Offset(1001), eventlog::EventHash(log.back().event)));
}

TEST_F(LargeEventTest, ItGoesOnWhereItWasOnDisk) {
  StoreNode node(Options());
  const Log log = AccountsAndProfile(100);
  node.CatchUp({log.begin(), log.end() - 1});
  int parts = 0;
  const auto stopped =
      node->Apply(StoreNode::kPartition, {&log.back(), 1}, [&] { return ++parts == 3; });
  ASSERT_TRUE(absl::IsCancelled(stopped.status()));
  node.Checkpoint();
  const double before = Metric("sluice_store_event_parts_total");
  node.Crash();
  // The state before the event is gone, the one after it is yet to come.
  const auto snapshot = node->Snapshot(Org("acme"));
  EXPECT_TRUE(absl::IsUnavailable(snapshot.status())) << snapshot.status();
  EXPECT_EQ(ErrorCode(snapshot.status()), "not_caught_up");
  node.CatchUp(log);
  node.ExpectFoldOf("acme", log);
  const double parts_in_all = Metric("sluice_store_event_parts_total");
  EXPECT_LT(parts_in_all - before, before + 9) << "it began anew";
  EXPECT_EQ(node->Snapshot(Org("acme")).value()->applied().position, Offset(1001));
}

// A source's set is applied in part, and so is what was rejected of it: whoever goes on is told.
TEST_F(LargeEventTest, WhatWasRejectedOfAPartIsToldAgain) {
  StoreNode node(Options());
  Log log = testing::OrgWithAccounts("acme", 1);
  node.CatchUp(log);
  v1::ChangeSet set;
  set.set_only_changes(true);
  for (int i = 0; i < 3'000; ++i) {
    *set.add_ops() = testing::Delete(9, "A1");
  }
  for (const bool restarted : {false, true}) {
    log.push_back(testing::MakeEvent(log.back().offset.value() + 1, set, "acme"));
    EXPECT_TRUE(absl::IsCancelled(
        node->Apply(StoreNode::kPartition, {&log.back(), 1}, [] { return true; }).status()));
    if (restarted) {
      node.Restart();
    }
    std::set<uint32_t> told;
    const auto applied = node->Apply(StoreNode::kPartition, {&log.back(), 1});
    ASSERT_TRUE(applied.ok()) << applied.status();
    for (const Rejected& rejected : applied->rejected) {
      EXPECT_TRUE(told.insert(rejected.op_index).second) << "once";
    }
    EXPECT_EQ(told.size(), 3'000U) << restarted;
  }
}

TEST_F(LargeEventTest, AStoreThatIsClosedAmidItIsOpenedThere) {
  StoreNode node(Options());
  const Log log = AccountsAndProfile(60);
  node.CatchUp({log.begin(), log.end() - 1});
  ASSERT_TRUE(absl::IsCancelled(
      node->Apply(StoreNode::kPartition, {&log.back(), 1}, [] { return true; }).status()));
  node.Restart();
  node.CatchUp(log);
  node.ExpectFoldOf("acme", log);
}

TEST_F(LargeEventTest, RemovalsPastTheHorizonAreErased) {
  StoreNode node(Options());  // the horizon is 500
  Log log = testing::OrgWithAccounts("acme", 0);
  int64_t offset = 10;
  for (int round = 0; round < 8; ++round) {
    for (int i = 0; i < 300; ++i) {
      const std::string key = "R" + std::to_string(round) + "-" + std::to_string(i);
      log.push_back(AccountEvent("acme", offset++, key, "U" + std::to_string(i % 7)));
      log.push_back(
          testing::MakeEvent(offset++, testing::MakeSet({testing::Delete(1, key)}), "acme"));
    }
  }
  node.CatchUp(log);
  // Each row leaves two buckets; the last 250 of them or so are younger than the horizon.
  EXPECT_GT(Metric("sluice_store_removals_swept_total"), 2'000);
  EXPECT_LT(Metric("sluice_store_removals_swept_total"), 2 * (8 * 300 - 240));
  node.ExpectFoldOf("acme", log);
  node.Restart();
  node.ExpectFoldOf("acme", log);
}

// They are erased from the records of the rows, which are read and written a few at a time.
TEST_F(LargeEventTest, SoAreThoseOfRowsThatAreLarge) {
  StoreNode node(Options());
  Log log = testing::OrgWithAccounts("acme", 0);
  int64_t offset = 10;
  constexpr int kRows = 12;
  for (const std::string owner : {"U1", "U2"}) {
    for (int i = 0; i < kRows; ++i) {
      const std::string key = "L" + std::to_string(i);
      const testing::RowWriter row =
          testing::RowWriter().Text(1, key).Text(2, owner).Text(3, std::string(400'000, 't'));
      log.push_back(testing::MakeEvent(
          offset++, testing::MakeSet({testing::Upsert(1, key, row.bytes())}), "acme"));
    }
  }
  for (int i = 0; i < 4'500; ++i) {  // several sweeps: what one leaves would be counted again
    log.push_back(AccountEvent("acme", offset++, "S" + std::to_string(i), "U3"));
  }
  node.CatchUp(log);
  EXPECT_EQ(Metric("sluice_store_removals_swept_total"), kRows);
  node.ExpectFoldOf("acme", log);
  node.Restart();
  node.ExpectFoldOf("acme", log);
}

TEST_F(LargeEventTest, AgeMovesTheHorizonToo) {
  StoreOptions options = Options();
  options.fold.tombstone_age = std::chrono::hours(64);
  StoreNode node(options);
  Log log = testing::OrgWithAccounts("acme", 0);
  for (int hour = 4; hour < 104; ++hour) {
    log.push_back(AccountEvent("acme", 10 + hour, "A" + std::to_string(hour), "U1"));
  }
  for (size_t hour = 0; hour < log.size(); ++hour) {
    log[hour].event.time = SystemTime(std::chrono::hours(1'000 + hour));
  }
  node.CatchUp(log);
  // At hour 103 what happened up to hour 39 is older than 64 hours; marks are 4 hours apart.
  EXPECT_EQ(node->Snapshot(Org("acme")).value()->applied().horizon, Offset(10 + 36));
  node.ExpectFoldOf("acme", log);
}

}  // namespace
}  // namespace sluice::projectors

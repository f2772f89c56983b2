#include "projectors/store/store_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "projectors/store/content_digest.h"
#include "tests/support/store_node.h"
#include "tests/support/temp_dir.h"

namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using testing::AccountEvent;
using testing::Org;
using testing::SmallStoreOptions;
using testing::StoreNode;
using Log = std::vector<StoredEvent>;

// The bucket of all accounts: its name is the rule's id.
BucketKey AllAccounts(const OrgSnapshot& snapshot) {
  for (const SyncRule* rule : snapshot.model()->rules().Find(EntityId(1))->rules) {
    if (rule->kind == v1::RULE_KIND_ALL) {
      return MakeBucketName(rule->id).key;
    }
  }
  ADD_FAILURE() << "no rule for all accounts";
  return BucketKey(0);
}

// "put A1@10.0" and so on, "old remove A1@10.0" for what is to be passed over.
std::vector<std::string> ScanAll(const OrgSnapshot& snapshot, Position after) {
  std::vector<std::string> ops;
  const auto scan = snapshot.Scan(AllAccounts(snapshot), after);
  for (; scan->Valid(); scan->Next()) {
    ops.push_back(std::string(scan->op().old ? "old " : "")
                      .append(scan->op().put ? "put " : "remove ")
                      .append(scan->op().key)
                      .append("@")
                      .append(scan->op().position.ToString()));
  }
  EXPECT_TRUE(scan->status().ok()) << scan->status();
  return ops;
}

std::vector<int64_t> OffsetsOf(const std::vector<Rejected>& rejected) {
  std::vector<int64_t> offsets;
  for (const Rejected& r : rejected) {
    offsets.push_back(r.offset.value());
  }
  return offsets;
}

class StoreManagerTest : public ::testing::Test {
 protected:
  StoredEvent Delete(int64_t offset, const std::string& key) {
    return testing::MakeEvent(offset, testing::MakeSet({testing::Delete(1, key)}), "acme");
  }
  StoredEvent Bad(int64_t offset) {
    return testing::MakeEvent(offset, testing::MakeSet({testing::Upsert(9, "X", "")}), "acme");
  }
  // Events that change no row, at every position up to `last`.
  void FillUntil(int64_t last) {
    for (int64_t offset = log_.back().offset.value() + 1; offset <= last; ++offset) {
      log_.push_back(testing::MakeEvent(offset, testing::MakeSet({}), "acme"));
    }
  }
  std::shared_ptr<const OrgSnapshot> Snapshot() { return node_->Snapshot(Org("acme")).value(); }

  const testing::TempDir dir_;
  StoreNode node_{SmallStoreOptions(dir_ / "node")};  // window 60, horizon 500
  Log log_ = testing::OrgWithAccounts("acme", 0);
};

TEST_F(StoreManagerTest, ASnapshotIsWholeAndStaysAsItWas) {
  log_.push_back(AccountEvent("acme", 10, "A1", "U1"));
  node_.CatchUp(log_);
  const auto before = Snapshot();
  const std::vector<std::string> ops = ScanAll(*before, {kNoOffset, 0});
  std::atomic<bool> done{false};
  std::atomic<int> seen{0};
  std::thread reader([&] {
    Offset last = kNoOffset;
    while (!done || seen == 0) {
      const auto snapshot = Snapshot();
      const BucketState state = snapshot->Bucket(AllAccounts(*snapshot)).value();
      uint64_t count = 0;
      uint64_t checksum = 0;
      for (auto it = snapshot->Scan(AllAccounts(*snapshot), {kNoOffset, 0}); it->Valid();
           it->Next()) {
        count += it->op().put ? 1 : 0;
        checksum +=
            it->op().put ? RowChecksum("account", it->op().key, it->op().position) : uint64_t{0};
        EXPECT_LE(it->op().position.offset, snapshot->applied().position);
      }
      EXPECT_EQ(count, state.count);
      EXPECT_EQ(checksum, state.checksum);
      EXPECT_EQ(count, snapshot->applied().records);
      EXPECT_GE(snapshot->applied().position, last);
      last = snapshot->applied().position;
      ++seen;
    }
  });
  for (int64_t offset = 20; offset < 1200; ++offset) {
    const std::string key = "A" + std::to_string(offset % 37);
    const StoredEvent event =
        offset % 5 == 0 ? Delete(offset, key) : AccountEvent("acme", offset, key, "U1");
    const auto applied = node_->Apply(StoreNode::kPartition, {&event, 1});
    EXPECT_TRUE(applied.ok()) << applied.status();
  }
  done = true;
  reader.join();
  EXPECT_EQ(ScanAll(*before, {kNoOffset, 0}), ops);
  EXPECT_EQ(before->applied().position, Offset(10));
}

// Whose owner no token can name.
TEST_F(StoreManagerTest, RowsWithALongOwnerAreInABucketWithAShortName) {
  const std::string owner(100'000, 'u');
  log_.push_back(AccountEvent("acme", 10, "A1", owner));
  node_.CatchUp(log_);
  const std::string name = "e1|user:a2=" + owner;
  const BucketKey key = BucketKey::OfName(name);
  const BucketState state = Snapshot()->Bucket(key).value();
  EXPECT_EQ(state.count, 1U);
  EXPECT_EQ(state.name, KeptName(key, name));
  EXPECT_LE(state.name.size(), kKeptNameBytesMax);
  EXPECT_TRUE(node_->Verify(Org("acme")).ok());
}

TEST(ContentDigest, IsTheSameWhicheverProgramKeptTheName) {
  const std::string name = "e1|user:a2=" + std::string(5'000, 'u');
  const BucketKey key = BucketKey::OfName(name);
  const auto digest_of = [key](const std::string& kept) {
    ContentDigest digest(60);
    digest.AddBucket(key, {.name = kept, .count = 1, .checksum = 2, .changed = Offset(3)});
    return digest.Hex();
  };
  EXPECT_EQ(digest_of(name), digest_of(KeptName(key, name)));
  EXPECT_NE(digest_of(name), digest_of("e1|user:a2=u"));
}

TEST_F(StoreManagerTest, SubscribersHearOfTheirOrganisationUntilTheyLeave) {
  std::vector<int64_t> acme;
  std::vector<int64_t> again;
  std::vector<int64_t> beta;
  const auto note = [](std::vector<int64_t>* to) {
    return [to](const AppliedChange& change) { to->push_back(change.applied.value()); };
  };
  const uint64_t first = node_->Subscribe(Org("acme"), note(&acme));
  const uint64_t second = node_->Subscribe(Org("acme"), note(&again));
  const uint64_t other = node_->Subscribe(Org("beta"), note(&beta));
  EXPECT_NE(first, second);
  node_.CatchUp(log_);
  EXPECT_EQ(acme, std::vector<int64_t>{3});
  log_.push_back(AccountEvent("acme", 10, "A1", "U1"));
  node_->Unsubscribe(second);
  node_->Unsubscribe(second);
  node_.CatchUp(log_);  // from the start: what is applied already is no news
  EXPECT_EQ(acme, (std::vector<int64_t>{3, 10}));
  EXPECT_EQ(again, std::vector<int64_t>{3});
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  log_.push_back(testing::MakeEvent(11, closed, "acme"));
  node_.CatchUp(log_);
  EXPECT_EQ(acme, (std::vector<int64_t>{3, 10, 11})) << "the closing is told too";
  EXPECT_TRUE(beta.empty());
  node_->Unsubscribe(first);
  node_->Unsubscribe(other);
}

TEST_F(StoreManagerTest, ChangesNameTheBucketsWhoseOperationsChanged) {
  std::vector<AppliedChange> changes;
  const uint64_t subscription = node_->Subscribe(
      Org("acme"), [&](const AppliedChange& change) { changes.push_back(change); });
  const auto next = [&](StoredEvent event) {
    changes.clear();
    EXPECT_TRUE(node_->Apply(StoreNode::kPartition, {&event, 1}).ok());
    EXPECT_EQ(changes.size(), 1u);
    log_.push_back(std::move(event));
    return changes.empty() ? AppliedChange() : changes.back();
  };
  node_.CatchUp(log_);
  ASSERT_FALSE(changes.empty());
  EXPECT_EQ(changes.front().buckets, nullptr) << "a store that is new";
  EXPECT_TRUE(changes.front().definitions);
  const auto before = node_->Snapshot(Org("acme")).value();
  const AppliedChange put = next(AccountEvent("acme", 10, "A1", "U1"));
  ASSERT_NE(put.buckets, nullptr);
  EXPECT_FALSE(put.definitions);
  EXPECT_FALSE(put.buckets->empty());
  EXPECT_TRUE(std::ranges::is_sorted(*put.buckets));
  for (const BucketKey& key : *put.buckets) {
    EXPECT_EQ(node_->Snapshot(Org("acme")).value()->Bucket(key)->changed, Offset(10));
  }
  const AppliedChange removed = next(Delete(11, "A1"));
  ASSERT_NE(removed.buckets, nullptr);
  EXPECT_EQ(*removed.buckets, *put.buckets);
  const AppliedChange nothing = next(Delete(12, "A1"));
  ASSERT_NE(nothing.buckets, nullptr);
  EXPECT_TRUE(nothing.buckets->empty());
  const AppliedChange defined =
      next(testing::MakeEvent(13, testing::DefineRole("more", true, {"account"}), "acme"));
  EXPECT_TRUE(defined.definitions);
  v1::OrgClosed closed;
  closed.set_incarnation(1);
  EXPECT_TRUE(next(testing::MakeEvent(14, closed, "acme")).closed);
  node_->Unsubscribe(subscription);
}

TEST_F(StoreManagerTest, AChangeSetIsFoundWithinTheWindowOnly) {
  const auto find = [&](const std::string& id) {
    return node_->FindChangeSet(Org("acme"), "test", id).value();
  };
  EXPECT_EQ(ErrorCode(node_->FindChangeSet(Org("acme"), "test", "s1").status()), "org_not_found");
  log_.push_back(AccountEvent("acme", 10, "A1", "U1", "s1"));
  node_.CatchUp(log_);
  EXPECT_EQ(find("s1"), Offset(10));
  EXPECT_EQ(find("s2"), std::nullopt);
  EXPECT_EQ(node_->FindChangeSet(Org("acme"), "other", "s1").value(), std::nullopt);
  FillUntil(68);
  log_.push_back(AccountEvent("acme", 69, "A2", "U1", "s2"));
  node_.CatchUp(log_);
  EXPECT_EQ(find("s1"), Offset(10)) << "the event at 70 would be a duplicate";
  node_.Restart();
  EXPECT_EQ(find("s1"), Offset(10));
  log_.push_back(AccountEvent("acme", 70, "A3", "U1", "s3"));
  node_.CatchUp(log_);
  EXPECT_EQ(find("s1"), std::nullopt) << "the event at 71 would not";
  log_.push_back(AccountEvent("acme", 71, "A1", "U1", "s1"));
  node_.CatchUp(log_);
  EXPECT_EQ(find("s1"), Offset(71));
}

TEST_F(StoreManagerTest, AScanGoesOnAfterAPositionAndTellsOldRemovals) {
  log_.push_back(AccountEvent("acme", 10, "A1", "U1"));
  const std::string row = testing::RowWriter().Text(1, "A2").Text(2, "U1").bytes();
  const std::string row3 = testing::RowWriter().Text(1, "A3").Text(2, "U1").bytes();
  log_.push_back(testing::MakeEvent(
      11, testing::MakeSet({testing::Upsert(1, "A2", row), testing::Upsert(1, "A3", row3)}),
      "acme"));
  log_.push_back(Delete(12, "A1"));
  node_.CatchUp(log_);
  const std::vector<std::string> all = {"put A2@11.0", "put A3@11.1", "remove A1@12.0"};
  EXPECT_EQ(ScanAll(*Snapshot(), {kNoOffset, 0}), all);
  EXPECT_EQ(ScanAll(*Snapshot(), {Offset(10), 0}), all);
  EXPECT_EQ(ScanAll(*Snapshot(), {Offset(11), 0}),
            (std::vector<std::string>{"put A3@11.1", "remove A1@12.0"}));
  EXPECT_EQ(ScanAll(*Snapshot(), {Offset(11), 1}), std::vector<std::string>{"remove A1@12.0"});
  EXPECT_TRUE(ScanAll(*Snapshot(), {Offset(12), 0}).empty());
  EXPECT_TRUE(ScanAll(*Snapshot(), {Offset(INT64_MAX), 0}).empty());
  // The removal is the seventh event, and forgotten when 500 have come since, or 31 more.
  FillUntil(505);
  log_.push_back(AccountEvent("acme", 506, "A4", "U2"));
  node_.CatchUp(log_);
  EXPECT_EQ(ScanAll(*Snapshot(), {Offset(11), 1}),
            (std::vector<std::string>{"remove A1@12.0", "put A4@506.0"}));
  FillUntil(550);
  node_.CatchUp(log_);
  EXPECT_GE(Snapshot()->applied().horizon, Offset(12));
  EXPECT_EQ(ScanAll(*Snapshot(), {Offset(11), 1}),
            (std::vector<std::string>{"old remove A1@12.0", "put A4@506.0"}));
}

TEST_F(StoreManagerTest, TheHistoryIsKnownAtEveryEventUpToTheHorizon) {
  for (int64_t offset = 10; offset < 400; offset += 3) {
    log_.push_back(AccountEvent("acme", offset, "A1", "U1"));
  }
  const auto check = [&](Offset horizon) {
    uint64_t history = 0;
    size_t next = 0;
    for (int64_t offset = 0; offset < log_.back().offset.value() + 3; ++offset) {
      std::optional<uint64_t> expected;
      if (next < log_.size() && log_[next].offset == Offset(offset)) {
        history = ChainHistory(history, eventlog::EventHash(log_[next++].event), Offset(offset));
        expected = Offset(offset) > horizon ? std::optional(history) : std::nullopt;
      }
      EXPECT_EQ(Snapshot()->HistoryAt(Offset(offset)).value(), expected) << offset;
    }
    EXPECT_EQ(Snapshot()->applied().history, history);
  };
  for (size_t done = 0, size = 1; done < log_.size(); done += size, size = size * 2 % 31) {
    node_.CatchUp({log_.begin(),
                   log_.begin() + static_cast<std::ptrdiff_t>(std::min(log_.size(), done + size))});
  }
  node_.CatchUp(log_);
  check(kNoOffset);
  node_.Restart();
  check(kNoOffset);
  EXPECT_EQ(Snapshot()->HistoryAt(kNoOffset).value(), std::nullopt);
  FillUntil(log_.back().offset.value() + 5'000);
  node_.CatchUp(log_);
  ASSERT_GT(Snapshot()->applied().horizon, Offset(4'000));
  check(Snapshot()->applied().horizon);
}

TEST_F(StoreManagerTest, RejectionsAreToldAgainUntilACheckpointPassesThem) {
  log_.push_back(Bad(10));
  log_.push_back(AccountEvent("acme", 11, "A1", "U1"));
  log_.push_back(Bad(12));
  const auto told = [&](size_t count) {
    const auto applied = node_->Apply(StoreNode::kPartition, {log_.data(), count});
    return OffsetsOf(applied.value().rejected);
  };
  EXPECT_EQ(told(6), std::vector<int64_t>{10});
  EXPECT_EQ(told(6), std::vector<int64_t>{10}) << "called again with the same events";
  EXPECT_EQ(told(7), (std::vector<int64_t>{10, 12}));
  node_.Restart();
  EXPECT_EQ(told(7), (std::vector<int64_t>{10, 12})) << "flushed, but no checkpoint";
  node_.Checkpoint();
  EXPECT_TRUE(told(7).empty());
  node_.Crash();
  EXPECT_TRUE(told(7).empty());
  log_.push_back(Bad(13));
  EXPECT_EQ(told(8), std::vector<int64_t>{13});
}

// An organisation that is closed, and refused something before it is open again: there was no store
// to keep the rejection, but the next one's position lies behind it.
class RefusedWithoutStoreTest : public StoreManagerTest {
 protected:
  RefusedWithoutStoreTest() {
    v1::OrgClosed closed;
    closed.set_incarnation(1);
    log_.push_back(testing::MakeEvent(10, closed, "acme"));
    log_.push_back(Bad(11));
    for (const StoredEvent& event : testing::OrgWithAccounts("acme", 12, 2)) {
      log_.push_back(event);
    }
  }
  void Close(int64_t offset) {
    v1::OrgClosed closed;
    closed.set_incarnation(2);
    log_.push_back(testing::MakeEvent(offset, closed, "acme"));
  }
  // Everything is flushed, while the letter waits, and the process ends. What the next one tells.
  std::vector<int64_t> ToldAfterACrash() {
    node_.CatchUp(log_, 1);
    auto pending = node_->BeginCheckpoint(StoreNode::kPartition, Offset(11));
    EXPECT_NE(pending, nullptr);
    pending->Flush();
    EXPECT_TRUE(node_->EndCheckpoint(std::move(pending)).ok());
    node_.Crash();
    EXPECT_LE(node_->CheckpointOf(StoreNode::kPartition), Offset(11));
    node_.rejected.clear();
    node_.CatchUp(log_, 1);
    return OffsetsOf(node_.rejected);
  }
};

TEST_F(RefusedWithoutStoreTest, IsToldAgainWhereThereIsAStoreSince) {
  EXPECT_EQ(ToldAfterACrash(), std::vector<int64_t>{11});
  node_.Checkpoint();
  node_.Crash();
  node_.rejected.clear();
  node_.CatchUp(log_, 1);
  EXPECT_TRUE(node_.rejected.empty()) << "a checkpoint has passed it";
}

TEST_F(RefusedWithoutStoreTest, IsToldAgainWhereItsOrganisationHasBeenClosedSince) {
  Close(20);
  EXPECT_EQ(ToldAfterACrash(), std::vector<int64_t>{11});
}

TEST_F(RefusedWithoutStoreTest, IsToldAgainWhereThePartitionComesBack) {
  node_.CatchUp(log_, 1);
  node_.rejected.clear();
  node_.CatchUp(log_, 1);
  EXPECT_EQ(OffsetsOf(node_.rejected), std::vector<int64_t>{11});
}

// Stores that are flushed beyond the checkpoint: the log may have lost what they applied.
class StoreAheadTest : public ::testing::Test {
 protected:
  void SetUp() override {
    for (const std::string org : {"acme", "beta", "ceta"}) {
      for (auto& event : testing::OrgWithAccounts(org, offset_ + 1)) {
        offset_ = event.offset.value();
        log_.push_back(std::move(event));
      }
    }
    Add(&log_, {"acme", "beta", "ceta", "acme", "beta", "ceta"});
    options_.open_stores_max = 1;  // the others are flushed and closed
    options_.check_history = [this](PartitionId, Offset, uint64_t) {
      ++asked_;
      if (hold_ != nullptr) {
        hold_->WaitForNotification();
      }
      return answer_;
    };
    node_ = std::make_unique<StoreNode>(options_);
    node_->CatchUp(log_, 1);
    (*node_)->Snapshot(Org("ceta")).IgnoreError();
    node_->Crash();
  }
  void Add(Log* log, const std::vector<std::string>& orgs) {
    for (const std::string& org : orgs) {
      ++offset_;
      log->push_back(AccountEvent(org, offset_, "A" + std::to_string(offset_), "U1"));
    }
  }
  static absl::Status Diverged() {
    return Error(absl::StatusCode::kDataLoss, "log_diverged", "another event");
  }
  // The last event of the organisation's.
  Log::iterator LastOf(Log& log, const std::string& org) {
    return std::find_if(log.rbegin(), log.rend(),
                        [&](const StoredEvent& e) { return e.event.key == org; })
               .base() -
           1;
  }

  const testing::TempDir dir_;
  StoreOptions options_ = SmallStoreOptions(dir_ / "node");
  Log log_;
  int64_t offset_ = -1;
  std::atomic<int> asked_{0};
  absl::Status answer_;
  std::unique_ptr<absl::Notification> hold_;
  std::unique_ptr<StoreNode> node_;
};

TEST_F(StoreAheadTest, IsComparedWithWhatIsReadAnyway) {
  ASSERT_EQ((*node_)->CheckpointOf(StoreNode::kPartition), Offset(0));
  node_->CatchUp(log_, 4);
  Add(&log_, {"acme", "beta", "ceta"});
  node_->CatchUp(log_, 4);
  for (const char* org : {"acme", "beta", "ceta"}) {
    node_->ExpectFoldOf(org, log_);
  }
  EXPECT_EQ(asked_, 0) << "the log is not asked for it";
}

TEST_F(StoreAheadTest, AnotherEventAtItsPositionIsNoticed) {
  answer_ = Diverged();
  StoredEvent& last = *LastOf(log_, "acme");
  last = AccountEvent("acme", last.offset.value(), "another", "U2");
  EXPECT_EQ(ErrorCode(node_->TryCatchUp(log_)), "log_diverged");
  EXPECT_EQ(asked_, 1);
}

TEST_F(StoreAheadTest, NothingIsAppliedWhereItsEventHasNotCome) {
  answer_ = Diverged();
  log_.erase(LastOf(log_, "acme"));
  Add(&log_, {"acme"});
  EXPECT_EQ(ErrorCode(node_->TryCatchUp(log_)), "log_diverged");
  EXPECT_EQ(asked_, 1);
}

// A reader has had it compared; then the log may have become another one.
TEST_F(StoreAheadTest, IsComparedAgainWhereItsPartitionIs) {
  ASSERT_TRUE((*node_)->Snapshot(Org("acme")).ok());
  ASSERT_EQ(asked_, 1);
  (*node_)->DoubtStoresAhead(StoreNode::kPartition);
  answer_ = Diverged();
  log_.erase(LastOf(log_, "acme"));
  Add(&log_, {"acme"});
  EXPECT_EQ(ErrorCode(node_->TryCatchUp(log_)), "log_diverged");
  EXPECT_EQ(asked_, 2);
}

// Neither readers, who share their threads with all others, nor those that fold, which have to end
// before the partition is given back.
TEST_F(StoreAheadTest, ALogThatDoesNotAnswerHoldsNobody) {
  hold_ = std::make_unique<absl::Notification>();
  const auto code = [this] { return ErrorCode((*node_)->Snapshot(Org("acme")).status()); };
  std::vector<std::future<std::string>> readers;
  for (int i = 0; i < 8; ++i) {
    readers.push_back(std::async(std::launch::async, code));
  }
  Log behind = log_;
  behind.erase(LastOf(behind, "acme"));
  std::future<std::string> fold = std::async(std::launch::async, [&] {
    (*node_)->NoteNear(StoreNode::kPartition, SteadyTime());
    (*node_)->DoubtStoresAhead(StoreNode::kPartition);
    EXPECT_TRUE((*node_)->LookForTrouble(StoreNode::kPartition).ok());
    Add(&behind, {"acme"});
    return ErrorCode(node_->TryCatchUp(behind));
  });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  for (std::future<std::string>& reader : readers) {
    EXPECT_EQ(reader.wait_until(deadline), std::future_status::ready);
  }
  EXPECT_EQ(fold.wait_until(deadline), std::future_status::ready);
  hold_->Notify();
  for (std::future<std::string>& reader : readers) {
    EXPECT_EQ(reader.get(), "stores_busy");
  }
  EXPECT_EQ(fold.get(), "log_unavailable");
  while (code() == "stores_busy") {
  }
  EXPECT_TRUE((*node_)->Snapshot(Org("acme")).ok());
}

TEST_F(StoreAheadTest, ACheckpointDoesNotVouchForWhatWasNotCompared) {
  log_.erase(LastOf(log_, "acme"));
  Add(&log_, {"beta", "ceta", "beta", "ceta"});
  node_->CatchUp(log_, 1);
  EXPECT_EQ(asked_, 0);
  node_->Checkpoint();
  node_->Restart();
  answer_ = Diverged();
  EXPECT_EQ(ErrorCode((*node_)->Snapshot(Org("acme")).status()), "log_diverged");
  EXPECT_TRUE((*node_)->Snapshot(Org("beta")).ok());
}

// What is remembered at once, whatever the checkpoint, is told with the event that made it so.
TEST_F(StoreAheadTest, TheNewestStoreThatWasMadeOrRemovedIsTold) {
  const auto noted = [this] { return (*node_)->LastNoted(StoreNode::kPartition); };
  const auto opened = std::find_if(log_.rbegin(), log_.rend(), [](const StoredEvent& e) {
    return e.event.type == "sluice.v1.OrgOpened";
  });
  EXPECT_EQ(noted().position, opened->offset) << "after a crash, and before anything is read";
  EXPECT_EQ(noted().event_hash, eventlog::EventHash(opened->event));
  node_->CatchUp(log_, 4);
  StoredEvent closed;
  closed.offset = Offset(++offset_);
  closed.event.type = "sluice.v1.OrgClosed";
  closed.event.key = "beta";
  v1::OrgClosed payload;
  payload.set_incarnation(1);
  closed.event.value = payload.SerializeAsString();
  log_.push_back(closed);
  node_->CatchUp(log_, 4);
  node_->Crash();
  EXPECT_EQ(noted().position, closed.offset);
  EXPECT_EQ(noted().event_hash, eventlog::EventHash(closed.event));
}

}  // namespace
}  // namespace sluice::projectors

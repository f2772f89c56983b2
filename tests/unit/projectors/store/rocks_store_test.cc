#include "projectors/store/rocks_store.h"

#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <rocksdb/perf_context.h>
#include <rocksdb/perf_level.h>

#include <algorithm>

#include "tests/support/store_fixture.h"
#include "tests/support/temp_dir.h"

// A store below its manager, where a test can have RocksDB compact when it likes.
namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using Events = std::vector<StoredEvent>;

constexpr int64_t kWindow = 60;

class RocksStoreTest : public ::testing::Test {
 protected:
  RocksStoreTest() { Open(); }

  // As it is on disk: what was not flushed is gone, as after a crash.
  void Open() {
    store_.reset();
    auto opened =
        RocksStore::Open(env_, dir_ / "store", StoreIdentity{testing::kTestLogId, "acme", 1});
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
  }

  // Applies the events of `log` up to `last` that the store does not have.
  void ApplyUntil(const Events& log, int64_t last) {
    for (const StoredEvent& event : log) {
      if (event.offset <= store_->applied().position || event.offset > Offset(last)) {
        continue;
      }
      const auto fold =
          Fold(Options(), store_->applied(), store_->model(), std::span(&event, 1), *store_);
      ASSERT_TRUE(fold.ok()) << fold.status();
      EXPECT_TRUE(fold->rejected.empty()) << fold->rejected.front().reason;
      duplicates_ += fold->counters.duplicates;
      const absl::Status committed =
          store_->Commit(fold->batch, fold->model, fold->rejected, kNoOffset);
      ASSERT_TRUE(committed.ok()) << committed;
    }
  }

  // Has RocksDB compact what is on disk of the source's change sets. It flushes first what the
  // range has in memory, so nothing of `source` may be there.
  void CompactChangeSetsOf(const std::string& source) {
    OrgDb& db = *store_->database();
    const std::string first = ChangeSetKey(source, "");
    const std::string last = ChangeSetKey(source, "\xff");
    const rocksdb::Slice begin(first);
    const rocksdb::Slice end(last);
    const rocksdb::Status compacted = db.db().CompactRange({}, db.change_sets(), &begin, &end);
    ASSERT_TRUE(compacted.ok()) << compacted.ToString();
  }

  std::optional<Offset> Find(const std::string& source, const std::string& id) {
    const std::string key = ChangeSetKey(source, id);
    const auto found = store_->GetChangeSets({&key, 1}).value()[0];
    return found.has_value() ? std::optional(found->offset) : std::nullopt;
  }

  static FoldOptions Options() { return testing::SmallStoreOptions("").fold; }

  const testing::TempDir dir_;
  const std::shared_ptr<RocksEnv> env_ =
      std::make_shared<RocksEnv>(RocksEnv::Limits{8 << 20, 8 << 20, 10, Options().dedup_window});
  std::unique_ptr<RocksStore> store_;
  uint64_t duplicates_ = 0;
};

// The account `key` of `owner`, in a set of a source.
StoredEvent Account(int64_t offset, const std::string& key, const std::string& owner,
                    const std::string& source, const std::string& id) {
  const std::string row = testing::RowWriter().Text(1, key).Text(2, owner).bytes();
  return testing::MakeEvent(offset, testing::MakeSet({testing::Upsert(1, key, row)}, id, source));
}

// "s1" comes at 100 and, in its window, at 130 again; then many others, of another source.
Events RepeatedSet() {
  Events log = testing::OrgWithAccounts("acme", 0);
  log.push_back(Account(100, "A1", "U1", "early", "s1"));
  log.push_back(Account(110, "A2", "U1", "early", "s2"));
  log.push_back(Account(130, "A1", "U2", "early", "s1"));
  for (int64_t offset = 140; offset <= 110 + 5 * kWindow; ++offset) {
    const std::string number = std::to_string(offset);
    log.push_back(Account(offset, "B" + number, "U1", "later", number));
  }
  return log;
}

TEST_F(RocksStoreTest, ACompactionAheadOfAFlushLosesNoChangeSetThatACrashNeedsAgain) {
  ASSERT_EQ(Options().dedup_window, kWindow);
  const Events log = RepeatedSet();
  ApplyUntil(log, 110);
  ASSERT_TRUE(store_->Flush().ok());
  // In memory only, and far beyond two windows: here nobody needs "s1" any more.
  ApplyUntil(log, INT64_MAX);
  EXPECT_EQ(duplicates_, 1u);
  CompactChangeSetsOf("early");
  Open();
  ASSERT_EQ(store_->applied().position, Offset(110)) << "the compaction has flushed";
  EXPECT_EQ(Find("early", "s1"), Offset(100));
  ApplyUntil(log, INT64_MAX);
  EXPECT_EQ(duplicates_, 2u) << "after the crash the set at 130 was applied anew";
  const auto record = store_->published()->GetRecordIn({EntityId(1), "A1"}, {});
  ASSERT_TRUE(record.ok() && record->has_value());
  EXPECT_EQ((*record)->last.offset, Offset(100));
}

// The same compaction drops them once they are two windows behind what is on disk.
TEST_F(RocksStoreTest, ACompactionDropsChangeSetsTwoWindowsBehindTheDisk) {
  const Events log = RepeatedSet();
  ApplyUntil(log, INT64_MAX);
  ASSERT_TRUE(store_->Flush().ok());
  EXPECT_EQ(Find("early", "s1"), Offset(100));
  CompactChangeSetsOf("early");
  EXPECT_EQ(Find("early", "s1"), std::nullopt);
  EXPECT_EQ(Find("early", "s2"), std::nullopt);
  EXPECT_EQ(Find("later", "400"), Offset(400));
}

// As much as the caller has room for, whether it is in memory or on disk.
TEST_F(RocksStoreTest, RecordsAreReadUntilTheyHaveSomeBytes) {
  constexpr size_t kBytes = 10'000;
  Events log = testing::OrgWithAccounts("acme", 0);
  std::vector<RecordKey> keys;
  for (int i = 0; i < 40; ++i) {
    const std::string key = "L" + std::to_string(10 + i);
    log.push_back(Account(100 + i, key, std::string(kBytes, 'o'), "s", key));
    keys.push_back({EntityId(1), key});
  }
  ApplyUntil(log, INT64_MAX);
  // Neither the order of the keys nor one that is not there matters.
  std::ranges::reverse(keys);
  keys.insert(keys.begin() + 1, {EntityId(1), "none"});
  for (const bool flushed : {false, true}) {
    const auto all = store_->GetRecords(keys, SIZE_MAX).value();
    ASSERT_EQ(all.size(), 41u);
    EXPECT_FALSE(all[1].has_value());
    for (const auto& [bytes_max, count] :
         {std::pair<size_t, size_t>(0, 1), {1, 1}, {kBytes + 1'000, 3}, {4 * kBytes, 5}}) {
      const auto some = store_->GetRecords(keys, bytes_max).value();
      ASSERT_EQ(some.size(), count) << bytes_max;
      EXPECT_TRUE(std::ranges::equal(some, std::span(all).first(count)));
    }
    const auto scanned = store_->ScanRecords(EntityId(1), "L2", 100, 3 * kBytes).value();
    ASSERT_EQ(scanned.size(), 3u);
    EXPECT_EQ(scanned[0].first.key, "L20");
    EXPECT_EQ(store_->ScanRecords(EntityId(1), "L2", 2, SIZE_MAX)->size(), 2u);
    EXPECT_TRUE(store_->ScanRecords(EntityId(1), "M", 2, SIZE_MAX)->empty());
    if (!flushed) {
      ASSERT_TRUE(store_->Flush().ok());
    }
  }
}

// It belongs to a commit, behind which others wait: what it passes and what it changes has a limit,
// as rows may be large.
TEST_F(RocksStoreTest, ASweepTakesAFewMegabytesAtOnce) {
  constexpr int kRows = 60;
  constexpr size_t kBytes = 500'000;
  Events log = testing::OrgWithAccounts("acme", 0);
  int64_t offset = 100;
  // The operations that it comes by first are those of the rows.
  std::string before = "U";
  while (MakeBucketName("e1|user:a2=" + before).key < MakeBucketName("e1|all").key) {
    before += "U";
  }
  for (const std::string& owner : {before, std::string("other")}) {
    for (int i = 0; i < kRows; ++i) {
      const std::string key = "L" + std::to_string(i);
      const testing::RowWriter row =
          testing::RowWriter().Text(1, key).Text(2, owner).Text(3, std::string(kBytes, 't'));
      log.push_back(testing::MakeEvent(
          offset++, testing::MakeSet({testing::Upsert(1, key, row.bytes())}), "acme"));
    }
  }
  for (int i = 0; i < 600; ++i) {
    log.push_back(testing::AccountEvent("acme", offset++, "S" + std::to_string(i), "U3"));
  }
  ApplyUntil(log, INT64_MAX);
  rocksdb::SetPerfLevel(rocksdb::PerfLevel::kEnableCount);
  const rocksdb::PerfContext& perf = *rocksdb::get_perf_context();
  size_t erased = 0;
  int passing = 0;
  for (int calls = 0; erased < kRows && calls < 200; ++calls) {
    const uint64_t read = perf.multiget_read_bytes;
    const auto swept = store_->Sweep(calls == 0 ? 2'000 : 1);
    ASSERT_TRUE(swept.ok()) << swept.status();
    passing += *swept == 0 ? 1 : 0;
    EXPECT_LE(*swept, (size_t{4} << 20) / kBytes + 1);
    // Those that come before one that was not read for want of room are read again.
    EXPECT_LE(perf.multiget_read_bytes - read, (size_t{8} << 20) + 2 * kBytes);
    erased += *swept;
  }
  rocksdb::SetPerfLevel(rocksdb::PerfLevel::kDisable);
  EXPECT_EQ(erased, size_t{kRows});
  EXPECT_GE(passing, static_cast<int>(kRows * kBytes / (size_t{4} << 20)) - 1);
}

}  // namespace
}  // namespace sluice::projectors

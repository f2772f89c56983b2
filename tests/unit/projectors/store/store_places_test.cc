#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include "projectors/store/org_db.h"
#include "projectors/store/place_codec.h"
#include "projectors/store/rocks_snapshot.h"
#include "schemas/base/status.h"
#include "tests/support/hot_row.h"
#include "tests/support/store_node.h"
#include "tests/support/temp_dir.h"

// What a record has in rows of its own, on disk.
namespace sluice::projectors {
namespace {

using testing::HotRowEvents;
using testing::Org;
using testing::StoreNode;

const RecordKey kHot{EntityId(HotRowEvents::kProduct), "P"};

class StorePlaces : public ::testing::Test {
 protected:
  StorePlaces() {
    log_ = events_.Definitions();
    log_.push_back(events_.Product("hot"));
    for (int i = 0; i < 50; ++i) {
      log_.push_back(events_.Order(i));
    }
    CatchUp();
  }
  void CatchUp() {
    node_.CatchUp(log_);
    node_.Checkpoint();
  }

  // What Verify() says when `damage` has been done to the store's rows. The first membership's key
  // and value are given.
  std::string CodeAfter(
      absl::FunctionRef<void(rocksdb::DB&, OrgDb&, std::string, std::string)> damage) {
    node_.Stop();
    {
      const auto db = OrgDb::Open(env_, node_.FolderOf("acme")).value();
      rocksdb::ReadOptions read;
      read.total_order_seek = true;
      const std::unique_ptr<rocksdb::Iterator> it(db->db().NewIterator(read, db->places()));
      it->Seek(EncodeMembershipPrefix(kHot));
      EXPECT_TRUE(it->Valid());
      damage(db->db(), *db, it->key().ToString(), it->value().ToString());
      EXPECT_TRUE(db->db().Flush(rocksdb::FlushOptions(), db->handles()).ok());
    }
    node_.Start();
    return ErrorCode(node_->Verify(Org("acme")));
  }
  rocksdb::WriteOptions NoLog() {
    rocksdb::WriteOptions options;
    options.disableWAL = true;
    return options;
  }

  const testing::TempDir dir_;
  HotRowEvents events_;
  std::vector<eventlog::StoredEvent> log_;
  StoreNode node_{testing::SmallStoreOptions(dir_ / "node")};

 private:
  const std::shared_ptr<RocksEnv> env_ = std::make_shared<RocksEnv>(RocksEnv::Limits{});
};

TEST_F(StorePlaces, AreReadAgainAfterARestart) {
  node_.ExpectFoldOf("acme", log_);
  node_.Restart();
  node_.ExpectFoldOf("acme", log_);
  log_.push_back(events_.Product("cold"));
  log_.push_back(events_.NoOrder(3));
  CatchUp();
  node_.ExpectFoldOf("acme", log_);
}

TEST_F(StorePlaces, AreGoneWithWhatTheyWereOf) {
  for (int i = 0; i < 50; ++i) {
    log_.push_back(events_.NoOrder(i));
  }
  log_.push_back(events_.NoProduct());
  for (int i = 0; i < 2'000; ++i) {
    log_.push_back(events_.Order(100));  // so that removals are past the horizon, and are swept
  }
  node_.CatchUp(log_, 1);
  node_.Checkpoint();
  node_.ExpectFoldOf("acme", log_);
  node_.Stop();
  const auto db =
      OrgDb::Open(std::make_shared<RocksEnv>(RocksEnv::Limits{}), node_.FolderOf("acme")).value();
  const std::unique_ptr<rocksdb::Iterator> it(
      db->db().NewIterator(rocksdb::ReadOptions(), db->places()));
  size_t rows = 0;
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    ++rows;
  }
  EXPECT_LE(rows, 3u);
}

TEST_F(StorePlaces, ASnapshotHasThoseOfSomeBuckets) {
  const auto snapshot = node_->Snapshot(Org("acme")).value();
  RocksReader reader = dynamic_cast<const RocksSnapshot&>(*snapshot).reader();
  Record whole = reader.GetRecords({&kHot, 1}, SIZE_MAX).value()[0].value();
  ASSERT_TRUE(reader.Complete(kHot, &whole).ok());
  ASSERT_EQ(whole.memberships.size(), 50u);
  EXPECT_EQ(whole.support.size(), 50u);
  const std::vector<BucketKey> some = {whole.memberships[3].bucket, whole.memberships[40].bucket,
                                       BucketKey{~uint64_t{0}, 1}};
  const Record in_some = snapshot->GetRecordIn(kHot, some).value().value();
  EXPECT_EQ(in_some.row, whole.row);
  EXPECT_EQ(in_some.memberships,
            (std::vector<Membership>{whole.memberships[3], whole.memberships[40]}));
  std::vector<BucketKey> all;
  for (const Membership& m : whole.memberships) {
    all.push_back(m.bucket);
  }
  EXPECT_EQ(snapshot->GetRecordIn(kHot, all).value()->memberships, whole.memberships);
}

TEST_F(StorePlaces, VerifyFindsOneThatIsMissing) {
  EXPECT_EQ(CodeAfter([&](rocksdb::DB& db, OrgDb& org, const std::string& key, const std::string&) {
              EXPECT_TRUE(db.Delete(NoLog(), org.places(), key).ok());
            }),
            "store_corrupt");
}

TEST_F(StorePlaces, VerifyFindsOneUnderAnothersKey) {
  EXPECT_EQ(CodeAfter([&](rocksdb::DB& db, OrgDb& org, std::string key, const std::string& value) {
              EXPECT_TRUE(db.Delete(NoLog(), org.places(), key).ok());
              key.back() = static_cast<char>(key.back() ^ 1);
              EXPECT_TRUE(db.Put(NoLog(), org.places(), key, value).ok());
            }),
            "store_corrupt");
}

TEST_F(StorePlaces, VerifyFindsOneThatSaysAnotherPosition) {
  EXPECT_EQ(
      CodeAfter([&](rocksdb::DB& db, OrgDb& org, const std::string& key, const std::string& value) {
        Membership membership = DecodeMembership(value).value();
        membership.position.index += 1;
        EXPECT_TRUE(db.Put(NoLog(), org.places(), key, EncodeMembership(membership)).ok());
      }),
      "store_inconsistent");
}

TEST_F(StorePlaces, VerifyFindsOneOfARecordThatHasNoneApart) {
  EXPECT_EQ(
      CodeAfter([&](rocksdb::DB& db, OrgDb& org, const std::string&, const std::string& value) {
        const RecordKey other{EntityId(HotRowEvents::kOrder), "o1"};
        const BucketKey bucket = DecodeMembership(value).value().bucket;
        EXPECT_TRUE(db.Put(NoLog(), org.places(), EncodeMembershipKey(other, bucket), value).ok());
      }),
      "store_inconsistent");
}

}  // namespace
}  // namespace sluice::projectors

#include <gtest/gtest.h>
#include <rocksdb/db.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>

#include "projectors/store/org_db.h"
#include "projectors/store/record_codec.h"
#include "schemas/base/byte_codec.h"
#include "tests/support/store_node.h"
#include "tests/support/temp_dir.h"

// Stores that a program of another format has left.
namespace sluice::projectors {
namespace {

namespace fs = std::filesystem;
using eventlog::StoredEvent;
using testing::AccountEvent;
using testing::Org;
using testing::SmallStoreOptions;
using testing::StoreNode;
using Log = std::vector<StoredEvent>;

const std::vector<std::string> kOrgs = {"acme", "beta"};

// Every file below a folder, with its bytes.
std::map<std::string, std::string> FilesBelow(const std::string& folder) {
  std::map<std::string, std::string> files;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      std::ifstream file(entry.path(), std::ios::binary);
      files[entry.path().string()].assign(std::istreambuf_iterator<char>(file), {});
    }
  }
  return files;
}

// acme and beta in one partition, both checkpointed; the node is stopped.
class StoreFormat : public ::testing::Test {
 protected:
  StoreFormat() {
    for (const std::string& org : kOrgs) {
      for (StoredEvent& event : testing::OrgWithAccounts(org, offset_ + 1)) {
        offset_ = event.offset.value();
        log_.push_back(std::move(event));
      }
    }
    AddAccounts();
    node_.CatchUp(log_);
    node_.Checkpoint();
    for (const std::string& org : kOrgs) {
      digests_[org] = node_->Digest(Org(org)).value();
    }
    node_.Stop();
  }
  void AddAccounts() {
    for (int i = 0; i < 40; ++i) {
      ++offset_;
      log_.push_back(AccountEvent(kOrgs[i % 2], offset_, "A" + std::to_string(i),
                                  "U" + std::to_string(offset_ % 3),
                                  "s" + std::to_string(offset_)));
    }
  }

  // What the node store says it is.
  void SetNodeFormat(uint32_t format) {
    std::string value;
    PutVarint(format, &value);
    const auto db = OpenNode();
    ASSERT_TRUE(db->Put(rocksdb::WriteOptions(), "format", value).ok());
  }
  uint32_t NodeFormat() {
    std::string value;
    EXPECT_TRUE(OpenNode()->Get({}, "format", &value).ok());
    return ByteReader(value).Varint32();
  }
  // What the organisation's own store says it is.
  void SetOrgFormat(const std::string& org, uint32_t format) {
    const std::string today = EncodeIdentity({testing::kTestLogId, org, 1});
    static_assert(kStoreFormat < 0x80, "its varint is the first byte");
    std::string identity;
    PutVarint(format, &identity);
    identity += today.substr(1);
    const auto db = OpenOrg(org);
    Put(*db, db->defaults(), std::string(kIdentityKey), identity);
  }
  uint32_t OrgFormat(const std::string& org) {
    const auto db = OpenOrg(org);
    std::string identity;
    EXPECT_TRUE(db->db().Get({}, db->defaults(), std::string(kIdentityKey), &identity).ok());
    return ByteReader(identity).Varint32();
  }
  void SetFormat(uint32_t format) {
    SetNodeFormat(format);
    for (const std::string& org : kOrgs) {
      SetOrgFormat(org, format);
    }
  }
  // An old format's row is nothing that today's codec reads.
  void MakeRowsUnreadable() {
    for (const std::string& org : kOrgs) {
      const auto db = OpenOrg(org);
      const std::string key = EncodeRecordKey(EntityId(1), org == "acme" ? "A0" : "A1");
      std::string value;
      ASSERT_TRUE(db->db().Get({}, db->records(), key, &value).ok());
      Put(*db, db->records(), key, "of another format");
    }
  }

  void ExpectAsBefore() {
    for (const std::string& org : kOrgs) {
      EXPECT_EQ(node_->Digest(Org(org)).value(), digests_[org]) << org;
      node_.ExpectFoldOf(org, log_);
    }
  }
  // The stores have gone, and the partition is read from where the first was opened.
  void ExpectToBeBuiltAnew() {
    EXPECT_EQ(node_->CheckpointOf(StoreNode::kPartition), log_.front().offset);
    EXPECT_EQ(node_->CheckpointState(StoreNode::kPartition).position, kNoOffset);
    for (const std::string& org : kOrgs) {
      EXPECT_EQ(ErrorCode(node_->Snapshot(Org(org)).status()), "org_not_found") << org;
      EXPECT_FALSE(fs::exists(node_.FolderOf(org))) << org;
    }
  }

  const testing::TempDir dir_;
  const std::string node_path_ = dir_ / "node/node";
  const std::string orgs_path_ = dir_ / "node/orgs";
  int64_t offset_ = 0;
  Log log_;
  std::map<std::string, std::string> digests_;
  StoreNode node_{SmallStoreOptions(dir_ / "node")};

 private:
  std::unique_ptr<rocksdb::DB> OpenNode() {
    rocksdb::DB* db = nullptr;
    const rocksdb::Status status = rocksdb::DB::Open(rocksdb::Options(), node_path_, &db);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return std::unique_ptr<rocksdb::DB>(db);
  }
  std::shared_ptr<OrgDb> OpenOrg(const std::string& org) {
    auto db = OrgDb::Open(env_, node_.FolderOf(org));
    EXPECT_TRUE(db.ok()) << db.status();
    return *std::move(db);
  }
  static void Put(OrgDb& db, rocksdb::ColumnFamilyHandle* family, const std::string& key,
                  const std::string& value) {
    rocksdb::WriteOptions options;
    options.disableWAL = true;
    ASSERT_TRUE(db.db().Put(options, family, key, value).ok());
    ASSERT_TRUE(db.db().Flush(rocksdb::FlushOptions(), db.handles()).ok());
  }

  const std::shared_ptr<RocksEnv> env_ = std::make_shared<RocksEnv>(RocksEnv::Limits{});
};

TEST_F(StoreFormat, StoresOfAnyOlderFormatAreBuiltAnewFromTheLog) {
  for (uint32_t format = 1; format < kStoreFormatOldest; ++format) {
    SCOPED_TRACE(format);
    SetFormat(format);
    MakeRowsUnreadable();
    node_.Start();
    ExpectToBeBuiltAnew();
    node_.CatchUp(log_);
    ExpectAsBefore();
    node_.Checkpoint();
    // Once is enough.
    node_.Restart();
    EXPECT_EQ(node_->CheckpointOf(StoreNode::kPartition), Offset(offset_ + 1));
    ExpectAsBefore();
    node_.Stop();
    EXPECT_EQ(NodeFormat(), kStoreFormat);
    for (const std::string& org : kOrgs) {
      EXPECT_EQ(OrgFormat(org), kStoreFormat) << org;
    }
  }
}

// Format 4 lacks the states of sources alone: nothing has to be read anew for them.
TEST_F(StoreFormat, StoresOfFormat4AreReadOn) {
  SetFormat(4);
  node_.Start();
  EXPECT_EQ(node_->CheckpointOf(StoreNode::kPartition), Offset(offset_ + 1));
  ExpectAsBefore();
  node_.Stop();
  EXPECT_EQ(NodeFormat(), kStoreFormat);
  EXPECT_EQ(OrgFormat("acme"), 4u) << "nothing was written to it";
  node_.Start();
  AddAccounts();
  node_.CatchUp(log_);
  node_.Checkpoint();
  for (const std::string& org : kOrgs) {
    node_.ExpectFoldOf(org, log_);
  }
  node_.Stop();
  for (const std::string& org : kOrgs) {
    EXPECT_EQ(OrgFormat(org), kStoreFormat) << org;
  }
}

TEST_F(StoreFormat, ACrashWhileTheyAreBuiltAnewDoesNoHarm) {
  SetFormat(kStoreFormatOldest - 1);
  MakeRowsUnreadable();
  node_.Start();
  node_.Crash();
  ExpectToBeBuiltAnew();
  const auto half = log_.begin() + static_cast<std::ptrdiff_t>(log_.size() / 2);
  node_.CatchUp({log_.begin(), half});
  node_.Checkpoint();
  node_.CatchUp(log_);
  node_.Crash();
  EXPECT_EQ(node_->CheckpointOf(StoreNode::kPartition), half->offset);
  node_.CatchUp(log_);
  ExpectAsBefore();
}

// As a crash leaves them that came before the new format was noted.
TEST_F(StoreFormat, AnOlderFormatWithFoldersThatAreGoneAlready) {
  SetFormat(kStoreFormatOldest - 1);
  fs::remove_all(node_.FolderOf("acme"));
  node_.Start();
  ExpectToBeBuiltAnew();
  node_.CatchUp(log_);
  ExpectAsBefore();
}

TEST_F(StoreFormat, WhoeverOnlyLooksIsToldOfAnOlderFormatAndChangesNothing) {
  SetFormat(kStoreFormatOldest - 1);
  const auto files = FilesBelow(orgs_path_);
  StoreOptions options = SmallStoreOptions(dir_ / "node");
  options.log_id = "";
  const absl::Status status = StoreManager::Open(options).status();
  EXPECT_EQ(ErrorCode(status), "store_format_older") << status;
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(FilesBelow(orgs_path_), files);
  EXPECT_EQ(NodeFormat(), kStoreFormatOldest - 1);
}

// The program that they are of may be the one of before, and reads no newer format.
TEST_F(StoreFormat, WhoeverOnlyLooksLeavesFormat4AsItIs) {
  SetFormat(4);
  StoreOptions options = SmallStoreOptions(dir_ / "node");
  options.log_id = "";
  {
    const auto opened = StoreManager::Open(options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    for (const std::string& org : kOrgs) {
      EXPECT_TRUE((*opened)->Verify(Org(org)).ok()) << org;
    }
    EXPECT_TRUE((*opened)->Close().ok());
  }
  EXPECT_EQ(NodeFormat(), 4u);
  for (const std::string& org : kOrgs) {
    EXPECT_EQ(OrgFormat(org), 4u) << org;
  }
}

TEST_F(StoreFormat, ANewerFormatIsRefusedAndLeftAsItIs) {
  SetFormat(kStoreFormat + 1);
  const auto files = FilesBelow(orgs_path_);
  EXPECT_GT(files.size(), 4u);
  const absl::Status status = StoreManager::Open(SmallStoreOptions(dir_ / "node")).status();
  EXPECT_EQ(ErrorCode(status), "store_format_newer") << status;
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  for (const std::string& part : {dir_ / "node ", "format " + std::to_string(kStoreFormat + 1),
                                  "up to " + std::to_string(kStoreFormat)}) {
    EXPECT_NE(Message(status).find(part), std::string_view::npos) << status;
  }
  EXPECT_EQ(FilesBelow(orgs_path_), files);
  EXPECT_EQ(NodeFormat(), kStoreFormat + 1);
  // Nothing has been sent back either.
  SetFormat(kStoreFormat);
  node_.Start();
  EXPECT_EQ(node_->CheckpointOf(StoreNode::kPartition), Offset(offset_ + 1));
  ExpectAsBefore();
}

// As a copy from before would be.
TEST_F(StoreFormat, AnOlderStoreAmongOursIsRefusedAlone) {
  SetOrgFormat("acme", kStoreFormatOldest - 1);
  node_.Start();
  const absl::Status status = node_->Digest(Org("acme")).status();
  EXPECT_EQ(ErrorCode(status), "store_format_older") << status;
  EXPECT_EQ(node_->Digest(Org("beta")).value(), digests_["beta"]);
}

TEST_F(StoreFormat, ANewerStoreAmongOursIsRefusedAlone) {
  SetOrgFormat("acme", kStoreFormat + 1);
  node_.Start();
  const absl::Status status = node_->Digest(Org("acme")).status();
  EXPECT_EQ(ErrorCode(status), "store_format_newer") << status;
  EXPECT_NE(Message(status).find("organisation acme"), std::string_view::npos) << status;
  AddAccounts();
  const absl::Status applied = node_.TryCatchUp(log_, 1000);
  EXPECT_EQ(ErrorCode(applied), "store_format_newer") << applied;
  node_.ExpectFoldOf("beta", log_);
  node_.Stop();
  EXPECT_EQ(OrgFormat("acme"), kStoreFormat + 1);
  // What it holds is still there: the program of that format goes on with it.
  SetOrgFormat("acme", kStoreFormat);
  node_.Start();
  EXPECT_EQ(node_->Digest(Org("acme")).value(), digests_["acme"]);
  node_.CatchUp(log_);
  node_.ExpectFoldOf("acme", log_);
}

}  // namespace
}  // namespace sluice::projectors

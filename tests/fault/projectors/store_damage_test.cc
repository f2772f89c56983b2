#include <gtest/gtest.h>
#include <rocksdb/db.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "projectors/store/org_db.h"
#include "schemas/base/status.h"
#include "tests/support/small_disk.h"
#include "tests/support/store_node.h"

// Folders that are gone, damaged, another log's, in use or not writable.
namespace sluice::projectors {
namespace {

namespace fs = std::filesystem;
using eventlog::StoredEvent;
using testing::AccountEvent;
using testing::Org;
using testing::SmallStoreOptions;
using testing::StoreNode;
using Log = std::vector<StoredEvent>;

// The files of a store with that extension, ascending.
std::vector<fs::path> FilesOf(const std::string& folder, const std::string& prefix,
                              const std::string& extension) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().filename().string().starts_with(prefix) &&
        entry.path().extension() == extension) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

void FlipByte(const fs::path& file, std::streamoff at) {
  std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
  stream.seekg(at);
  const int byte = stream.get();
  ASSERT_NE(byte, EOF);
  stream.seekp(at);
  stream.put(static_cast<char>(byte ^ 0x40));
}

// acme and beta in one partition, both with accounts and two checkpoints.
class StoreDamage : public ::testing::Test {
 protected:
  StoreDamage() {
    for (const char* org : {"acme", "beta"}) {
      for (StoredEvent& event : testing::OrgWithAccounts(org, Next())) {
        offset_ = event.offset.value();
        log_.push_back(std::move(event));
      }
    }
    AddAccounts();
    node_.CatchUp(log_);
    node_.Checkpoint();
    AddAccounts();
    node_.CatchUp(log_);
    node_.Checkpoint();
  }
  int64_t Next() { return ++offset_; }
  void AddAccounts() {
    for (int i = 0; i < 40; ++i) {
      const int64_t offset = Next();
      log_.push_back(AccountEvent(i % 2 == 0 ? "acme" : "beta", offset,
                                  "A" + std::to_string(offset), "U" + std::to_string(i % 3),
                                  "s" + std::to_string(offset)));
    }
  }
  void ExpectBothEqualTheLog() {
    node_.ExpectFoldOf("acme", log_);
    node_.ExpectFoldOf("beta", log_);
  }
  static void ExpectNamesAcme(const absl::Status& status, const std::string& folder) {
    EXPECT_EQ(ErrorCode(status), "store_corrupt") << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
    EXPECT_NE(Message(status).find("organisation acme"), std::string_view::npos) << status;
    EXPECT_NE(Message(status).find(folder), std::string_view::npos) << status;
    EXPECT_NE(Message(status).find("delete the folder"), std::string_view::npos) << status;
  }
  // acme's store is damaged, and says so; beta goes on, and acme does once its folder is deleted.
  void ExpectDamageOfAcmeAlone() {
    const std::string folder = node_.FolderOf("acme");
    ExpectNamesAcme(node_->Digest(Org("acme")).status(), folder);
    EXPECT_TRUE(node_->Snapshot(Org("beta")).ok());
    AddAccounts();
    ExpectNamesAcme(node_.TryCatchUp(log_, 1000), folder);
    node_.ExpectFoldOf("beta", log_);
    fs::remove_all(folder);
    node_.CatchUp(log_);
    ExpectBothEqualTheLog();
    node_.Checkpoint();
    node_.Restart();
    ExpectBothEqualTheLog();
  }

  const testing::TempDir dir_;
  int64_t offset_ = 0;
  Log log_;
  StoreNode node_{SmallStoreOptions(dir_ / "node")};
};

TEST_F(StoreDamage, AFolderThatIsGoneIsBuiltAnewFromItsOpening) {
  node_.Stop();
  fs::remove_all(node_.FolderOf("beta"));
  node_.Start();
  EXPECT_EQ(node_->CheckpointOf(StoreNode::kPartition), Offset(5)) << "beta's OrgOpened";
  EXPECT_EQ(node_->CheckpointState(StoreNode::kPartition).position, kNoOffset);
  EXPECT_EQ(ErrorCode(node_->Snapshot(Org("beta")).status()), "org_not_found");
  EXPECT_TRUE(node_->Snapshot(Org("acme")).ok());
  node_.CatchUp(log_);
  ExpectBothEqualTheLog();
}

TEST_F(StoreDamage, AFolderThatGoesWhileItIsClosedIsBuiltAnewWithoutARestart) {
  StoreOptions options = SmallStoreOptions(dir_ / "other");
  options.open_stores_max = 1;
  StoreNode node(options);
  node.CatchUp(log_);
  node.Checkpoint();
  node.ExpectFoldOf("beta", log_);  // so acme's is closed
  fs::remove_all(node.FolderOf("acme"));
  AddAccounts();
  node.CatchUp(log_);
  EXPECT_EQ(node.rewound, 1);
  node.ExpectFoldOf("acme", log_);
  node.ExpectFoldOf("beta", log_);
}

// A block that could not be read once may never be asked for again: whether the store is well, all
// of it tells.
TEST_F(StoreDamage, AStoreOfADiskThatFailedIsReadAsAWhole) {
  node_.Stop();
  const auto env = std::make_shared<RocksEnv>(RocksEnv::Limits{});
  const auto db = OrgDb::Open(env, node_.FolderOf("acme")).value();
  EXPECT_FALSE(db->io_failed());
  const absl::Status error = Error(absl::StatusCode::kUnavailable, "store_io_error", "EIO");
  EXPECT_EQ(db->Note(error), error);
  EXPECT_TRUE(db->io_failed());
  EXPECT_TRUE(env->damage_seen());
  const auto tables = FilesOf(node_.FolderOf("acme"), "", ".sst");
  ASSERT_GT(tables.size(), 1U);
  const auto read_whole = [&db](size_t* steps) {
    absl::Status status;
    do {
      status = db->ReadOn(std::chrono::milliseconds(0));
      ++*steps;
    } while (ErrorCode(status) == "store_reading");
    return status;
  };
  size_t steps = 0;
  EXPECT_TRUE(read_whole(&steps).ok());
  EXPECT_EQ(steps, tables.size()) << "no step is longer than one table where it has no time";
  EXPECT_FALSE(db->io_failed());
  EXPECT_FALSE(db->Note(error).ok());
  EXPECT_TRUE(db->ReadOn(std::chrono::hours(1)).ok()) << "nor shorter than its time";
  // What is written meanwhile need not be read: with steady writes there would be no end.
  EXPECT_FALSE(db->Note(error).ok());
  steps = 1;
  EXPECT_EQ(ErrorCode(db->ReadOn(std::chrono::milliseconds(0))), "store_reading");
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(db->db().Put({}, db->links(), std::to_string(i), "").ok());
    ASSERT_TRUE(db->db().Flush({}, db->links()).ok());
  }
  EXPECT_TRUE(read_whole(&steps).ok());
  EXPECT_EQ(steps, tables.size());
  FlipByte(tables.front(), 20);
  EXPECT_TRUE(db->ReadOn(std::chrono::milliseconds(0)).ok()) << "nothing has failed since";
  EXPECT_FALSE(db->Note(error).ok());
  EXPECT_EQ(ErrorCode(read_whole(&steps)), "store_corrupt");
  EXPECT_TRUE(db->io_failed());
}

TEST_F(StoreDamage, EveryTruncationOfTheManifestIsNoticedOrHarmless) {
  node_.Stop();
  const std::string folder = node_.FolderOf("acme");
  fs::copy(folder, dir_ / "copy");
  const fs::path manifest = FilesOf(folder, "MANIFEST", "").back();
  const auto size = fs::file_size(manifest);
  int noticed = 0;
  for (uintmax_t left = 0; left < size; left += 1 + size / 23) {
    fs::remove_all(folder);
    fs::copy(dir_ / "copy", folder);
    fs::resize_file(manifest, left);
    node_.Start();
    const auto digest = node_->Digest(Org("acme"));
    if (digest.ok()) {
      node_.ExpectFoldOf("acme", log_);
    } else {
      ++noticed;
      ExpectNamesAcme(digest.status(), folder);
    }
    node_.ExpectFoldOf("beta", log_);
    node_.Stop();
  }
  EXPECT_GT(noticed, 10);
}

TEST_F(StoreDamage, AManifestThatIsGoneStopsItsOrganisationOnly) {
  node_.Stop();
  fs::remove(FilesOf(node_.FolderOf("acme"), "MANIFEST", "").back());
  node_.Start();
  ExpectDamageOfAcmeAlone();
}

TEST_F(StoreDamage, AMissingCurrentStopsItsOrganisationOnly) {
  node_.Stop();
  fs::remove(node_.FolderOf("acme") + "/CURRENT");
  node_.Start();
  ExpectDamageOfAcmeAlone();
}

TEST_F(StoreDamage, AFlippedByteInATableStopsItsOrganisationOnly) {
  node_.Stop();
  for (const fs::path& table : FilesOf(node_.FolderOf("acme"), "", ".sst")) {
    FlipByte(table, 12);
  }
  node_.Start();
  ExpectDamageOfAcmeAlone();
}

// Opening a pipe waits for somebody who writes to it.
TEST_F(StoreDamage, AFileThatIsNoRegularOneStopsItsOrganisationOnly) {
  const std::string folder = node_.FolderOf("acme");
  for (const auto& [prefix, extension] :
       {std::pair("", ".sst"), std::pair("MANIFEST", ""), std::pair("CURRENT", "")}) {
    for (const bool pipe : {true, false}) {
      node_.Checkpoint();
      node_.Stop();
      const fs::path file = FilesOf(folder, prefix, extension).back();
      fs::remove(file);
      if (pipe) {
        ASSERT_EQ(::mkfifo(file.c_str(), 0600), 0);
      } else {
        fs::create_directory(file);
      }
      node_.Start();
      ExpectDamageOfAcmeAlone();
    }
  }
}

TEST_F(StoreDamage, AnOlderCopyOfAStoreIsNoticed) {
  node_.Stop();
  fs::copy(node_.FolderOf("acme"), dir_ / "copy");
  node_.Start();
  AddAccounts();
  node_.CatchUp(log_);
  node_.Checkpoint();
  node_.Stop();
  fs::remove_all(node_.FolderOf("acme"));
  fs::copy(dir_ / "copy", node_.FolderOf("acme"));
  node_.Start();
  ExpectDamageOfAcmeAlone();
}

TEST_F(StoreDamage, AnotherOrganisationsFolderIsNotTaken) {
  node_.Stop();
  fs::remove_all(node_.FolderOf("acme"));
  fs::copy(node_.FolderOf("beta"), node_.FolderOf("acme"));
  node_.Start();
  ExpectDamageOfAcmeAlone();
}

TEST_F(StoreDamage, ADamagedNodeStoreIsNamedAndAllIsBuiltAnewWithoutIt) {
  node_.Stop();
  const std::string path = dir_ / "node/node";
  fs::remove(path + "/CURRENT");
  const auto opened = StoreManager::Open(SmallStoreOptions(dir_ / "node"));
  EXPECT_EQ(ErrorCode(opened.status()), "store_corrupt") << opened.status();
  EXPECT_NE(Message(opened.status()).find(path), std::string_view::npos) << opened.status();
  fs::remove_all(path);
  node_.Start();
  EXPECT_EQ(node_->CheckpointOf(StoreNode::kPartition), Offset(0));
  node_.CatchUp(log_);
  ExpectBothEqualTheLog();
}

TEST_F(StoreDamage, StoresOfAnotherLogAreRefusedWithBothIds) {
  node_.Stop();
  StoreOptions options = SmallStoreOptions(dir_ / "node");
  options.log_id = "another-log";
  const auto opened = StoreManager::Open(options);
  EXPECT_EQ(ErrorCode(opened.status()), "store_of_other_log") << opened.status();
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_NE(Message(opened.status()).find("another-log"), std::string_view::npos);
  EXPECT_NE(Message(opened.status()).find(testing::kTestLogId), std::string_view::npos);
  // One store of another log among ours.
  StoreNode other(options = [&] {
    StoreOptions moved = options;
    moved.path = dir_ / "other";
    return moved;
  }());
  other.CatchUp(log_);
  other.Checkpoint();
  other.Stop();
  fs::remove_all(node_.FolderOf("acme"));
  fs::copy(other.FolderOf("acme"), node_.FolderOf("acme"));
  node_.Start();
  const auto digest = node_->Digest(Org("acme"));
  EXPECT_EQ(ErrorCode(digest.status()), "store_of_other_log") << digest.status();
  EXPECT_NE(Message(digest.status()).find("acme"), std::string_view::npos) << digest.status();
  node_.ExpectFoldOf("beta", log_);
}

TEST_F(StoreDamage, AFolderInUseIsRefused) {
  const auto second = StoreManager::Open(SmallStoreOptions(dir_ / "node"));
  EXPECT_EQ(ErrorCode(second.status()), "store_in_use") << second.status();
  // From another process too.
  (void)fflush(stdout);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    execl("/proc/self/exe", "store_damage_test", "--open", (dir_ / "node").c_str(), nullptr);
    _exit(9);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 7) << "not refused with store_in_use";
  ExpectBothEqualTheLog();
}

TEST(StoreReadOnly, AFolderThatCannotBeWrittenIsRefused) {
  const testing::SmallDisk disk(48);
  const StoreOptions options = SmallStoreOptions(disk / "node");
  { StoreNode node(options); }
  if (disk.SetReadOnly(true)) {
    const auto opened = StoreManager::Open(options);
    EXPECT_EQ(ErrorCode(opened.status()), "store_read_only") << opened.status();
    ASSERT_TRUE(disk.SetReadOnly(false));
  } else {
    fs::permissions(options.path + "/node", fs::perms::owner_read | fs::perms::owner_exec);
    const auto opened = StoreManager::Open(options);
    EXPECT_EQ(ErrorCode(opened.status()), "store_read_only") << opened.status();
    fs::permissions(options.path + "/node", fs::perms::owner_all);
  }
  EXPECT_TRUE(StoreManager::Open(options).ok());
}

}  // namespace
}  // namespace sluice::projectors

// `--open <path>`: what a second process sees; exit code 7 for store_in_use.
int main(int argc, char** argv) {
  if (argc == 3 && std::string_view(argv[1]) == "--open") {
    const auto opened =
        sluice::projectors::StoreManager::Open(sluice::testing::SmallStoreOptions(argv[2]));
    return sluice::ErrorCode(opened.status()) == "store_in_use" ? 7 : 8;
  }
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/synchronization/notification.h"
#include "tests/support/small_disk.h"
#include "tests/support/store_node.h"

// The disk fills up under running stores, and has room again later.
namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using testing::FileSizeLimit;
using testing::Org;
using testing::SmallDisk;
using testing::SmallStoreOptions;
using testing::StoreNode;
using Log = std::vector<StoredEvent>;

class StoreDiskFull : public ::testing::Test {
 protected:
  StoreDiskFull() {
    for (const char* org : {"acme", "beta"}) {
      for (StoredEvent& event : testing::OrgWithAccounts(org, offset_ + 1)) {
        offset_ = event.offset.value();
        log_.push_back(std::move(event));
      }
    }
  }
  // Rows that do not compress.
  void AddAccounts(size_t count, size_t row_bytes) {
    for (size_t i = 0; i < count; ++i) {
      std::string owner(row_bytes, ' ');
      std::generate(owner.begin(), owner.end(),
                    [&] { return static_cast<char>('!' + random_() % 90); });
      const int64_t offset = ++offset_;
      const std::string row =
          testing::RowWriter().Text(1, std::to_string(offset)).Text(2, "U1").Text(3, owner).bytes();
      log_.push_back(testing::MakeEvent(
          offset, testing::MakeSet({testing::Upsert(1, std::to_string(offset), row)}),
          i % 2 == 0 ? "acme" : "beta"));
    }
  }
  // Applies and checkpoints until that fails; what was published before stays.
  absl::Status FillUntilError(StoreNode& node) {
    absl::Status status;
    for (int i = 0; i < 400 && status.ok(); ++i) {
      AddAccounts(8, 32 << 10);
      status = node.TryCatchUp(log_);
      if (status.ok() && i % 4 == 3) {
        status = node.TryCheckpoint().status();
      }
    }
    return status;
  }
  static void ExpectDiskFull(const absl::Status& status) {
    EXPECT_EQ(ErrorCode(status), "disk_full") << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  }
  // Every store is at a position that was published, and no further.
  void ExpectNothingNew(StoreNode& node, const std::string& org, Offset applied) {
    const auto snapshot = node->Snapshot(Org(org));
    ASSERT_TRUE(snapshot.ok()) << snapshot.status();
    EXPECT_EQ((*snapshot)->applied().position, applied);
  }
  void ExpectRecovery(StoreNode& node, const StoreOptions& options) {
    absl::Status status;
    // RocksDB looks every five seconds whether there is room again.
    const absl::Notification never;
    for (int i = 0; i < 300; ++i, never.WaitForNotificationWithTimeout(absl::Milliseconds(100))) {
      status = node.TryCatchUp(log_);
      if (status.ok()) {
        status = node.TryCheckpoint().status();
      }
      if (status.ok()) {
        break;
      }
    }
    ASSERT_TRUE(status.ok()) << status;
    ExpectBoth(node);
    AddAccounts(10, 100);
    node.CatchUp(log_);
    ExpectBoth(node);
    node.Crash();
    node.CatchUp(log_);
    ExpectBoth(node);
    const testing::TempDir dir;
    StoreOptions fresh = options;
    fresh.path = dir / "fresh";
    StoreNode rebuilt(fresh);
    rebuilt.CatchUp(log_);
    for (const char* org : {"acme", "beta"}) {
      EXPECT_EQ(node->Digest(Org(org)).value(), rebuilt->Digest(Org(org)).value());
    }
  }
  void ExpectBoth(StoreNode& node) {
    node.ExpectFoldOf("acme", log_);
    node.ExpectFoldOf("beta", log_);
  }

  std::mt19937_64 random_{42};
  int64_t offset_ = 0;
  Log log_;
};

TEST_F(StoreDiskFull, AFullDiskStopsWorkUntilThereIsSpace) {
  const SmallDisk disk(64);
  const StoreOptions options = SmallStoreOptions(disk / "node");
  StoreNode node(options);
  AddAccounts(20, 1000);
  node.CatchUp(log_);
  node.Checkpoint();
  if (disk.mounted()) {
    disk.FillUpTo(14 << 20);
    ExpectDiskFull(FillUntilError(node));
    const Offset acme = node->AppliedOf(Org("acme"));
    const Offset beta = node->AppliedOf(Org("beta"));
    disk.FillUpTo(0);
    for (int i = 0; i < 5; ++i) {
      AddAccounts(8, 1000);
      ExpectDiskFull(node.TryCatchUp(log_));
      EXPECT_FALSE(node.TryCheckpoint().ok());
      ExpectNothingNew(node, "acme", acme);
      ExpectNothingNew(node, "beta", beta);
    }
    disk.Free();
  } else {
    fmt::print("no tmpfs without root: a file-size limit stands in for the full disk\n");
    const FileSizeLimit limit(64 << 10);
    ExpectDiskFull(FillUntilError(node));
  }
  ExpectRecovery(node, options);
  node.Stop();
}

// The guard sees a disk with room, so RocksDB's own flushes fail, in the background too.
TEST_F(StoreDiskFull, AFileSizeLimitStopsWorkUntilItIsLifted) {
  const testing::TempDir dir;
  const StoreOptions options = SmallStoreOptions(dir / "node");
  StoreNode node(options);
  AddAccounts(20, 1000);
  node.CatchUp(log_);
  node.Checkpoint();
  {
    const FileSizeLimit limit(64 << 10);
    const absl::Status failure = FillUntilError(node);
    EXPECT_FALSE(failure.ok());
    fmt::print("failed with {}: {}\n", ErrorCode(failure), Message(failure));
    for (int i = 0; i < 20; ++i) {
      AddAccounts(4, 32 << 10);
      const absl::Status applied = node.TryCatchUp(log_);
      const auto checkpoint = node.TryCheckpoint();
      EXPECT_FALSE(applied.ok() && checkpoint.ok()) << "all of it cannot be durable";
    }
  }
  ExpectRecovery(node, options);
  EXPECT_GE(node.rewound, 1) << "a flush that fails for good sends the store back to the disk's";
}

TEST_F(StoreDiskFull, OpeningOnAFullDiskFailsClearlyAndWorksLater) {
  const SmallDisk disk(64);
  StoreOptions options = SmallStoreOptions(disk / "node");
  if (!disk.mounted()) {
    fmt::print("no tmpfs without root: a file-size limit stands in for the full disk\n");
    const FileSizeLimit limit(1);
    ExpectDiskFull(StoreManager::Open(options).status());
  } else {
    disk.FillUpTo(0);
    ExpectDiskFull(StoreManager::Open(options).status());
    disk.Free();
  }
  options.open_stores_max = 1;
  StoreNode node(options);
  AddAccounts(20, 1000);
  node.CatchUp(log_);
  node.Checkpoint();
  if (disk.mounted()) {
    disk.FillUpTo(0);
    ExpectDiskFull(node->Digest(Org("acme")).status());  // it is closed: beta was the last one
    disk.FillUpTo(4 << 20);
    ExpectDiskFull(node->Digest(Org("acme")).status());
    Log more = log_;
    for (StoredEvent& event : testing::OrgWithAccounts("corp", 1000)) {
      more.push_back(std::move(event));
    }
    ExpectDiskFull(node.TryCatchUp(more));
    disk.Free();
    node.CatchUp(more);
    node.ExpectFoldOf("corp", more);
  }
  ExpectBoth(node);
  node.Stop();
}

// A store that cannot be made for lack of space leaves nothing in the way of the next attempt.
TEST_F(StoreDiskFull, AStoreThatCouldNotBeMadeIsMadeLater) {
  const testing::TempDir dir;
  const StoreOptions options = SmallStoreOptions(dir / "node");
  StoreNode node(options);
  {
    const FileSizeLimit limit(1);
    for (int i = 0; i < 3; ++i) {
      EXPECT_FALSE(node.TryCatchUp(log_).ok());
    }
  }
  ExpectRecovery(node, options);
}

}  // namespace
}  // namespace sluice::projectors

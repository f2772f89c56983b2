#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "eventlog/embedded/embedded_log.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"
#include "tests/support/log_reading.h"
#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"

// Writing stops working under a running log, and works again later.
namespace sluice::eventlog {
namespace {

constexpr PartitionId kP0{0};

using testing::FileSizeLimit;
using testing::SmallDisk;

class DiskFull : public ::testing::Test {
 protected:
  void Open(const std::string& path) {
    log_.reset();
    auto opened = EmbeddedLog::Open({.path = path, .partitions = 2});
    ASSERT_TRUE(opened.ok()) << opened.status();
    log_ = std::move(opened).value();
  }

  // Appends a batch of two events of 32 KiB; remembers it when it was acknowledged.
  absl::Status AppendOne() {
    const RealClock clock;
    std::vector<Event> batch(2);
    for (Event& event : batch) {
      event.id = NewUuid7(clock);
      event.value.assign(32 << 10, 'x');
    }
    std::vector<std::string> ids = {batch[0].id, batch[1].id};
    const auto offsets = log_->Append(Topic::kChanges, kP0, std::move(batch));
    if (offsets.ok()) {
      EXPECT_EQ(offsets->front(), Offset(static_cast<int64_t>(acknowledged_.size())))
          << "offsets go on without a gap after failures";
      std::move(ids.begin(), ids.end(), std::back_inserter(acknowledged_));
    }
    return offsets.status();
  }

  absl::Status AppendUntilError() {
    absl::Status status;
    for (int i = 0; i < 2000 && status.ok(); ++i) {
      status = AppendOne();
    }
    return status;
  }

  // The log recovers by itself, at the latest when its file manager looks again after some seconds.
  void ExpectRecovery() {
    auto reader = log_->OpenReader(Topic::kNodes, kP0, Offset(0));
    ASSERT_TRUE(reader.ok());
    absl::Status status = AppendOne();
    for (int i = 0; i < 300 && !status.ok(); ++i) {
      ASSERT_TRUE((*reader)->Read({.wait_max = std::chrono::milliseconds(100)}).ok());
      status = AppendOne();
    }
    EXPECT_TRUE(status.ok()) << status;
    EXPECT_TRUE(log_->Health().ok()) << log_->Health();
  }

  void ExpectExactlyTheAcknowledged() {
    const auto events = testing::ReadWholePartition(*log_, Topic::kChanges, kP0);
    ASSERT_EQ(events.size(), acknowledged_.size());
    for (size_t i = 0; i < events.size(); ++i) {
      ASSERT_EQ(events[i].offset, Offset(static_cast<int64_t>(i)));
      ASSERT_EQ(events[i].event.id, acknowledged_[i]);
    }
  }

  // `path` has no room; `make_room` changes that.
  void FailThenRecover(const std::string& path, const std::string& code,
                       const std::function<void()>& make_room) {
    const absl::Status failure = AppendUntilError();
    EXPECT_EQ(failure.code(), absl::StatusCode::kUnavailable) << failure;
    EXPECT_EQ(ErrorCode(failure), code) << failure;
    EXPECT_GT(acknowledged_.size(), 0U);
    EXPECT_FALSE(log_->Health().ok());
    for (int i = 0; i < 20; ++i) {
      EXPECT_FALSE(AppendOne().ok()) << "nothing is acknowledged while there is no room";
    }
    ExpectExactlyTheAcknowledged();
    make_room();
    ExpectRecovery();
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(AppendOne().ok());
    }
    ExpectExactlyTheAcknowledged();
    Open(path);
    ExpectExactlyTheAcknowledged();
  }

  std::unique_ptr<EmbeddedLog> log_;
  std::vector<std::string> acknowledged_;
};

TEST_F(DiskFull, AFileSizeLimitStopsAppendsUntilItIsLifted) {
  const testing::TempDir dir;
  const std::string path = dir / "log";
  Open(path);
  ASSERT_TRUE(AppendOne().ok());
  const FileSizeLimit limit(512 << 10);
  FailThenRecover(path, "log_write_failed", [&] { limit.Lift(); });
}

TEST_F(DiskFull, AFullDiskStopsAppendsUntilThereIsSpace) {
  const SmallDisk disk(48);
  if (!disk.mounted()) {
    fmt::print("no tmpfs without root: a file-size limit stands in for the full disk\n");
    Open(disk / "log");
    const FileSizeLimit limit(512 << 10);
    FailThenRecover(disk / "log", "log_write_failed", [&] { limit.Lift(); });
    return;
  }
  const std::string path = disk / "log";
  Open(path);
  ASSERT_TRUE(AppendOne().ok());
  disk.FillUpTo(12 << 20);
  FailThenRecover(path, "disk_full", [&] { disk.Free(); });
  log_.reset();
}

TEST_F(DiskFull, OpeningOnAFullDiskFailsClearlyAndWorksLater) {
  const SmallDisk disk(48);
  const std::string path = disk / "log";
  if (!disk.mounted()) {
    fmt::print("no tmpfs without root: a file-size limit stands in for the full disk\n");
    const FileSizeLimit limit(1);
    EXPECT_FALSE(EmbeddedLog::Open({.path = path}).ok());
  } else {
    disk.FillUpTo(0);
    const auto opened = EmbeddedLog::Open({.path = path});
    ASSERT_FALSE(opened.ok());
    EXPECT_EQ(ErrorCode(opened.status()), "disk_full") << opened.status();
    disk.Free();
  }
  Open(path);
  EXPECT_TRUE(AppendOne().ok());
  log_.reset();
}

}  // namespace
}  // namespace sluice::eventlog

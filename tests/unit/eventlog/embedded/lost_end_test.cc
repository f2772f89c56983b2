#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "eventlog/embedded/embedded_log.h"
#include "schemas/base/status.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/eventlog/log_testing.h"

// A log whose files lost acknowledged events is refused, and taken again once a new epoch says so.
namespace sluice::eventlog {
namespace {

namespace fs = std::filesystem;

constexpr PartitionId kP1{1};

EmbeddedLogOptions Options(const std::string& path) { return {.path = path, .partitions = 2}; }

// Opens, appends `count` events to the partition one by one, and closes. Returns the log's id.
std::string AppendTo(const std::string& path, PartitionId partition, int count) {
  auto log = EmbeddedLog::Open(Options(path));
  EXPECT_TRUE(log.ok()) << log.status();
  if (!log.ok()) {
    return "";
  }
  for (int i = 0; i < count; ++i) {
    EXPECT_TRUE((*log)->Append(Topic::kChanges, partition, {MakeEvent(std::to_string(i))}).ok());
  }
  return (*log)->id();
}

std::string CodeOfOpening(const std::string& path) {
  const auto opened = EmbeddedLog::Open(Options(path));
  return opened.ok() ? "opened" : ErrorCode(opened.status());
}

fs::path NewestWal(const std::string& path) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".log" && entry.file_size() > 0) {
      files.push_back(entry.path());
    }
  }
  return files.empty() ? fs::path() : *std::max_element(files.begin(), files.end());
}

TEST(LostEnd, AWriteAheadLogCutShortIsRefused) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  AppendTo(path, kP1, 50);
  const fs::path wal = NewestWal(path);
  ASSERT_FALSE(wal.empty());
  fs::resize_file(wal, fs::file_size(wal) / 2);
  const auto opened = EmbeddedLog::Open(Options(path));
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(ErrorCode(opened.status()), "log_truncated") << opened.status();
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss);
  for (const char* part : {"changes-1", "ended at offset 50", "sluice log new-epoch"}) {
    EXPECT_NE(Message(opened.status()).find(part), std::string_view::npos) << opened.status();
  }
  EXPECT_EQ(CodeOfOpening(path), "log_truncated") << "a refusal must not forget what it compared";
}

TEST(LostEnd, EveryRecordMissingAtTheEndIsNoticed) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  AppendTo(path, kP0, 3);
  const fs::path wal = NewestWal(path);
  fs::resize_file(wal, fs::file_size(wal) - 1);
  EXPECT_EQ(CodeOfOpening(path), "log_truncated");
}

TEST(LostEnd, AWholeFileMissingIsNoticed) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  AppendTo(path, kP0, 5);
  AppendTo(path, kP0, 5);
  fs::remove(NewestWal(path));
  const std::string code = CodeOfOpening(path);
  EXPECT_TRUE(code == "log_truncated" || code == "log_corrupt") << code;
}

TEST(LostEnd, FilesPutBackFromAnEarlierTimeAreNoticed) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  AppendTo(path, kP0, 5);
  fs::copy(path, dir / "copy");
  AppendTo(path, kP0, 5);
  fs::copy(path + "/ends", dir / "ends");
  fs::remove_all(path);
  fs::copy(dir / "copy", path);
  EXPECT_EQ(CodeOfOpening(path), "opened") << "a whole copy is consistent in itself";
  fs::copy_file(dir / "ends", path + "/ends", fs::copy_options::overwrite_existing);
  EXPECT_EQ(CodeOfOpening(path), "log_truncated");
}

TEST(LostEnd, ANewEpochTakesWhatIsThereAndIsAnotherLog) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  const std::string before = AppendTo(path, kP0, 50);
  const fs::path wal = NewestWal(path);
  fs::resize_file(wal, fs::file_size(wal) / 2);
  ASSERT_EQ(CodeOfOpening(path), "log_truncated");
  const auto change = EmbeddedLog::StartEpoch(Options(path));
  ASSERT_TRUE(change.ok()) << change.status();
  EXPECT_EQ(change->id_before, before);
  EXPECT_NE(change->id, before);
  EXPECT_EQ(change->id.substr(0, change->id.find('#')), before.substr(0, before.find('#')));
  EXPECT_EQ(AppendTo(path, kP0, 1), change->id);
  EXPECT_EQ(CodeOfOpening(path), "opened");
}

TEST(LostEnd, ANewEpochWaitsForTheServerToStop) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  auto log = EmbeddedLog::Open(Options(path));
  ASSERT_TRUE(log.ok()) << log.status();
  const std::string id = (*log)->id();
  EXPECT_EQ(ErrorCode(EmbeddedLog::StartEpoch(Options(path)).status()), "log_locked");
  log->reset();
  EXPECT_EQ(AppendTo(path, kP0, 1), id);
}

TEST(LostEnd, ALogWithoutRecordedEndsGetsThem) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  AppendTo(path, kP0, 5);
  fs::remove(path + "/ends");
  ASSERT_EQ(CodeOfOpening(path), "opened");
  for (const auto& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".log") {
      fs::resize_file(entry.path(), 0);
    }
  }
  EXPECT_EQ(CodeOfOpening(path), "log_truncated");
}

TEST(LostEnd, RetentionAndADamagedRecordAreNoLoss) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  {
    auto log = EmbeddedLog::Open(Options(path));
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Append(Topic::kChanges, kP0, {MakeEvent("a"), MakeEvent("b")}).ok());
    ASSERT_TRUE((*log)->TruncateBefore(Topic::kChanges, kP0, Offset(2)).ok());
  }
  EXPECT_EQ(CodeOfOpening(path), "opened");
  std::fstream(path + "/ends", std::ios::in | std::ios::out | std::ios::binary)
      .seekp(2 * 32 + 15)
      .put('\x7f');
  EXPECT_EQ(CodeOfOpening(path), "opened");
}

// Partition 1 of `changes` in a log of 2 partitions: the worked example of
// eventlog/docs/embedded-log-format.md.
TEST(LostEnd, EndsAreRecordedInTheDocumentedForm) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  AppendTo(path, kP1, 3);
  std::ifstream file(path + "/ends", std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(file)), {});
  ASSERT_GE(bytes.size(), 4U * 32);
  using std::string_literals::operator""s;
  EXPECT_EQ(bytes.substr(3 * 32, 16), "\x02\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x03"s);
}

TEST(LostEnd, AToolThatLooksMakesNothingAndTakesTheLogAsItIs) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "none/log";
  EmbeddedLogOptions look = {.path = path, .partitions = 0};
  look.inspect = true;
  EXPECT_EQ(ErrorCode(EmbeddedLog::Open(look).status()), "no_log");
  EXPECT_EQ(ErrorCode(EmbeddedLog::StartEpoch(Options(path)).status()), "no_log");
  EXPECT_FALSE(fs::exists(dir / "none"));
  AppendTo(path, kP0, 50);
  const fs::path wal = NewestWal(path);
  fs::resize_file(wal, fs::file_size(wal) / 2);
  const auto log = EmbeddedLog::Open(look);
  ASSERT_TRUE(log.ok()) << log.status();
  EXPECT_EQ((*log)->PartitionCount(Topic::kChanges), 2);
  const auto range = (*log)->Range(Topic::kChanges, kP0);
  ASSERT_TRUE(range.ok());
  EXPECT_LT(range->end, Offset(50));
}

TEST(LostEnd, TheFolderIsTheOwnersAlone) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  const mode_t before = ::umask(0);
  AppendTo(path, kP0, 1);
  AppendTo(path, kP0, 1);
  ::umask(before);
  const auto mode = [](const fs::path& at) {
    return static_cast<int>(fs::status(at).permissions() & fs::perms::mask);
  };
  EXPECT_EQ(mode(path), 0700);
  EXPECT_EQ(mode(path + "/ends"), 0600);
  // What is there is closed to others when the log is opened; the folder keeps them from new files.
  fs::permissions(path, fs::perms::all);
  const fs::path old = NewestWal(path);
  EXPECT_EQ(CodeOfOpening(path), "opened");
  EXPECT_EQ(mode(path), 0700);
  if (fs::exists(old)) {
    EXPECT_EQ(mode(old), 0600);
  }
}

}  // namespace
}  // namespace sluice::eventlog

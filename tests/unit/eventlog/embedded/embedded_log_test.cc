#include "eventlog/embedded/embedded_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <sys/mount.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "schemas/base/status.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/eventlog/log_testing.h"

// What the conformance suite cannot ask of every log: the folder, and what is wrong with it.
namespace sluice::eventlog {
namespace {

using ::testing::HasSubstr;

std::string CodeOfOpening(const EmbeddedLogOptions& options) {
  const auto opened = EmbeddedLog::Open(options);
  return opened.ok() ? "opened" : ErrorCode(opened.status());
}

TEST(EmbeddedLog, FixesThePartitionsWhenTheLogIsMade) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "new/folder/log";
  ASSERT_TRUE(EmbeddedLog::Open({.path = path, .partitions = 3}).ok());
  EXPECT_EQ(CodeOfOpening({.path = path, .partitions = 4}), "partitions_differ");
  const auto opened = EmbeddedLog::Open({.path = path, .partitions = 3});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ((*opened)->PartitionCount(Topic::kChanges), 3);
  EXPECT_EQ(CodeOfOpening({.path = path, .partitions = 0}), "invalid_argument");
}

TEST(EmbeddedLog, IsOpenInOneProcessAtATime) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  auto opened = EmbeddedLog::Open({.path = path});
  ASSERT_TRUE(opened.ok()) << opened.status();
  EXPECT_EQ(CodeOfOpening({.path = path}), "log_locked");
  ASSERT_TRUE((*opened)->Append(Topic::kChanges, kP0, {MakeEvent("still works")}).ok());
  opened->reset();
  EXPECT_EQ(CodeOfOpening({.path = path}), "opened");
}

TEST(EmbeddedLog, LeavesAnotherProgramsFolderAlone) {
  const sluice::testing::TempDir dir;
  std::ofstream(dir / "letters.txt") << "not a log";
  EXPECT_EQ(CodeOfOpening({.path = dir.path()}), "log_foreign");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir.path()), {}), 1);
}

TEST(EmbeddedLog, SaysThatFilesAreMissingOrDamaged) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  {
    const auto log = EmbeddedLog::Open({.path = path});
    ASSERT_TRUE(log.ok()) << log.status();
    ASSERT_TRUE((*log)->Append(Topic::kChanges, kP0, {MakeEvent("x")}).ok());
  }
  const std::string copy = dir / "copy";
  std::filesystem::copy(path, copy);
  std::filesystem::remove(copy + "/CURRENT");
  EXPECT_EQ(CodeOfOpening({.path = copy}), "log_foreign");
  std::ofstream(path + "/CURRENT") << "MANIFEST-999999\n";
  const std::string code = CodeOfOpening({.path = path});
  EXPECT_TRUE(code == "log_corrupt" || code == "log_open_failed") << code;
}

TEST(EmbeddedLog, SaysThatAFileSystemIsReadOnly) {
  const sluice::testing::TempDir dir;
  const std::string path = dir / "log";
  ASSERT_TRUE(EmbeddedLog::Open({.path = path}).ok());
  if (::geteuid() != 0) {
    std::filesystem::permissions(
        path, std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
    EXPECT_EQ(CodeOfOpening({.path = path}), "log_read_only");
    std::filesystem::permissions(path, std::filesystem::perms::owner_all);
    return;
  }
  // Permissions do not bind root; a file instead of a folder does.
  std::ofstream(dir / "file") << "";
  EXPECT_EQ(CodeOfOpening({.path = dir / "file"}), "log_read_only");
  if (::mount("sluice-test", path.c_str(), "tmpfs", MS_RDONLY, nullptr) == 0) {
    EXPECT_EQ(CodeOfOpening({.path = path}), "log_read_only");
    ::umount2(path.c_str(), MNT_DETACH);
  }
}

TEST(EmbeddedLog, CountsWhatItDoes) {
  const sluice::testing::TempDir dir;
  const auto registry = std::make_shared<prometheus::Registry>();
  const auto log = EmbeddedLog::Open(
      {.path = dir / "log", .limits = {.event_bytes_max = 1000}, .metrics = registry});
  ASSERT_TRUE(log.ok()) << log.status();
  ASSERT_TRUE(
      (*log)->Append(Topic::kChanges, kP0, {MakeEvent("a"), MakeEvent("b"), MakeEvent("c")}).ok());
  ASSERT_FALSE((*log)->Append(Topic::kChanges, kP0, {MakeEvent(std::string(1000, 'x'))}).ok());
  const std::string text = prometheus::TextSerializer().Serialize(registry->Collect());
  for (const char* line : {"sluice_eventlog_append_events_total{log=\"embedded\"} 3",
                           "sluice_eventlog_syncs_total{log=\"embedded\"} 1",
                           "sluice_eventlog_append_queue_bytes_limit{log=\"embedded\"} 67108864",
                           "sluice_eventlog_append_failures_total{code=\"too_large\"",
                           "sluice_eventlog_append_seconds_count{log=\"embedded\"} 1",
                           "sluice_eventlog_sync_events_sum{log=\"embedded\"} 3"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

}  // namespace
}  // namespace sluice::eventlog

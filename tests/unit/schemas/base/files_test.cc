#include "schemas/base/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "schemas/base/status.h"
#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

namespace fs = std::filesystem;

class SmallFilesTest : public ::testing::Test {
 protected:
  static unsigned Mode(const std::string& path) {
    return static_cast<unsigned>(fs::status(path).permissions() & fs::perms::all);
  }
  size_t CountEntries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_.path()), {}));
  }

  sluice::testing::TempDir dir_;
};

TEST_F(SmallFilesTest, AFileHasItsModeAndReplacesWhatWasThere) {
  const std::string path = dir_ / "f";
  std::ofstream(path) << "x";
  fs::permissions(path, fs::perms(0644));
  const mode_t umask = ::umask(022);
  ASSERT_TRUE(WriteFileAtomically(path, "new\n", 0600, IfExists::kReplace).ok());
  EXPECT_EQ(ReadSmallFile(path, 4).value(), "new\n");
  EXPECT_EQ(Mode(path), 0600);
  ASSERT_TRUE(WriteFileAtomically(path, "newer\n", 0666, IfExists::kReplace).ok());
  EXPECT_EQ(Mode(path), 0666) << "whatever the umask";
  ::umask(umask);
  EXPECT_EQ(CountEntries(), 1U);
}

TEST_F(SmallFilesTest, AFileThatIsThereMayBeKept) {
  const std::string path = dir_ / "f";
  ASSERT_TRUE(WriteFileAtomically(path, "first", 0600, IfExists::kKeep).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(WriteFileAtomically(path, "second", 0600, IfExists::kKeep)));
  EXPECT_EQ(ReadSmallFile(path, 100).value(), "first");
  EXPECT_EQ(CountEntries(), 1U);
}

TEST_F(SmallFilesTest, AFileThatCanNotBeWrittenLeavesNothingBeside) {
  const std::string path = dir_ / "folder";
  fs::create_directory(path);
  std::ofstream(path + "/x") << "x";
  for (const std::string& wrong : {path, dir_ / "missing/f"}) {
    const absl::Status status = WriteFileAtomically(wrong, "text", 0600, IfExists::kReplace);
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(ErrorCode(status), "file_unwritable");
    EXPECT_THAT(std::string(Message(status)), ::testing::HasSubstr(wrong));
  }
  EXPECT_EQ(CountEntries(), 1U);
}

TEST_F(SmallFilesTest, OnlyASmallRegularFileIsRead) {
  const std::string path = dir_ / "f";
  std::ofstream(path) << "12345";
  EXPECT_EQ(ReadSmallFile(path, 5).value(), "12345");
  EXPECT_TRUE(absl::IsInvalidArgument(ReadSmallFile(path, 4).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(ReadSmallFile(dir_.path(), 5).status()));
  EXPECT_TRUE(absl::IsNotFound(ReadSmallFile(dir_ / "missing", 5).status()));
}

}  // namespace
}  // namespace sluice

#include "ops/program/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "ops/program/ready_file.h"
#include "schemas/base/files.h"
#include "schemas/base/status.h"
#include "tests/support/temp_dir.h"

namespace sluice::ops {
namespace {

namespace fs = std::filesystem;

class FilesTest : public ::testing::Test {
 protected:
  void SetUp() override { umask_ = ::umask(022); }
  void TearDown() override { ::umask(umask_); }

  static unsigned Mode(const std::string& path) {
    return static_cast<unsigned>(fs::status(path).permissions() & fs::perms::all);
  }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // A folder or file that everybody may open.
  std::string MakeWide(const std::string& path, bool folder) {
    if (folder) {
      fs::create_directory(path);
    } else {
      std::ofstream(path) << "x";
    }
    fs::permissions(path, fs::perms(folder ? 0755 : 0644));
    return path;
  }
  size_t CountEntries() const {
    return static_cast<size_t>(std::distance(fs::directory_iterator(dir_.path()), {}));
  }

  sluice::testing::TempDir dir_;
  mode_t umask_ = 0;
};

TEST_F(FilesTest, ADataFolderIsMadeForItsOwnerAlone) {
  ASSERT_TRUE(MakeDataDir(dir_ / "a/b").ok());
  EXPECT_EQ(Mode(dir_ / "a/b"), 0700);
}

TEST_F(FilesTest, WhatOthersMayOpenInADataFolderIsNarrowed) {
  const std::string data = MakeWide(dir_ / "data", true);
  MakeWide(data + "/log", true);
  MakeWide(data + "/stores", true);
  MakeWide(data + "/node-id", false);
  MakeWide(data + "/dev-key.jwk", false);
  ASSERT_TRUE(MakeDataDir(data).ok());
  EXPECT_EQ(Mode(data), 0700);
  EXPECT_EQ(Mode(data + "/log"), 0700);
  EXPECT_EQ(Mode(data + "/stores"), 0700);
  EXPECT_EQ(Mode(data + "/node-id"), 0600);
  EXPECT_EQ(Mode(data + "/dev-key.jwk"), 0600);
}

// `--data-dir /var` by mistake must not lock everybody else out of it.
TEST_F(FilesTest, AFolderThatHoldsOthersThingsIsLeftToThem) {
  const std::string data = MakeWide(dir_ / "data", true);
  MakeWide(data + "/somebody-elses", true);
  MakeWide(data + "/stores", true);
  ASSERT_TRUE(MakeDataDir(data).ok());
  EXPECT_EQ(Mode(data), 0755);
  EXPECT_EQ(Mode(data + "/somebody-elses"), 0755);
  EXPECT_EQ(Mode(data + "/stores"), 0700);
}

TEST_F(FilesTest, AReadyFileGoesWithTheProcessThatItNames) {
  const std::string path = dir_ / "ready.json";
  const auto write = [&](int pid) {
    ASSERT_TRUE(WriteFileAtomically(path, "{\"admin\":\"\",\"pid\":" + std::to_string(pid) + "}\n",
                                    0600, IfExists::kReplace)
                    .ok());
  };
  {
    const ReadyFile ready(path);
    EXPECT_TRUE(ready.RemoveStale().ok());  // there is none
    write(1);                               // no server, though it lives
    EXPECT_TRUE(ready.RemoveStale().ok());
    EXPECT_FALSE(fs::exists(path));
    write(::getpid());
    EXPECT_TRUE(ready.RemoveStale().ok());  // a number that came again, as in a container
    EXPECT_FALSE(fs::exists(path));
    write(1);
  }
  EXPECT_TRUE(fs::exists(path)) << "it named another process";
  {
    const ReadyFile ready(path);
    write(::getpid());
  }
  EXPECT_FALSE(fs::exists(path));
}

}  // namespace
}  // namespace sluice::ops

#include "schemas/base/disk_check.h"

#include <gmock/gmock.h>

#include <cerrno>
#include <filesystem>
#include <limits>

#include "tests/support/small_disk.h"
#include "tests/support/temp_dir.h"

namespace sluice {
namespace {

TEST(DiskCheckTest, AFolderWithRoomHasNoProblemAndKeepsNoTrace) {
  const testing::TempDir dir;
  EXPECT_EQ(CheckDiskSpace(dir.path(), 1).code, 0);
  EXPECT_EQ(ProbeDisk(dir.path()).code, 0);
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST(DiskCheckTest, WhatWouldEatTheReserveIsTooMuch) {
  const testing::TempDir dir;
  const uint64_t free = CheckDiskSpace(dir.path(), 0).free;
  ASSERT_GT(free, kDiskReserveBytes);
  const DiskProblem problem = CheckDiskSpace(dir.path(), free);
  EXPECT_EQ(problem.code, ENOSPC);
  EXPECT_TRUE(problem.full());
  EXPECT_EQ(problem.needed, free + kDiskReserveBytes);
}

TEST(DiskCheckTest, ALimitOfTheFileSizeShowsOnlyInTheProbe) {
  const testing::TempDir dir;
  const testing::FileSizeLimit limit(4096);
  EXPECT_EQ(CheckDiskSpace(dir.path(), 1).code, 0);
  const DiskProblem problem = ProbeDisk(dir.path());
  EXPECT_EQ(problem.code, EFBIG);
  EXPECT_FALSE(problem.full());
  EXPECT_EQ(problem.needed, 0U);
  limit.Lift();
  EXPECT_EQ(ProbeDisk(dir.path()).code, 0);
}

TEST(DiskCheckTest, AFolderThatIsNotThereIsNamedAsSuch) {
  const testing::TempDir dir;
  for (const DiskProblem& problem : {CheckDiskSpace(dir / "none", 1), ProbeDisk(dir / "none")}) {
    EXPECT_EQ(problem.code, ENOENT);
    EXPECT_FALSE(problem.full());
    EXPECT_THAT(problem.Cause(), ::testing::HasSubstr("No such file"));
  }
}

}  // namespace
}  // namespace sluice

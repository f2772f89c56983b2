#include "clients/cpp/file_lock.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"
#include "tests/support/clients/database_fixture.h"

namespace sluice::client {
namespace {

namespace fs = std::filesystem;
using ::sluice::testing::DatabaseTest;

class FileLockTest : public DatabaseTest {
 protected:
  std::string OpenedBy(const std::string& other) {
    const auto opened = LocalDatabase::Open(other, "acme", [this] { return schema; });
    return opened.ok() ? "opened" : ErrorCode(opened.status());
  }
  static unsigned ModeOf(const std::string& file) {
    struct stat about = {};
    return ::stat(file.c_str(), &about) == 0 ? about.st_mode & 0777U : 0U;
  }
};

TEST_F(FileLockTest, OneWriterWhateverPathItComesBy) {
  fs::create_directories(dir / "sub/deeper");
  MustOpen();
  fs::create_symlink(path, dir / "link.sqlite");
  fs::create_symlink("link.sqlite", dir / "link2.sqlite");
  fs::create_directory_symlink(dir.path(), dir / "sub/up");
  EXPECT_EQ(OpenedBy(dir / "link.sqlite"), "database_in_use");
  EXPECT_EQ(OpenedBy(dir / "link2.sqlite"), "database_in_use");
  EXPECT_EQ(OpenedBy(dir / "sub/up/local.sqlite"), "database_in_use");
  EXPECT_EQ(OpenedBy(dir / "sub/deeper/../../local.sqlite"), "database_in_use");
  database.reset();
  EXPECT_EQ(OpenedBy(dir / "link2.sqlite"), "opened");
}

// SQLite would keep a log beside each name.
TEST_F(FileLockTest, AFileWithTwoNamesIsRefusedByEither) {
  MustOpen();
  fs::create_hard_link(path, dir / "hard.sqlite");
  EXPECT_EQ(OpenedBy(dir / "hard.sqlite"), "database_unwritable");
  database.reset();
  EXPECT_EQ(OpenedBy(path), "database_unwritable");
  fs::remove(dir / "hard.sqlite");
  EXPECT_EQ(OpenedBy(path), "opened");
}

TEST_F(FileLockTest, ALinkToAFileThatIsStillToBeMade) {
  fs::create_symlink("target.sqlite", dir / "link.sqlite");
  path = dir / "link.sqlite";
  MustOpen();
  EXPECT_EQ(OpenedBy(dir / "target.sqlite"), "database_in_use");
  EXPECT_TRUE(fs::exists(dir / "target.sqlite.lock"));
  fs::create_symlink("circle.sqlite", dir / "circle.sqlite");
  EXPECT_EQ(OpenedBy(dir / "circle.sqlite"), "database_unwritable");
}

TEST_F(FileLockTest, AllFilesAreTheOwnersAlone) {
  const mode_t before = ::umask(0);
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A1"}, 5).ok());
  for (const char* suffix : {"", "-wal", "-shm", ".lock"}) {
    EXPECT_EQ(ModeOf(path + suffix), 0600U) << suffix;
  }
  ::umask(before);
}

// What its owner allows later stays allowed.
TEST_F(FileLockTest, AnApplicationsFileIsTakenOverOnce) {
  Query("CREATE TABLE mine(x)");
  ::chmod(path.c_str(), 0644);
  MustOpen();
  EXPECT_EQ(ModeOf(path), 0600U);
  database.reset();
  ::chmod(path.c_str(), 0640);
  MustOpen();
  EXPECT_EQ(ModeOf(path), 0640U);
}

}  // namespace
}  // namespace sluice::client

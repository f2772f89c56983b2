#include "clients/cpp/local_database.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include "schemas/base/status.h"
#include "tests/support/clients/database_fixture.h"
#include "tests/support/clients/sync_frames.h"

namespace sluice::client {
namespace {

using ::sluice::testing::BucketRows;
using ::sluice::testing::ChecksumOf;
using ::sluice::testing::DatabaseTest;
using ::sluice::testing::SqlReader;
using ::sluice::testing::Text;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;

using LocalDatabaseTest = DatabaseTest;

TEST_F(LocalDatabaseTest, TheFirstLoadIsShownWhenItIsComplete) {
  MustOpen();
  SqlReader reader(path);
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A1", "A2"}, 7).ok());
  EXPECT_EQ(reader.Query("SELECT count(*) FROM account"), "error: no such table: account");
  ASSERT_TRUE(database->Complete(7).ok());
  EXPECT_EQ(reader.Query("SELECT id, name FROM account ORDER BY id"), "A1|A1;A2|A2");
  EXPECT_EQ(reader.Query("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%load%'"), "0");
  EXPECT_EQ(database->position(), 7);
}

TEST_F(LocalDatabaseTest, ALaterCheckpointIsSeenWhollyOrNotAtAll) {
  MustOpen();
  Load("b1", {"A1", "A2"}, 7);
  SqlReader reader(path);
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A3"}, 9).ok());
  ASSERT_TRUE(database->Remove("account", "A1").ok());
  ASSERT_TRUE(database->FrameDone(9).ok());
  EXPECT_EQ(reader.Query("SELECT id FROM account ORDER BY id"), "A1;A2");
  ASSERT_TRUE(database->Complete(9).ok());
  EXPECT_EQ(reader.Query("SELECT id FROM account ORDER BY id"), "A2;A3");
}

TEST_F(LocalDatabaseTest, EntitiesWithoutRowsHaveTablesToo) {
  schema->push_back({"order", "no", {{"no", "int64"}, {"total", "decimal"}}});
  MustOpen();
  Load("b1", {"A1"}, 7);
  EXPECT_EQ(Query("SELECT count(*) FROM \"order\""), "0");
  EXPECT_EQ(Query("SELECT name, type, pk FROM pragma_table_info('order')"),
            "no|INTEGER|1;total|TEXT|0");
}

TEST_F(LocalDatabaseTest, AFirstLoadGoesOnAfterTheProcessEnded) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A1", "A2"}, 4).ok());
  ASSERT_TRUE(Frame("b2", {"A3"}, 5).ok());
  MustOpen();  // without Complete()
  EXPECT_THAT(database->Have(), ElementsAre(Pair("b1", 4), Pair("b2", 5)));
  EXPECT_EQ(database->position(), -1);
  EXPECT_EQ(database->rows_held(), 3U);
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A4"}, 6).ok());
  ASSERT_TRUE(database->Complete(6).ok());
  EXPECT_EQ(Accounts(), "A1;A2;A3;A4");
  EXPECT_THAT(database->Have(), ElementsAre(Pair("b1", 6), Pair("b2", 6)));
}

// The process is killed: what a second connection finds in the file is what was committed.
TEST_F(LocalDatabaseTest, AFirstLoadKeepsItsPlaceEverySoOften) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  std::vector<std::string> keys;
  for (int i = 0; i < 10'000; ++i) {
    keys.push_back("A" + std::to_string(i));
  }
  ASSERT_TRUE(Frame("b1", keys, 4).ok());
  ASSERT_TRUE(Frame("b1", {"B1"}, 5).ok());
  SqlReader reader(path);
  EXPECT_EQ(reader.Query("SELECT bucket, after, count FROM _sluice_bucket"), "b1|4|10000");
  EXPECT_EQ(reader.Query("SELECT count(*) FROM _sluice_load_account"), "10000");
}

// 25 frames of 1,000 rows, half of one more, and the process is gone.
// A table with few rows may weigh much: it is renamed then, and takes no room twice.
TEST_F(LocalDatabaseTest, AHeavyTableIsShownWithoutACopy) {
  MustOpen();
  const std::string heavy(1 << 20, 'x');
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  for (int row = 0; row < 20; ++row) {
    ASSERT_TRUE(Account("A" + std::to_string(row), "5.0", heavy).ok());
  }
  ASSERT_TRUE(database->FrameDone(5).ok());
  ASSERT_TRUE(database->Complete(5).ok());
  EXPECT_EQ(Query("SELECT count(*) FROM account"), "20");
  EXPECT_EQ(Query("SELECT count(*) FROM sqlite_schema WHERE name LIKE '%load%'"), "0");
  database.reset();
  EXPECT_LT(std::filesystem::file_size(path), 24U << 20U);
}

TEST_F(LocalDatabaseTest, AFirstLoadGoesOnAfterKill9) {
  const auto keys = [](int frame) {
    std::vector<std::string> names;
    for (int i = 0; i < 1000; ++i) {
      names.push_back("A" + std::to_string(100'000 + (frame * 1000 + i) * 7919 % 100'000));
    }
    return names;
  };
  EXPECT_EXIT(
      {
        MustOpen();
        bool well = database->Begin().ok();
        for (int frame = 1; frame <= 25; ++frame) {
          well = well && Frame("b1", keys(frame), frame).ok();
        }
        well = well && database->SelectBucket("b1").ok() && Account("X", "26.0", "x").ok();
        std::raise(well ? SIGKILL : SIGTERM);
      },
      ::testing::KilledBySignal(SIGKILL), "");
  MustOpen();
  EXPECT_EQ(database->position(), -1);
  const auto have = database->Have();
  ASSERT_THAT(have,
              ElementsAre(Pair("b1", ::testing::AllOf(::testing::Ge(15), ::testing::Le(25)))));
  EXPECT_EQ(database->rows_held(), 1000U * static_cast<uint64_t>(have.at("b1")));
  ASSERT_TRUE(database->Begin().ok());
  BucketRows rows;
  for (int frame = 1; frame <= 30; ++frame) {
    for (const std::string& key : keys(frame)) {
      rows[{"account", key}] = std::to_string(frame) + ".0";
    }
    if (frame > have.at("b1")) {
      ASSERT_TRUE(Frame("b1", keys(frame), frame).ok());
    }
  }
  EXPECT_THAT(*database->Differing({{"b1", rows.size(), ChecksumOf(rows)}}), IsEmpty());
  ASSERT_TRUE(database->Complete(30).ok());
  EXPECT_EQ(Query("SELECT count(*) FROM account"), "30000");
  EXPECT_EQ(Query("PRAGMA integrity_check"), "ok");
}

TEST_F(LocalDatabaseTest, KilledInALaterCheckpointTheFileIsAsBefore) {
  MustOpen();
  Load("b1", {"A1", "A2"}, 7);
  database.reset();
  EXPECT_EXIT(
      {
        MustOpen();
        bool well = database->Begin().ok() && Frame("b2", {"A3"}, 9).ok() &&
                    database->Drop({"b1"}).ok() && database->Differing({}).ok();
        std::raise(well ? SIGKILL : SIGTERM);
      },
      ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(Accounts(), "A1;A2");
  MustOpen();
  EXPECT_THAT(database->Have(), ElementsAre(Pair("b1", 7)));
  Load("b2", {"A3"}, 9);
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

TEST_F(LocalDatabaseTest, AFrameThatDidNotEndIsNotKept) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A1"}, 4).ok());
  database->Rollback();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  ASSERT_TRUE(Account("A2", "5.0", "x").ok());
  MustOpen();
  EXPECT_THAT(database->Have(), ElementsAre(Pair("b1", 4)));
  EXPECT_EQ(Query("SELECT id FROM _sluice_load_account"), "A1");
  EXPECT_EQ(Query("SELECT key FROM _sluice_member"), "A1");
}

TEST_F(LocalDatabaseTest, RollbackGoesBackToTheLastCheckpoint) {
  MustOpen();
  Load("b1", {"A1"}, 7);
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b2", {"A2"}, 9).ok());
  ASSERT_TRUE(database->Drop({"b1"}).ok());
  database->Rollback();
  EXPECT_THAT(database->Have(), ElementsAre(Pair("b1", 7)));
  EXPECT_EQ(Accounts(), "A1");
  Load("b2", {"A2"}, 9);
  EXPECT_EQ(Accounts(), "A1;A2");
}

TEST_F(LocalDatabaseTest, DroppedBucketsTakeOnlyWhatNoOtherHolds) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A1", "A2", "A3"}, 7).ok());
  ASSERT_TRUE(Frame("b2", {"A2", "A4"}, 7).ok());
  ASSERT_TRUE(Frame("b3", {"A3"}, 7).ok());
  ASSERT_TRUE(database->Complete(7).ok());
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->Drop({"b1", "b2", "b1", "unknown"}).ok());
  ASSERT_TRUE(database->Complete(8).ok());
  EXPECT_EQ(Accounts(), "A3");
  EXPECT_THAT(database->Have(), ElementsAre(Pair("b3", 8)));
  EXPECT_EQ(Query("SELECT key, position FROM _sluice_member"), "A3|7.0");
}

// After the entity was deleted on the server its rows must still go.
TEST_F(LocalDatabaseTest, RowsOfAnEntityThatTheServerForgotCanGo) {
  MustOpen();
  Load("b1", {"A1"}, 7);
  MustOpen();
  schema = std::vector<ClientEntity>{};
  ASSERT_TRUE(database->Begin().ok());
  const absl::Status dropped = database->Drop({"b1"});
  ASSERT_TRUE(dropped.ok()) << dropped;
  ASSERT_TRUE(database->Complete(8).ok());
  EXPECT_EQ(Accounts(), "");
}

TEST_F(LocalDatabaseTest, CountAndChecksumAreThoseOfTheContract) {
  MustOpen();
  schema->push_back({"contact", "id", {{"id", "string"}}});
  ASSERT_TRUE(database->Begin().ok());
  database->Announce(1043);
  ASSERT_TRUE(database->SetEntities(*schema).ok());
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  ASSERT_TRUE(Account("A1", "1042.0", "x").ok());
  ASSERT_TRUE(Account("A2", "1043.7", "y").ok());
  ASSERT_TRUE(database->Put("contact", "A1", "12.0", {Text("id", "A1")}).ok());
  ASSERT_TRUE(database->FrameDone(1043).ok());
  // Computed with another program from the three texts.
  EXPECT_THAT(*database->Differing({{"b1", 3, 0x2f652ded615cd425}}), IsEmpty());
  EXPECT_THAT(*database->Differing({{"b1", 3, 0x2f652ded615cd426}}), ElementsAre("b1"));
  EXPECT_THAT(*database->Differing({{"b1", 2, 0x2f652ded615cd425}}), ElementsAre("b1"));
  EXPECT_THAT(*database->Differing({{"b9", 0, 0}}), IsEmpty());
  EXPECT_THAT(*database->Differing({{"b9", 1, 5}}), ElementsAre("b9"));
  // As clients/docs/local-database.md shows it.
  ASSERT_TRUE(database->Complete(1043, "1.1043.5b0c1a9e44d0f7c2").ok());
  EXPECT_EQ(Query("SELECT * FROM _sluice_meta"),
            "columns_of|1043;format|2;history|1.1043.5b0c1a9e44d0f7c2;org|acme;position|1043");
  EXPECT_EQ(Query("SELECT * FROM _sluice_entity"), "1|account|id;2|contact|id");
  EXPECT_EQ(Query("SELECT * FROM _sluice_names"), "");
  EXPECT_EQ(Query("SELECT * FROM _sluice_bucket"), "1|b1|1043|3|3415186389994361893");
  EXPECT_EQ(Query("SELECT * FROM _sluice_member"), "1|A1|1|1042.0;1|A2|1|1043.7;2|A1|1|12.0");
}

TEST_F(LocalDatabaseTest, ARowThatMovesOnCountsOnce) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  ASSERT_TRUE(Account("A1", "5.0", "old").ok());
  ASSERT_TRUE(Account("A2", "6.0", "x").ok());
  ASSERT_TRUE(Account("A1", "7.0", "new").ok());
  ASSERT_TRUE(Account("A1", "7.0", "new").ok());  // sent again
  ASSERT_TRUE(database->FrameDone(7).ok());
  const BucketRows rows = {{{"account", "A1"}, "7.0"}, {{"account", "A2"}, "6.0"}};
  EXPECT_THAT(*database->Differing({{"b1", 2, ChecksumOf(rows)}}), IsEmpty());
  ASSERT_TRUE(database->Complete(7).ok());
  EXPECT_EQ(Query("SELECT name FROM account WHERE id='A1'"), "new");
  EXPECT_EQ(Query("SELECT key, position FROM _sluice_member"), "A1|7.0;A2|6.0");
  MustOpen();  // the sums are kept
  EXPECT_THAT(*database->Differing({{"b1", 2, ChecksumOf(rows)}}), IsEmpty());
}

// An application may hang what it likes on a row's number.
TEST_F(LocalDatabaseTest, ARowThatChangesKeepsItsRowid) {
  MustOpen();
  Load("b1", {"A1", "A2"}, 7);
  Load("b1", {"A1"}, 8);
  EXPECT_EQ(Query("SELECT rowid, id FROM account ORDER BY id"), "1|A1;2|A2");
}

TEST_F(LocalDatabaseTest, AFileOfAnotherOrganisationIsRefused) {
  MustOpen();
  Load("b1", {"A1"}, 7);
  const absl::Status status = Open("globex");
  EXPECT_EQ(ErrorCode(status), "database_of_other_org") << status;
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  MustOpen();
  EXPECT_EQ(database->position(), 7);
}

TEST_F(LocalDatabaseTest, AFileOfANewerFormatIsRefused) {
  MustOpen();
  Load("b1", {"A1"}, 7);
  database.reset();
  Query("UPDATE _sluice_meta SET value=3 WHERE name='format'");
  EXPECT_EQ(ErrorCode(Open()), "database_too_new");
}

TEST_F(LocalDatabaseTest, OneWriterAFile) {
  MustOpen();
  auto second = LocalDatabase::Open(path, "acme", [this] { return schema; });
  EXPECT_EQ(second.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrorCode(second.status()), "database_in_use");
  database.reset();
  EXPECT_TRUE(LocalDatabase::Open(path, "acme", [this] { return schema; }).ok());
}

TEST_F(LocalDatabaseTest, AFileThatIsNoDatabaseIsRefusedAndLeftAlone) {
  const std::string text = "this is somebody's letter, not a database. " + std::string(2000, 'x');
  std::ofstream(path) << text;
  const absl::Status status = Open();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorCode(status), "database_corrupt") << status;
  std::ifstream file(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}), text);
}

TEST_F(LocalDatabaseTest, APathThatCanNotBeWrittenIsAnError) {
  path = dir / "missing/folder/x.sqlite";
  EXPECT_EQ(ErrorCode(Open()), "database_unwritable");
  path = dir.path().string();  // a folder
  EXPECT_EQ(ErrorCode(Open()), "database_unwritable");
}

TEST_F(LocalDatabaseTest, OperationsOutsideOfACheckpointAreRefused) {
  MustOpen();
  EXPECT_FALSE(database->SelectBucket("b1").ok());
  EXPECT_FALSE(Account("A1", "1.0", "x").ok());
  EXPECT_FALSE(database->Remove("account", "A1").ok());
  EXPECT_FALSE(database->FrameDone(1).ok());
  EXPECT_FALSE(database->Complete(1).ok());
  EXPECT_EQ(Query("SELECT count(*) FROM _sluice_member"), "0");
}

// The file may not grow: what a full disk does.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit = {bytes, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  struct rlimit before_ = {};
  void (*handler_)(int) = nullptr;
};

TEST_F(LocalDatabaseTest, AFullDiskIsAClearErrorAndNothingIsLost) {
  MustOpen();
  Load("b1", {"A1", "A2"}, 7);
  {
    const FileSizeLimit limit(256 << 10);
    ASSERT_TRUE(database->Begin().ok());
    ASSERT_TRUE(database->SelectBucket("b1").ok());
    absl::Status status;
    for (int i = 0; i < 3000 && status.ok(); ++i) {
      status = Account("B" + std::to_string(i), "8.0", std::string(300, 'x'));
    }
    if (status.ok()) {
      status = database->FrameDone(8);
    }
    if (status.ok()) {
      status = database->Complete(8);
    }
    EXPECT_EQ(ErrorCode(status), "disk_full") << status;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
    database->Rollback();
    EXPECT_EQ(database->position(), 7);
    EXPECT_EQ(Accounts(), "A1;A2");
  }
  Load("b1", {"A3"}, 9);  // there is room again
  EXPECT_EQ(Accounts(), "A1;A2;A3");
  EXPECT_EQ(Query("PRAGMA integrity_check"), "ok");
}

}  // namespace
}  // namespace sluice::client

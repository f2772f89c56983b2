#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"
#include "tests/support/clients/database_fixture.h"

namespace sluice::client {
namespace {

using ::sluice::testing::DatabaseTest;
using ::sluice::testing::SqlReader;

class LocalWipeTest : public DatabaseTest {
 protected:
  const std::string secret = "confidential-4711";

  void LoadSecrets(bool complete) {
    ASSERT_TRUE(database->Begin().ok());
    ASSERT_TRUE(database->SelectBucket("b1").ok());
    for (int i = 0; i < 2000; ++i) {
      ASSERT_TRUE(Account(secret + std::to_string(i), "1.0", secret).ok());
    }
    ASSERT_TRUE(database->FrameDone(1).ok());
    if (complete) {
      ASSERT_TRUE(database->Complete(1).ok());
    } else {
      database->Rollback();  // keeps the place of a first load
    }
  }
  bool FilesHold(const std::string& text) {
    for (const char* suffix : {"", "-wal", "-shm", ".lock"}) {
      std::ifstream file(path + suffix, std::ios::binary);
      const std::string bytes(std::istreambuf_iterator<char>(file), {});
      if (bytes.find(text) != std::string::npos) {
        return true;
      }
    }
    return false;
  }
};

TEST_F(LocalWipeTest, NothingOfTheOrganisationStays) {
  for (const bool complete : {true, false}) {
    SCOPED_TRACE(complete);
    path = dir / (complete ? "complete.sqlite" : "loading.sqlite");
    MustOpen();
    LoadSecrets(complete);
    EXPECT_TRUE(FilesHold(secret));
    const absl::Status wiped = database->Wipe();
    ASSERT_TRUE(wiped.ok()) << wiped;
    EXPECT_FALSE(FilesHold(secret));
    EXPECT_TRUE(database->Wipe().ok());
    database.reset();
    EXPECT_FALSE(FilesHold(secret));
    EXPECT_FALSE(FilesHold("acme"));
    EXPECT_EQ(Query("SELECT count(*) FROM sqlite_schema"), "0");
    EXPECT_LT(std::filesystem::file_size(path), 10'000U);
    EXPECT_TRUE(Open("globex").ok());  // it is nobody's
    EXPECT_EQ(database->position(), -1);
  }
}

TEST_F(LocalWipeTest, InTheMiddleOfACheckpoint) {
  MustOpen();
  Load("b1", {"A1"}, 1);
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b2", {"A2"}, 2).ok());
  ASSERT_TRUE(database->Wipe().ok());
  EXPECT_EQ(Query("SELECT count(*) FROM sqlite_schema"), "0");
}

TEST_F(LocalWipeTest, WhatAnApplicationMadeStays) {
  MustOpen();
  Load("b1", {"A1"}, 1);
  Query("CREATE TABLE mine(x)");
  Query("INSERT INTO mine VALUES(7)");
  Query("CREATE INDEX by_name ON account(name)");
  Query("CREATE VIEW names AS SELECT name FROM account");
  Query("CREATE TRIGGER t AFTER INSERT ON account BEGIN INSERT INTO mine VALUES(new.id); END");
  const absl::Status wiped = database->Wipe();
  ASSERT_TRUE(wiped.ok()) << wiped;
  EXPECT_EQ(Query("SELECT name FROM sqlite_schema ORDER BY name"), "mine;names");
  EXPECT_EQ(Query("SELECT x FROM mine"), "7");
}

// As some backups make one. Nothing is made beside either name.
TEST_F(LocalWipeTest, AFileWithASecondNameIsOverwrittenForBoth) {
  MustOpen();
  LoadSecrets(true);
  Query("CREATE TABLE mine(x)");
  Query("INSERT INTO mine VALUES(7)");
  {
    SqlReader reader(path);
    reader.Query("SELECT count(*) FROM account");
    database.reset();
    std::filesystem::create_hard_link(path, dir / "second.sqlite");
    EXPECT_EQ(ErrorCode(Open()), "database_unwritable");
    EXPECT_EQ(ErrorCode(LocalDatabase::OpenToWipe(dir / "second.sqlite", "acme").status()),
              "database_in_use");
  }
  EXPECT_EQ(ErrorCode(LocalDatabase::OpenToWipe(path, "globex").status()), "database_of_other_org");
  EXPECT_TRUE(FilesHold(secret));
  auto opened = LocalDatabase::OpenToWipe(path, "acme");
  ASSERT_TRUE(opened.ok()) << opened.status();
  const absl::Status wiped = (*opened)->Wipe();
  ASSERT_TRUE(wiped.ok()) << wiped;
  opened->reset();
  EXPECT_FALSE(FilesHold(secret));
  EXPECT_FALSE(std::filesystem::exists(path + "-wal"));
  path = dir / "second.sqlite";
  EXPECT_EQ(Query("SELECT name FROM sqlite_schema"), "mine");
  EXPECT_EQ(Query("SELECT x FROM mine"), "7");
}

// Whoever looks from now on sees nothing; a reader that looks already keeps its view, and is the
// reason why the pages can't be overwritten yet.
TEST_F(LocalWipeTest, AReaderThatStillLooks) {
  MustOpen();
  LoadSecrets(true);
  {
    SqlReader reader(path);
    reader.Query("BEGIN");
    EXPECT_EQ(reader.Query("SELECT count(*) FROM account"), "2000");
    EXPECT_EQ(ErrorCode(database->Wipe(std::chrono::milliseconds(1))), "database_in_use");
    EXPECT_EQ(reader.Query("SELECT count(*) FROM account"), "2000");
    EXPECT_EQ(Query("SELECT count(*) FROM sqlite_schema"), "0");
    reader.Query("COMMIT");
  }
  ASSERT_TRUE(database->Wipe().ok());
  EXPECT_FALSE(FilesHold(secret));
}

// An application writes a table of its own.
TEST_F(LocalWipeTest, AWipeThatCouldNotBeginIsDoneByTheNextCall) {
  MustOpen();
  LoadSecrets(true);
  SqlReader writer(path);
  writer.Query("BEGIN IMMEDIATE");
  EXPECT_EQ(ErrorCode(database->Wipe(std::chrono::milliseconds(1))), "database_in_use");
  writer.Query("COMMIT");
  const absl::Status wiped = database->Wipe();
  ASSERT_TRUE(wiped.ok()) << wiped;
  EXPECT_EQ(Query("SELECT count(*) FROM sqlite_schema"), "0");
  EXPECT_FALSE(FilesHold(secret));
}

TEST_F(LocalWipeTest, AWipeThatWasHeldUpAfterTheTablesHadGoneIsDoneByTheNextCall) {
  MustOpen();
  LoadSecrets(true);
  SqlReader reader(path);
  reader.Query("BEGIN");
  reader.Query("SELECT count(*) FROM sqlite_schema");
  EXPECT_EQ(ErrorCode(database->Wipe(std::chrono::milliseconds(1))), "database_in_use");
  reader.Query("COMMIT");
  SqlReader writer(path);
  writer.Query("BEGIN IMMEDIATE");
  EXPECT_FALSE(database->Wipe(std::chrono::milliseconds(1)).ok());
  writer.Query("COMMIT");
  const absl::Status wiped = database->Wipe();
  ASSERT_TRUE(wiped.ok()) << wiped;
  EXPECT_EQ(Query("SELECT count(*) FROM sqlite_schema"), "0");
  EXPECT_FALSE(FilesHold(secret));
}

}  // namespace
}  // namespace sluice::client

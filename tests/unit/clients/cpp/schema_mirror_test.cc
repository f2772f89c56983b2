#include "clients/cpp/schema_mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"
#include "tests/support/clients/database_fixture.h"
#include "tests/support/clients/sync_frames.h"

// The entities' tables: columns that come and go, and names that SQLite can't keep apart.
namespace sluice::client {
namespace {

using ::sluice::testing::ChecksumOf;
using ::sluice::testing::DatabaseTest;
using ::sluice::testing::Integer;
using ::sluice::testing::Text;

class SchemaMirrorTest : public DatabaseTest {
 protected:
  void SetColumns(std::vector<ClientEntity::Column> columns) {
    schema = std::vector<ClientEntity>{{"account", "id", std::move(columns)}};
  }
  // One row in a checkpoint of its own.
  absl::Status PutOne(std::string_view entity, std::string_view key,
                      const std::vector<RowValue>& row, int64_t at) {
    absl::Status status = database->Begin();
    if (status.ok()) {
      status = database->SelectBucket("b1");
    }
    if (status.ok()) {
      status = database->Put(entity, key, std::to_string(at) + ".0", row);
    }
    if (status.ok()) {
      status = database->FrameDone(at);
    }
    if (status.ok()) {
      status = database->Complete(at);
    }
    if (!status.ok()) {
      database->Rollback();
    }
    return status;
  }
  void ExpectRefused(const std::string& message_part) {
    MustOpen();
    const absl::Status status = PutOne("account", "A1", {Text("id", "A1")}, 1);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_EQ(ErrorCode(status), "name_not_representable") << status;
    EXPECT_THAT(std::string(Message(status)), ::testing::HasSubstr(message_part));
    EXPECT_EQ(Query("SELECT count(*) FROM sqlite_schema WHERE name NOT LIKE '\\_sluice\\_%' "
                    "ESCAPE '\\' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"),
              "0");
    EXPECT_EQ(Query("SELECT count(*) FROM _sluice_member"), "0");
  }
};

TEST_F(SchemaMirrorTest, EachTypeHasItsColumn) {
  SetColumns({{"id", "string"},
              {"i", "int32"},
              {"l", "int64"},
              {"d", "double"},
              {"m", "decimal"},
              {"b", "bool"},
              {"t", "datetime"},
              {"u", "uuid"},
              {"x", "bytes"},
              {"da", "date"},
              {"ti", "time"}});
  MustOpen();
  RowValue real;
  real.kind = RowValue::Kind::kDouble;
  real.name = "d";
  real.real = 0.1;
  ASSERT_TRUE(PutOne("account", "A1",
                     {Text("id", "A1"), Integer("i", -5), Text("l", "9007199254740993"), real,
                      Text("m", "12345678901234567890.10"), Integer("b", 1),
                      Text("t", "2026-01-31T10:00:00.000000Z"), Text("u", "0a-b"),
                      Text("x", "AAH/"), Text("da", "0001-01-01"), Text("ti", "10:00:00.500000")},
                     1)
                  .ok());
  EXPECT_EQ(Query("SELECT i, l, d, m, b, t, u, hex(x), da, ti FROM account"),
            "-5|9007199254740993|0.1|12345678901234567890.10|1|2026-01-31T10:00:00.000000Z|0a-b|"
            "0001FF|0001-01-01|10:00:00.500000");
  EXPECT_EQ(Query("SELECT typeof(i), typeof(l), typeof(d), typeof(m), typeof(b), typeof(x), "
                  "typeof(da), typeof(ti) FROM account"),
            "integer|integer|real|text|integer|blob|text|text");
}

TEST_F(SchemaMirrorTest, KeysOfEveryTypeCanBeRemoved) {
  for (const auto& [type, key] : std::vector<std::pair<std::string, std::string>>{
           {"string", "0042"},
           {"int64", "9007199254740993"},
           {"int32", "-5"},
           {"bool", "true"},
           {"double", "1e+22"},
           {"double", "0.1"},
           {"decimal", "1.50"},
           {"bytes", "AAH/"},
           {"uuid", "6fa459ea-ee8a-3ca4-894e-db77e160355e"},
           {"date", "2026-01-31"},
           {"time", "10:00:00.500000"}}) {
    path = dir / (type + key.substr(0, 2) + ".sqlite");
    schema = std::vector<ClientEntity>{{"account", "id", {{"id", type}}}};
    MustOpen();
    ASSERT_TRUE(PutOne("account", key, {Text("id", key)}, 1).ok()) << type;
    EXPECT_EQ(Query("SELECT count(*) FROM account"), "1");
    ASSERT_TRUE(PutOne("account", key, {Text("id", key)}, 2).ok()) << type;
    EXPECT_EQ(Query("SELECT count(*) FROM account"), "1") << type;
    ASSERT_TRUE(database->Begin().ok());
    ASSERT_TRUE(database->Drop({"b1"}).ok());
    ASSERT_TRUE(database->Complete(3).ok());
    EXPECT_EQ(Query("SELECT count(*) FROM account"), "0") << type << " " << key;
  }
}

TEST_F(SchemaMirrorTest, AnAttributeAddedLaterBecomesAColumn) {
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A1", {Text("id", "A1"), Text("name", "x")}, 1).ok());
  schema->front().columns.push_back({"revenue", "decimal"});
  ASSERT_TRUE(PutOne("account", "A2", {Text("id", "A2"), Text("revenue", "1.50")}, 2).ok());
  EXPECT_EQ(Query("SELECT id, name, revenue FROM account ORDER BY id"), "A1|x|-;A2|-|1.50");
}

TEST_F(SchemaMirrorTest, RowsThatWaitToBeWrittenKeepTheirColumns) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A1"}, 1).ok());
  SetColumns({{"id", "string"}, {"alpha", "string"}, {"name", "string"}});
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  ASSERT_TRUE(database->Put("account", "A2", "2.0", {Text("id", "A2"), Text("alpha", "a")}).ok());
  ASSERT_TRUE(database->FrameDone(2).ok());
  ASSERT_TRUE(database->Complete(2).ok());
  EXPECT_EQ(Query("SELECT id, alpha, name FROM account ORDER BY id"), "A1|-|A1;A2|a|-");
}

TEST_F(SchemaMirrorTest, TheSchemaIsAskedOnceForManyRows) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A1", "A2", "A3", "A4"}, 1).ok());
  EXPECT_EQ(schema_calls, 1);
}

TEST_F(SchemaMirrorTest, AnAttributeThatTheServerDoesNotShowHasToBeAskedAnew) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b1", {"A1"}, 1).ok());
  const absl::Status status =
      database->Put("account", "A2", "2.0", {Text("id", "A2"), Text("secret", "x")});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorCode(status), "schema_changed");
  EXPECT_EQ(ErrorCode(database->Put("nobody", "A2", "2.0", {})), "schema_changed");
  // The frame may come again, as the server now sees it.
  ASSERT_TRUE(Frame("b1", {"A2"}, 2).ok());
  ASSERT_TRUE(database->Complete(2).ok());
  EXPECT_EQ(Accounts(), "A1;A2");
}

TEST_F(SchemaMirrorTest, AServerThatCanNotSayItsSchemaIsAskedAgain) {
  MustOpen();
  const auto good = schema;
  schema = Error(absl::StatusCode::kUnavailable, "unavailable", "no answer");
  ASSERT_TRUE(database->Begin().ok());
  EXPECT_EQ(Frame("b1", {"A1"}, 1).code(), absl::StatusCode::kUnavailable);
  schema = good;
  ASSERT_TRUE(Frame("b1", {"A1"}, 1).ok());
  ASSERT_TRUE(database->Complete(1).ok());
  EXPECT_EQ(Accounts(), "A1");
}

TEST_F(SchemaMirrorTest, AHiddenAttributesValuesGoAndItsColumnStays) {
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A1", {Text("id", "A1"), Text("name", "x")}, 1).ok());
  SetColumns({{"id", "string"}});
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A2", {Text("id", "A2")}, 2).ok());
  EXPECT_EQ(Query("SELECT id, name FROM account ORDER BY id"), "A1|-;A2|-");
  // The same name later is a new attribute, also of another type.
  SetColumns({{"id", "string"}, {"name", "int64"}});
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A3", {Text("id", "A3"), Text("name", "7")}, 3).ok());
  EXPECT_EQ(Query("SELECT id, name, typeof(name) FROM account ORDER BY id"),
            "A1|-|null;A2|-|null;A3|7|integer");
  // Or another one in SQLite's eyes only.
  SetColumns({{"id", "string"}, {"NAME", "string"}});
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A4", {Text("id", "A4"), Text("NAME", "y")}, 4).ok());
  EXPECT_EQ(Query("SELECT id, name FROM account ORDER BY id"), "A1|-;A2|-;A3|-;A4|y");
}

// All of it in one process, which stays connected.
TEST_F(SchemaMirrorTest, AHiddenAttributeComesBackEmpty) {
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A1", {Text("id", "A1"), Text("name", "x")}, 1).ok());
  SetColumns({{"id", "string"}});
  database->ForgetSchema();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->Complete(2).ok());  // also without a row
  EXPECT_EQ(Query("SELECT id, name FROM account"), "A1|-");
  SetColumns({{"id", "string"}, {"name", "string"}});
  database->ForgetSchema();
  ASSERT_TRUE(database->Begin().ok());
  const BucketSummary held = {"b1", 1, ChecksumOf({{{"account", "A1"}, "1.0"}})};
  // It may as well be the same one, which was denied only while this client looked.
  EXPECT_THAT(*database->Differing({held}), ::testing::ElementsAre("b1"));
  ASSERT_TRUE(database->Drop({"b1"}).ok());
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  ASSERT_TRUE(database->Put("account", "A1", "1.0", {Text("id", "A1")}).ok());
  ASSERT_TRUE(database->Put("account", "A3", "3.0", {Text("id", "A3"), Text("name", "z")}).ok());
  ASSERT_TRUE(database->FrameDone(3).ok());
  ASSERT_TRUE(database->Complete(3).ok());
  SetColumns({{"id", "string"}});
  database->ForgetSchema();
  ASSERT_TRUE(PutOne("account", "A3", {Text("id", "A3")}, 4).ok());
  EXPECT_EQ(Query("SELECT id, name FROM account ORDER BY id"), "A1|-;A3|-");
}

// Its values may have come before the client knew of it, and then they are lost with the column.
TEST_F(SchemaMirrorTest, AnAttributeReplacedByAnotherOfItsNameHasItsRowsSentAnew) {
  for (const bool first_load : {true, false}) {
    SCOPED_TRACE(first_load);
    path = dir / (first_load ? "first.sqlite" : "later.sqlite");
    SetColumns({{"id", "string"}, {"name", "string"}});
    MustOpen();
    if (!first_load) {
      ASSERT_TRUE(PutOne("account", "A1", {Text("id", "A1"), Text("name", "x")}, 1).ok());
    }
    ASSERT_TRUE(database->Begin().ok());
    ASSERT_TRUE(Frame("b1", {"A1", "A2"}, 2).ok());
    SetColumns({{"id", "string"}, {"name", "int64"}});
    ASSERT_TRUE(database->SelectBucket("b1").ok());
    ASSERT_TRUE(database->Put("account", "A3", "3.0", {Text("id", "A3"), Text("name", "7")}).ok());
    ASSERT_TRUE(database->FrameDone(3).ok());
    database->ForgetSchema();
    const BucketSummary now = {
        "b1", 3,
        ChecksumOf(
            {{{"account", "A1"}, "2.0"}, {{"account", "A2"}, "2.0"}, {{"account", "A3"}, "3.0"}})};
    EXPECT_THAT(*database->Differing({now}), ::testing::ElementsAre("b1"));
    if (!first_load) {
      EXPECT_EQ(ErrorCode(database->Complete(3)), "schema_changed");
    }
    database->Rollback();
    MustOpen();  // nor is it forgotten when the process ends
    ASSERT_TRUE(database->Begin().ok());
    if (first_load) {
      EXPECT_THAT(database->Have(), ::testing::IsEmpty());
    }
    EXPECT_THAT(*database->Differing({now}), ::testing::ElementsAre("b1"));
    ASSERT_TRUE(database->Drop({"b1"}).ok());
    ASSERT_TRUE(database->SelectBucket("b1").ok());
    ASSERT_TRUE(database->Put("account", "A3", "3.0", {Text("id", "A3"), Text("name", "7")}).ok());
    ASSERT_TRUE(database->FrameDone(3).ok());
    ASSERT_TRUE(database->Complete(3).ok());
    EXPECT_EQ(Query("SELECT id, name, typeof(name) FROM account"), "A3|7|integer");
  }
}

TEST_F(SchemaMirrorTest, AnIndexOnAColumnThatHasToGoIsAClearError) {
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A1", {Text("id", "A1"), Text("name", "x")}, 1).ok());
  Query("CREATE INDEX by_name ON account(name)");
  SetColumns({{"id", "string"}, {"name", "int64"}});
  database->ForgetSchema();
  const absl::Status status = PutOne("account", "A2", {Text("id", "A2")}, 2);
  EXPECT_EQ(ErrorCode(status), "incompatible_schema") << status;
  EXPECT_THAT(std::string(Message(status)), ::testing::HasSubstr("by_name"));
  EXPECT_EQ(Accounts(), "A1");
}

// A caller whose columns change has other buckets: the old ones go, the new ones are sent in full.
TEST_F(SchemaMirrorTest, NothingOfADeniedColumnStaysInTheFile) {
  const std::string secret = "confidential-4711";
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->SelectBucket("all columns").ok());
  for (int i = 0; i < 2000; ++i) {
    ASSERT_TRUE(Account("A" + std::to_string(i), "1.0", secret).ok());
  }
  ASSERT_TRUE(database->FrameDone(1).ok());
  ASSERT_TRUE(database->Complete(1).ok());
  SetColumns({{"id", "string"}});
  ASSERT_TRUE(database->Begin().ok());
  database->ForgetSchema();
  ASSERT_TRUE(database->Drop({"all columns"}).ok());
  ASSERT_TRUE(database->SelectBucket("fewer columns").ok());
  for (int i = 0; i < 2000; ++i) {
    const std::string key = "A" + std::to_string(i);
    ASSERT_TRUE(database->Put("account", key, "1.0", {Text("id", key)}).ok());
  }
  ASSERT_TRUE(database->FrameDone(2).ok());
  ASSERT_TRUE(database->Complete(2).ok());
  EXPECT_EQ(Query("SELECT count(*), count(name) FROM account"), "2000|0");
  database.reset();
  EXPECT_FALSE(std::filesystem::exists(path + "-wal"));
  std::ifstream file(path, std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(file), {});
  EXPECT_NE(bytes.find("A1999"), std::string::npos);
  EXPECT_EQ(bytes.find(secret), std::string::npos);
}

// The columns come back with the next change of roles.
TEST_F(SchemaMirrorTest, AColumnThatIsAllowedIsFilled) {
  SetColumns({{"id", "string"}});
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A1", {Text("id", "A1")}, 1).ok());
  SetColumns({{"id", "string"}, {"name", "string"}});
  ASSERT_TRUE(database->Begin().ok());
  database->ForgetSchema();
  ASSERT_TRUE(database->Drop({"b1"}).ok());
  ASSERT_TRUE(Frame("b1 with name", {"A1"}, 1).ok());
  ASSERT_TRUE(database->Complete(2).ok());
  EXPECT_EQ(Query("SELECT id, name FROM account"), "A1|A1");
}

TEST_F(SchemaMirrorTest, AnEntityMadeAnewWithAnotherKeyGetsANewTable) {
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A1", {Text("id", "A1")}, 1).ok());
  schema = std::vector<ClientEntity>{{"account", "no", {{"no", "int64"}, {"name", "string"}}}};
  MustOpen();
  // The checkpoint that takes the old entity's rows is still to come.
  EXPECT_EQ(ErrorCode(PutOne("account", "5", {Text("no", "5")}, 2)), "schema_changed");
  EXPECT_EQ(Accounts(), "A1");
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->Drop({"b1"}).ok());
  ASSERT_TRUE(database->Complete(2).ok());
  ASSERT_TRUE(PutOne("account", "5", {Text("no", "5"), Text("name", "x")}, 3).ok());
  EXPECT_EQ(Query("SELECT no, name FROM account"), "5|x");
}

// However a first load's table comes to its name, it is the same one.
TEST_F(SchemaMirrorTest, LoadedTablesAreShownWithAllTheirColumns) {
  for (const int rows : {0, 3, 25'000}) {
    path = dir / (std::to_string(rows) + ".sqlite");
    SetColumns({{"n", "int64"}, {"id", "int64"}, {"name", "string"}});
    MustOpen();
    ASSERT_TRUE(database->Begin().ok());
    ASSERT_TRUE(database->SetEntities(*schema).ok());
    ASSERT_TRUE(database->SelectBucket("b1").ok());
    for (int i = 0; i < rows; ++i) {
      const std::string key = std::to_string(i);
      ASSERT_TRUE(
          database->Put("account", key, "1.0", {Text("n", "7"), Text("id", key), Text("name", "x")})
              .ok());
    }
    ASSERT_TRUE(database->FrameDone(1).ok());
    ASSERT_TRUE(database->SetEntities({{"account", "id", {{"n", "int64"}, {"id", "int64"}}}}).ok());
    ASSERT_TRUE(database->Complete(1).ok());
    EXPECT_EQ(Query("SELECT count(*), count(name) FROM account"), std::to_string(rows) + "|0");
    EXPECT_EQ(Query("SELECT name, type, pk, \"notnull\" FROM pragma_table_info('account')"),
              "n|INTEGER|0|0;id|INTEGER|1|1;name|TEXT|0|0");
    EXPECT_EQ(Query("SELECT name FROM _sluice_hidden"), "name");
    EXPECT_EQ(Query("SELECT name FROM sqlite_schema WHERE name LIKE '%load%'"), "");
    ASSERT_TRUE(database->Begin().ok());
    ASSERT_TRUE(database->SelectBucket("b1").ok());
    ASSERT_TRUE(database->Put("account", "1", "2.0", {Text("n", "8"), Text("id", "1")}).ok());
    ASSERT_TRUE(database->FrameDone(2).ok());
    ASSERT_TRUE(database->Complete(2).ok());
    EXPECT_EQ(Query("SELECT n, typeof(id) FROM account WHERE id=1"), "8|integer");
  }
}

// It took the square of their number: 400 of them half a minute.
TEST_F(SchemaMirrorTest, ManyTablesAreLoadedInNoTime) {
  std::vector<ClientEntity::Column> columns = {{"id", "string"}};
  for (int i = 0; i < 50; ++i) {
    columns.push_back({"attribute_" + std::to_string(i), "string"});
  }
  schema = std::vector<ClientEntity>();
  for (int i = 0; i < 400; ++i) {
    schema->push_back({"entity" + std::to_string(i), "id", columns});
  }
  MustOpen();
  const std::clock_t start = std::clock();  // of the processor: others may be at work, too
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  for (int i = 0; i < 400; i += 2) {
    ASSERT_TRUE(database->Put("entity" + std::to_string(i), "k", "1.0", {Text("id", "k")}).ok());
  }
  ASSERT_TRUE(database->FrameDone(1).ok());
  ASSERT_TRUE(database->Complete(1).ok());
  EXPECT_LT(std::clock() - start, 10 * CLOCKS_PER_SEC);
  EXPECT_EQ(Query("SELECT count(*) FROM sqlite_schema WHERE type='table' AND name LIKE 'entity%'"),
            "400");
  EXPECT_EQ(Query("SELECT id FROM entity398"), "k");
}

TEST_F(SchemaMirrorTest, WhatIsNoNameIsRefused) {
  for (const char* name : {"a b", "a\"b", "x$a", ""}) {
    schema = std::vector<ClientEntity>{{name, "id", {{"id", "string"}}}};
    ExpectRefused(name);
  }
  SetColumns({{"id", "string"}, {"a;b", "string"}});
  ExpectRefused("a;b");
  SetColumns({{"name", "string"}});
  ExpectRefused("its key");
}

TEST_F(SchemaMirrorTest, AnApplicationsTableIsNotTouched) {
  Query("CREATE TABLE Account(mine)");
  Query("INSERT INTO Account VALUES(1)");
  MustOpen();
  const absl::Status status = PutOne("account", "A1", {Text("id", "A1")}, 1);
  EXPECT_EQ(ErrorCode(status), "name_not_representable") << status;
  EXPECT_EQ(Query("SELECT mine FROM Account"), "1");
}

TEST_F(SchemaMirrorTest, ANameThatOnlyDiffersFromADeletedEntitysIsTaken) {
  MustOpen();
  ASSERT_TRUE(PutOne("account", "A1", {Text("id", "A1")}, 1).ok());
  schema = std::vector<ClientEntity>{{"Account", "id", {{"id", "string"}}}};
  MustOpen();
  EXPECT_EQ(ErrorCode(PutOne("Account", "B1", {Text("id", "B1")}, 2)), "schema_changed");
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->Drop({"b1"}).ok());
  ASSERT_TRUE(database->Complete(2).ok());
  ASSERT_TRUE(PutOne("Account", "B1", {Text("id", "B1")}, 3).ok());
  EXPECT_EQ(Query("SELECT id FROM Account"), "B1");
}

TEST_F(SchemaMirrorTest, SqlWordsAreNamesLikeOthers) {
  schema = std::vector<ClientEntity>{
      {"select", "from", {{"from", "string"}, {"where", "string"}, {"rowid", "int64"}}}};
  MustOpen();
  ASSERT_TRUE(
      PutOne("select", "k", {Text("from", "k"), Text("where", "w"), Text("rowid", "5")}, 1).ok());
  EXPECT_EQ(Query("SELECT \"from\", \"where\", \"rowid\" FROM \"select\""), "k|w|5");
}

}  // namespace
}  // namespace sluice::client

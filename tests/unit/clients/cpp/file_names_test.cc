#include "clients/cpp/file_names.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"
#include "tests/support/clients/database_fixture.h"

// Names that SQLite or the client's own tables take, or take for one.
namespace sluice::client {
namespace {

using ::sluice::testing::DatabaseTest;
using ::sluice::testing::Text;

class FileNamesTest : public DatabaseTest {
 protected:
  static ClientEntity Entity(const std::string& name,
                             const std::vector<std::string>& attributes = {}) {
    ClientEntity entity{name, "id", {{"id", "string"}}};
    for (const std::string& attribute : attributes) {
      entity.columns.push_back({attribute, "string"});
    }
    return entity;
  }
  // A row in each entity, called as the entity, whose attributes are called as they are.
  void LoadAll(int64_t at) {
    ASSERT_TRUE(database->Begin().ok());
    ASSERT_TRUE(database->Drop({"b1"}).ok());
    ASSERT_TRUE(database->SetEntities(*schema).ok());
    ASSERT_TRUE(database->SelectBucket("b1").ok());
    for (const ClientEntity& entity : *schema) {
      std::vector<RowValue> row;
      for (const ClientEntity::Column& column : entity.columns) {
        row.push_back(Text(column.name, column.name == "id" ? entity.name : column.name));
      }
      const absl::Status put =
          database->Put(entity.name, entity.name, std::to_string(at) + ".0", row);
      ASSERT_TRUE(put.ok()) << put;
    }
    ASSERT_TRUE(database->FrameDone(at).ok());
    const absl::Status complete = database->Complete(at);
    ASSERT_TRUE(complete.ok()) << complete;
  }
  std::string Names() { return Query("SELECT * FROM _sluice_names ORDER BY entity, attribute"); }
};

TEST_F(FileNamesTest, NamesThatSqliteOrTheClientTakes) {
  schema =
      std::vector<ClientEntity>{Entity("sqlite_x"), Entity("SQLITE_schema"), Entity("_sluice_meta"),
                                Entity("_sluice_load_account"), Entity("account")};
  MustOpen();
  LoadAll(5);
  EXPECT_EQ(Query("SELECT id FROM x$sqlite_x"), "sqlite_x");
  EXPECT_EQ(Query("SELECT id FROM x$$S$Q$L$I$T$E_schema"), "SQLITE_schema");
  EXPECT_EQ(Query("SELECT id FROM x$_sluice_meta"), "_sluice_meta");
  EXPECT_EQ(Query("SELECT id FROM x$_sluice_load_account"), "_sluice_load_account");
  EXPECT_EQ(Accounts(), "account");
  EXPECT_EQ(Names(),
            "SQLITE_schema||x$$S$Q$L$I$T$E_schema;_sluice_load_account||x$_sluice_load_account;"
            "_sluice_meta||x$_sluice_meta;sqlite_x||x$sqlite_x");
  MustOpen();  // from what the file says
  LoadAll(6);
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->Drop({"b1"}).ok());
  ASSERT_TRUE(database->Complete(7).ok());
  EXPECT_EQ(Query("SELECT count(*) FROM x$sqlite_x"), "0");
}

TEST_F(FileNamesTest, EntitiesThatDifferInCaseOnly) {
  schema = std::vector<ClientEntity>{Entity("item"), Entity("ITEM"), Entity("Item")};
  MustOpen();
  LoadAll(5);
  EXPECT_EQ(Query("SELECT id FROM item"), "ITEM");  // the first in the order of bytes
  EXPECT_EQ(Query("SELECT id FROM x$$Item"), "Item");
  EXPECT_EQ(Query("SELECT id FROM x$item"), "item");
  EXPECT_EQ(Names(), "Item||x$$Item;item||x$item");
}

// An application's queries have it.
TEST_F(FileNamesTest, ATableKeepsItsNameWhenAnotherComes) {
  schema = std::vector<ClientEntity>{Entity("item", {"v"})};
  MustOpen();
  LoadAll(5);
  EXPECT_EQ(Names(), "");
  schema->push_back(Entity("ITEM", {"v", "V"}));
  LoadAll(6);
  EXPECT_EQ(Query("SELECT id FROM item"), "item");
  EXPECT_EQ(Query("SELECT id, V, x$v FROM x$$I$T$E$M"), "ITEM|V|v");
  EXPECT_EQ(Names(), "ITEM||x$$I$T$E$M;ITEM|v|x$v");
  MustOpen();
  LoadAll(7);
  // The older goes and comes back: its name was free meanwhile, but nobody took it.
  const std::vector<ClientEntity> both = *schema;
  schema->erase(schema->begin());
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->Drop({"b1"}).ok());
  ASSERT_TRUE(database->Complete(8).ok());
  LoadAll(9);
  schema = both;
  LoadAll(10);
  EXPECT_EQ(Query("SELECT id FROM item"), "item");
  EXPECT_EQ(Query("SELECT id FROM x$$I$T$E$M"), "ITEM");
}

TEST_F(FileNamesTest, AttributesThatDifferInCaseOnly) {
  schema = std::vector<ClientEntity>{Entity("account", {"name", "Name", "ID", "NAME"})};
  MustOpen();
  LoadAll(5);
  EXPECT_EQ(Query("SELECT id, name, x$$Name, x$name, x$$I$D FROM account"),
            "account|NAME|Name|name|ID");  // the key keeps its own
  EXPECT_EQ(Names(), "account|ID|x$$I$D;account|Name|x$$Name;account|name|x$name");
  // One is hidden, another comes, and what is there stays where it is.
  schema = std::vector<ClientEntity>{Entity("account", {"name", "ID", "nAme"})};
  MustOpen();
  LoadAll(6);
  EXPECT_EQ(Query("SELECT id, nAme, x$$Name, x$name, x$$I$D FROM account"),
            "account|nAme|-|name|ID");
  schema = std::vector<ClientEntity>{Entity("account", {"Name", "name"})};
  LoadAll(7);
  EXPECT_EQ(Query("SELECT id, name, x$$Name, x$name FROM account"), "account|-|Name|name");
}

TEST_F(FileNamesTest, NamesOfTheRowidAreAttributesLikeOthers) {
  schema = std::vector<ClientEntity>{Entity("account", {"rowid", "oid", "_rowid_"}),
                                     {"number", "rowid", {{"rowid", "int64"}, {"oid", "string"}}}};
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->SetEntities(*schema).ok());
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  for (const std::string key : {"9", "4"}) {
    ASSERT_TRUE(database
                    ->Put("account", key, "5.0",
                          {Text("rowid", "r"), Text("oid", "o"), Text("_rowid_", "u")})
                    .ok());
    ASSERT_TRUE(database->Put("number", key, "5.0", {Text("oid", "o" + key)}).ok());
  }
  ASSERT_TRUE(database->FrameDone(5).ok());
  ASSERT_TRUE(database->Complete(5).ok());
  EXPECT_EQ(Query("SELECT id, rowid, oid, _rowid_ FROM account ORDER BY id"), "4|r|o|u;9|r|o|u");
  EXPECT_EQ(Query("SELECT rowid, oid FROM number ORDER BY rowid"), "4|o4;9|o9");
  EXPECT_EQ(Names(), "");
}

// Names of up to 3 letters of an alphabet that holds what the escape is made of.
TEST_F(FileNamesTest, NoTwoNamesShareAnEscapedOne) {
  std::vector<std::string> names = {""};
  for (size_t at = 0; at < names.size() && names[at].size() < 4; ++at) {
    for (const char c : {'x', 'X', 'a', 'A', '_', '1'}) {
      names.push_back(names[at] + c);
    }
  }
  std::set<std::string> escaped;
  for (const std::string& name : names) {
    const std::string as = EscapedName(name);
    EXPECT_TRUE(escaped.insert(FoldedName(as)).second) << name;
    EXPECT_NE(as.find('$'), std::string::npos);  // which no name of the API has
  }
}

TEST_F(FileNamesTest, AFileOfFormat1IsTakenOver) {
  // As a client of format 1 left it: see clients/docs/local-database.md.
  for (const char* sql :
       {"CREATE TABLE _sluice_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "CREATE TABLE _sluice_entity(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL, "
        "primary_key TEXT NOT NULL)",
        "CREATE TABLE _sluice_bucket(id INTEGER PRIMARY KEY, bucket TEXT UNIQUE NOT NULL, after "
        "INTEGER NOT NULL, count INTEGER NOT NULL, checksum INTEGER NOT NULL)",
        "CREATE TABLE _sluice_member(entity INTEGER, key TEXT, bucket INTEGER, position TEXT NOT "
        "NULL, PRIMARY KEY(entity, key, bucket)) WITHOUT ROWID",
        "CREATE TABLE _sluice_hidden(entity INTEGER, name TEXT, PRIMARY KEY(entity, name)) WITHOUT "
        "ROWID",
        "CREATE TABLE account(id TEXT PRIMARY KEY NOT NULL, name TEXT, old TEXT)",
        "INSERT INTO _sluice_meta VALUES('format',1),('org','acme'),('position',1043)",
        "INSERT INTO _sluice_entity VALUES(1,'account','id')",
        "INSERT INTO _sluice_bucket VALUES(1,'b1',1043,2,0)",
        "INSERT INTO _sluice_member VALUES(1,'A1',1,'1042.0'),(1,'A2',1,'1043.7')",
        "INSERT INTO _sluice_hidden VALUES(1,'old')",
        "INSERT INTO account VALUES('A1','x',NULL),('A2','y',NULL)"}) {
    ASSERT_EQ(Query(sql), "");
  }
  MustOpen();
  EXPECT_EQ(database->position(), 1043);
  EXPECT_EQ(database->history(), "");
  EXPECT_THAT(database->Have(), ::testing::ElementsAre(::testing::Pair("b1", 1043)));
  EXPECT_EQ(Query("SELECT value FROM _sluice_meta WHERE name='format'"), "2");
  Load("b2", {"A3"}, 1050);
  EXPECT_EQ(Query("SELECT id, name, old FROM account ORDER BY id"), "A1|x|-;A2|y|-;A3|A3|-");
}

}  // namespace
}  // namespace sluice::client

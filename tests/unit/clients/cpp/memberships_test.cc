#include "clients/cpp/memberships.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"
#include "tests/support/clients/database_fixture.h"
#include "tests/support/clients/sync_frames.h"

// Rows that several buckets hold, and what becomes of them in whatever order operations come.
namespace sluice::client {
namespace {

using ::sluice::testing::BucketRows;
using ::sluice::testing::ChecksumOf;
using ::sluice::testing::DatabaseTest;
using ::sluice::testing::Text;
using ::testing::IsEmpty;

class MembershipsTest : public DatabaseTest {
 protected:
  void Put(std::string_view bucket, std::string_view key, std::string_view position,
           std::string_view name) {
    ASSERT_TRUE(database->SelectBucket(bucket).ok());
    const absl::Status status = Account(key, position, name);
    ASSERT_TRUE(status.ok()) << status;
  }
  void Remove(std::string_view bucket, std::string_view key) {
    ASSERT_TRUE(database->SelectBucket(bucket).ok());
    ASSERT_TRUE(database->Remove("account", key).ok());
  }
  // What is buffered goes into the file.
  void Write() { ASSERT_TRUE(database->Differing({}).ok()); }
  void Complete(int64_t position) {
    const absl::Status status = database->Complete(position);
    ASSERT_TRUE(status.ok()) << status;
  }
  void ExpectSums(const std::map<std::string, std::map<std::string, std::string>>& buckets) {
    for (const auto& [name, positions] : buckets) {
      BucketRows rows;
      for (const auto& [key, position] : positions) {
        rows[{"account", key}] = position;
      }
      EXPECT_THAT(*database->Differing({{name, rows.size(), ChecksumOf(rows)}}), IsEmpty());
    }
  }
  std::string Names() { return Query("SELECT id, name FROM account ORDER BY id"); }
  // Runs `test` in a first load and after one, with and without a write between operations.
  void InAllStages(const std::function<void(const std::function<void()>& between)>& test) {
    for (const bool first : {true, false}) {
      for (const bool written : {true, false}) {
        SCOPED_TRACE(::testing::Message() << "first load " << first << ", written " << written);
        path = dir / ("stage" + std::to_string(2 * first + written) + ".sqlite");
        MustOpen();
        if (!first) {
          Load("b0", {"Z"}, 1);
        }
        ASSERT_TRUE(database->Begin().ok());
        test([&] {
          if (written) {
            Write();
          }
        });
        database.reset();
      }
    }
  }
};

TEST_F(MembershipsTest, TheNewestPositionWinsInWhateverOrderBucketsCome) {
  InAllStages([this](const auto& between) {
    Put("b1", "A1", "9.10", "new");
    between();
    Put("b2", "A1", "9.9", "old");
    Put("b1", "A2", "9.9", "old");
    between();
    Put("b2", "A2", "9.10", "new");
    ExpectSums({{"b1", {{"A1", "9.10"}, {"A2", "9.9"}}}, {"b2", {{"A1", "9.9"}, {"A2", "9.10"}}}});
    Complete(10);
    EXPECT_EQ(Query("SELECT id, name FROM account WHERE id<>'Z' ORDER BY id"), "A1|new;A2|new");
  });
}

// As after a log was restored, and a server that resets what it sends anew one by one.
TEST_F(MembershipsTest, ABucketThatIsNewBringsTheRowAsItIsNow) {
  for (const bool written : {true, false}) {
    SCOPED_TRACE(written);
    path = dir / ("new" + std::to_string(written) + ".sqlite");
    MustOpen();
    ASSERT_TRUE(database->Begin().ok());
    Put("b1", "A1", "9.0", "of a lost event");
    ASSERT_TRUE(database->FrameDone(9).ok());
    Complete(9);
    ASSERT_TRUE(database->Begin().ok());
    ASSERT_TRUE(database->Connected().ok());
    Put("b2", "A1", "8.0", "now");
    if (written) {
      Write();
    }
    ASSERT_TRUE(database->Reset("b1").ok());
    Put("b1", "A1", "7.0", "now");
    ExpectSums({{"b1", {{"A1", "7.0"}}}, {"b2", {{"A1", "8.0"}}}});
    Complete(10);
    EXPECT_EQ(Names(), "A1|now");
  }
}

TEST_F(MembershipsTest, ARowThatMovesFromOneBucketToAnotherStays) {
  InAllStages([this](const auto& between) {
    Put("b1", "A1", "5.0", "before");
    Put("b1", "A2", "5.1", "before");
    Put("b2", "A3", "5.2", "before");
    between();
    Put("b2", "A1", "7.0", "after");
    between();
    Remove("b1", "A1");
    between();
    Remove("b1", "A2");
    between();
    Put("b2", "A2", "7.1", "after");
    between();
    Remove("b2", "A3");
    Put("b2", "A3", "5.0", "older, but the only one");
    Put("b1", "A4", "7.0", "before");
    Remove("b1", "A4");
    Put("b2", "A4", "6.0", "after");
    ExpectSums({{"b1", {}}, {"b2", {{"A1", "7.0"}, {"A2", "7.1"}, {"A3", "5.0"}, {"A4", "6.0"}}}});
    Complete(10);
    EXPECT_EQ(Query("SELECT id, name FROM account WHERE id<>'Z' ORDER BY id"),
              "A1|after;A2|after;A3|older, but the only one;A4|after");
  });
}

TEST_F(MembershipsTest, ARowThatComesAndGoesLeavesNothing) {
  InAllStages([this](const auto& between) {
    Put("b1", "A1", "5.0", "x");
    between();
    Put("b2", "A1", "6.0", "x");
    between();
    Remove("b2", "A1");
    between();
    Remove("b1", "A1");
    between();
    Remove("b1", "A1");       // again: nothing
    Remove("b1", "unknown");  // never here
    ASSERT_TRUE(database->Remove("nobody", "x").ok());
    ExpectSums({{"b1", {}}, {"b2", {}}});
    Complete(10);
    EXPECT_EQ(Query("SELECT count(*) FROM account WHERE id<>'Z'"), "0");
    EXPECT_EQ(Query("SELECT count(*) FROM _sluice_member WHERE key<>'Z'"), "0");
  });
}

// A row that leaves one bucket for another within a checkpoint is an update to an application.
TEST_F(MembershipsTest, ARowThatMovesWithinACheckpointKeepsItsRowid) {
  MustOpen();
  Load("b1", {"A1", "A2"}, 5);
  ASSERT_TRUE(database->Begin().ok());
  Remove("b1", "A1");
  Put("b2", "A1", "6.0", "moved");
  Complete(6);
  EXPECT_EQ(Query("SELECT rowid, id, name FROM account ORDER BY id"), "1|A1|moved;2|A2|A2");
}

// The statements of many rows, and a few of them there already: older, newer and at the same place.
TEST_F(MembershipsTest, ManyRowsOfWhichSomeAreThere) {
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  std::map<std::string, std::map<std::string, std::string>> sums;
  std::map<std::string, std::string> names;
  const auto put = [&](const std::string& bucket, int number, const std::string& position) {
    const std::string key = "A" + std::to_string(1000 + number);
    Put(bucket, key, position, "at " + position);
    std::string& name = names[key];
    if (name.empty() || PositionOrder(name.substr(3)) < PositionOrder(position)) {
      name = "at " + position;
    }
    sums[bucket][key] = position;
  };
  for (int i = 0; i < 200; ++i) {
    put("b1", i, "50." + std::to_string(i));
  }
  Write();
  for (int i = 190; i < 600; ++i) {
    put("b2", i, i % 2 == 0 ? "49.0" : "51.0");
  }
  Write();
  for (int i = 0; i < 600; i += 5) {
    put("b3", i, "50." + std::to_string(i));
  }
  Write();
  for (int i = 700; i < 900; ++i) {
    put("b1", i, "53.0");
  }
  ExpectSums(sums);
  Complete(60);
  std::string expected;
  for (const auto& [key, name] : names) {
    expected += (expected.empty() ? "" : ";") + key + "|" + name;
  }
  EXPECT_EQ(Names(), expected);
}

// After the first load the tables are the application's to add to.
TEST_F(MembershipsTest, ARowThatAnApplicationsIndexRefusesIsNoticed) {
  MustOpen();
  Load("b1", {"A1"}, 5);
  Query("CREATE UNIQUE INDEX mine ON account(name)");
  std::vector<std::string> keys;
  for (int i = 0; i < 100; ++i) {
    keys.push_back("B" + std::to_string(i));
  }
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(Frame("b2", keys, 6).ok());
  Put("b2", "B50", "6.0", "A1");
  EXPECT_FALSE(database->Complete(6).ok());
  database->Rollback();
  EXPECT_EQ(Accounts(), "A1");
}

TEST_F(MembershipsTest, AnApplicationsTriggersFireOnceARow) {
  MustOpen();
  Load("b1", {"B50"}, 5);
  Query("CREATE TABLE log(what)");
  Query("CREATE TRIGGER mine1 AFTER INSERT ON account BEGIN INSERT INTO log VALUES('new'); END");
  Query("CREATE TRIGGER mine2 AFTER UPDATE ON account BEGIN INSERT INTO log VALUES('old'); END");
  std::vector<std::string> keys;
  for (int i = 0; i < 100; ++i) {
    keys.push_back("B" + std::to_string(i));
  }
  Load("b2", keys, 6);
  EXPECT_EQ(Query("SELECT what, count(*) FROM log GROUP BY what"), "new|99;old|1");
}

TEST_F(MembershipsTest, AWideTable) {
  std::vector<ClientEntity::Column> columns = {{"id", "string"}};
  for (int i = 0; i < 1100; ++i) {
    columns.push_back({"c" + std::to_string(i), "int64"});
  }
  schema = std::vector<ClientEntity>{{"wide", "id", columns}};
  MustOpen();
  ASSERT_TRUE(database->Begin().ok());
  ASSERT_TRUE(database->SelectBucket("b1").ok());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(
        database->Put("wide", std::to_string(i), "5.0", {Text("c1099", std::to_string(i))}).ok());
  }
  Complete(5);
  EXPECT_EQ(Query("SELECT count(*), sum(c1099) FROM wide WHERE id=c1099"), "100|4950");
}

}  // namespace
}  // namespace sluice::client

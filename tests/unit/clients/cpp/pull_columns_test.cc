#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/support/clients/pull_fixture.h"

// Columns that travel with the checkpoint they belong to, and the history that a checkpoint is of.
namespace sluice::client {
namespace {

using ::sluice::testing::BucketRows;
using ::sluice::testing::Buckets;
using ::sluice::testing::CheckpointFrame;
using ::sluice::testing::CompleteFrame;
using ::sluice::testing::OpsFrame;
using ::sluice::testing::PullTest;
using ::sluice::testing::Put;
using ::sluice::testing::PutOp;
using ::sluice::testing::ResetFrame;
using ::sluice::testing::Row;
using ::sluice::testing::ScriptedAnswer;
using ::sluice::testing::SqlReader;
using ::testing::ElementsAre;

// The `entities` of a checkpoint: account with these attributes, each "name:type".
std::string Columns(const std::vector<std::string>& attributes, const std::string& key = "id") {
  std::string list;
  for (const std::string& attribute : attributes) {
    const size_t colon = attribute.find(':');
    list += fmt::format(R"({}{{"name":"{}","type":"{}"}})", list.empty() ? "" : ",",
                        attribute.substr(0, colon), attribute.substr(colon + 1));
  }
  return fmt::format(R"("entities":[{{"entity":"account","key":"{}","columns":[{}]}}])", key, list);
}

std::string History(const std::string& history) {
  return fmt::format(R"("history":"{}")", history);
}

std::string Account(const std::string& key, const std::string& position, const std::string& more) {
  return PutOp("account", key, position, fmt::format(R"({{"id":"{}"{}}})", key, more));
}

class PullColumnsTest : public PullTest {
 protected:
  // What Follow shows after each checkpoint of one connection.
  std::vector<std::string> Follow(const std::string& body, size_t checkpoints,
                                  const std::string& query) {
    server.Script({{.body = body, .end = ScriptedAnswer::End::kHold}});
    auto puller = Open();
    std::vector<std::string> seen;
    const absl::Status status = puller->Follow([&](const PullResult& result) {
      seen.push_back(SqlReader(path).Query(query));
      reloaded = result.buckets_reloaded;
      if (seen.size() == checkpoints) {
        puller->Cancel();
      }
    });
    EXPECT_TRUE(status.ok()) << status;
    return seen;
  }
  uint64_t reloaded = 0;
};

TEST_F(PullColumnsTest, TheServersListIsNotAskedForWhereColumnsTravel) {
  server.SetEntities("{}", 500);
  server.Script(
      {{.body = CheckpointFrame(7, three_rows, {}, Columns({"id:string", "name:string"})) + first +
                second + third + CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Accounts(), "A1;A2;A3");
  EXPECT_EQ(server.entities_requests(), 0U);
}

// `name` is denied at 8 and shown again at 9, before the client has looked at either.
TEST_F(PullColumnsTest, TwoQuickChangesOfRolesReloadNothing) {
  const std::string shown = Columns({"id:string", "name:string"});
  const std::string denied = Columns({"id:string"});
  const BucketRows rows = {Row("A1", "5.0")};
  server.SetEntities("{}", 500);
  const std::string body = CheckpointFrame(7, {{"b1", rows}}, {}, shown) +
                           OpsFrame("b1", 0, 7, {Account("A1", "5.0", R"(,"name":"n")")}) +
                           CompleteFrame(7) + CheckpointFrame(8, {{"b2", rows}}, {"b1"}, denied) +
                           OpsFrame("b2", 0, 8, {Account("A1", "5.0", "")}) + CompleteFrame(8) +
                           CheckpointFrame(9, {{"b1", rows}}, {"b2"}, shown) +
                           OpsFrame("b1", 0, 9, {Account("A1", "5.0", R"(,"name":"n")")}) +
                           CompleteFrame(9) + CheckpointFrame(10, {{"b1", rows}}) +
                           CompleteFrame(10);
  EXPECT_THAT(Follow(body, 4, "SELECT id, name FROM account"),
              ElementsAre("A1|n", "A1|-", "A1|n", "A1|n"));
  EXPECT_EQ(reloaded, 0U);
  EXPECT_EQ(server.requests().size(), 1U);
}

// No bucket changes by it.
TEST_F(PullColumnsTest, ARemovedAttributesValuesGoWithItsCheckpoint) {
  const BucketRows rows = {Row("A1", "5.0"), Row("A2", "6.0")};
  const std::string body =
      CheckpointFrame(7, {{"b1", rows}}, {}, Columns({"id:string", "name:string"})) +
      OpsFrame("b1", 0, 7,
               {Account("A1", "5.0", R"(,"name":"n")"), Account("A2", "6.0", R"(,"name":"n")")}) +
      CompleteFrame(7) + CheckpointFrame(8, {{"b1", rows}}, {}, Columns({"id:string"})) +
      CompleteFrame(8) +
      // Defined anew: another bucket, since the client may have values of the old one.
      CheckpointFrame(9, {{"b2", rows}}, {"b1"}, Columns({"id:string", "name:int64"})) +
      OpsFrame("b2", 0, 9, {Account("A1", "5.0", ""), Account("A2", "6.0", R"(,"name":"7")")}) +
      CompleteFrame(9);
  EXPECT_THAT(Follow(body, 3, "SELECT id, name, typeof(name) FROM account ORDER BY id"),
              ElementsAre("A1|n|text;A2|n|text", "A1|-|null;A2|-|null", "A1|-|null;A2|7|integer"));
  EXPECT_EQ(reloaded, 0U);
}

// Between two pulls, so that the columns look as if nothing had been.
TEST_F(PullColumnsTest, AnAttributeDefinedAnewWhileTheClientWasAwayStartsNull) {
  const std::string columns = Columns({"id:string", "name:string"});
  server.Script({{.body = CheckpointFrame(7, {{"b1", {Row("A1", "5.0")}}}, {}, columns) +
                          OpsFrame("b1", 0, 7, {Account("A1", "5.0", R"(,"name":"old")")}) +
                          CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  server.Script({{.body = CheckpointFrame(9, {{"b2", {Row("A1", "5.0")}}}, {"b1"}, columns) +
                          OpsFrame("b2", 0, 9, {Account("A1", "5.0", "")}) + CompleteFrame(9)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->buckets_reloaded, 0U);
  EXPECT_EQ(SqlReader(path).Query("SELECT id, name FROM account"), "A1|-");
}

// The table stays, and with it a column that the new entity gets an attribute for only later, for
// the first time: what is held of it has no value there, and the server sends no other bucket.
TEST_F(PullColumnsTest, AnAttributeThatAnEntityOfTheSameNameHadReloadsNothing) {
  const std::string shown = Columns({"id:string", "name:string"});
  const BucketRows rows = {Row("A1", "10.0")};
  const std::string body =
      CheckpointFrame(7, {{"b1", {Row("A1", "5.0")}}}, {}, shown) +
      OpsFrame("b1", 0, 7, {Account("A1", "5.0", R"(,"name":"n")")}) + CompleteFrame(7) +
      CheckpointFrame(10, {{"b7", rows}}, {"b1"}, Columns({"id:string"})) +
      OpsFrame("b7", 0, 10, {Account("A1", "10.0", "")}) + CompleteFrame(10) +
      CheckpointFrame(11, {{"b7", rows}}, {}, shown) + CompleteFrame(11) +
      CheckpointFrame(12, {{"b7", {Row("A1", "12.0")}}}) +
      OpsFrame("b7", 11, 12, {Account("A1", "12.0", R"(,"name":"m")")}) + CompleteFrame(12);
  EXPECT_THAT(Follow(body, 4, "SELECT id, name FROM account"),
              ElementsAre("A1|n", "A1|-", "A1|-", "A1|m"));
  EXPECT_EQ(reloaded, 0U);
  EXPECT_EQ(server.requests().size(), 1U);
}

// An attribute was hidden in it before.
TEST_F(PullColumnsTest, AnEntityDefinedAnewReloadsNothing) {
  const std::string body =
      CheckpointFrame(7, {{"b1", {Row("A1", "5.0")}}}, {}, Columns({"id:string", "name:string"})) +
      OpsFrame("b1", 0, 7, {Account("A1", "5.0", R"(,"name":"n")")}) + CompleteFrame(7) +
      CheckpointFrame(8, {{"b1", {Row("A1", "5.0")}}}, {}, Columns({"id:string"})) +
      CompleteFrame(8) + CheckpointFrame(9, {}, {"b1"}, R"("entities":[])") + CompleteFrame(9) +
      CheckpointFrame(10, {{"b7", {Row("A9", "10.0")}}}, {},
                      Columns({"id:string", "name:string"})) +
      OpsFrame("b7", 0, 10, {Account("A9", "10.0", R"(,"name":"m")")}) + CompleteFrame(10) +
      CheckpointFrame(11, {{"b8", {{{"account", "5"}, "11.0"}}}}, {"b7"},
                      Columns({"no:int64", "name:string"}, "no")) +
      OpsFrame("b8", 0, 11, {PutOp("account", "5", "11.0", R"({"no":"5","name":"k"})")}) +
      CompleteFrame(11);
  EXPECT_THAT(Follow(body, 5, "SELECT * FROM account"),
              ElementsAre("A1|n", "A1|-", "", "A9|m", "5|k"));
  EXPECT_EQ(reloaded, 0U);
}

TEST_F(PullColumnsTest, AColumnsChangeIsSeenWithItsRowsOrNotAtAll) {
  server.Script({{.body = CheckpointFrame(7, {{"b1", {Row("A1", "5.0")}}}, {},
                                          Columns({"id:string", "name:string"})) +
                          OpsFrame("b1", 0, 7, {Account("A1", "5.0", R"(,"name":"n")")}) +
                          CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  server.Script({{.body = CheckpointFrame(9, {{"b1", {Row("A1", "5.0")}}}, {},
                                          Columns({"id:string", "later:string"})),
                  .end = ScriptedAnswer::End::kCut},
                 {.status = 403}});
  EXPECT_FALSE(Pull().ok());
  EXPECT_EQ(SqlReader(path).Query("SELECT * FROM account"), "A1|n");
}

// A server of before, whose list is newer than its checkpoint, hides `name`; the next request goes
// to one that sends the columns of the checkpoint that the rows are of.
TEST_F(PullColumnsTest, WhatColumnsThatWereAskedForHidIsLoadedAnew) {
  const BucketRows rows = {Row("A1", "5.0")};
  const std::string row = OpsFrame("b1", 0, 7, {Account("A1", "5.0", R"(,"name":"n")")});
  const std::string columns = Columns({"id:string", "name:string"});
  for (const bool complete : {true, false}) {
    SCOPED_TRACE(complete);
    path = dir / fmt::format("hidden{}.sqlite", complete);
    server.Script(
        {{.body = CheckpointFrame(7, {{"b1", rows}}, {}, columns) + row + CompleteFrame(7)}});
    ASSERT_TRUE(Pull().ok());
    server.SetEntities("{" + Columns({"id:string"}) + "}");
    const BucketRows more = {Row("A1", "5.0"), Row("A2", "8.0")};
    const std::string newer =
        complete ? CheckpointFrame(8, {{"b1", rows}}) + CompleteFrame(8)
                 : CheckpointFrame(8, {{"b1", more}}) +
                       OpsFrame("b1", 7, 8, {Account("A2", "8.0", R"(,"name":"m")")});
    const std::string head = CheckpointFrame(9, {{"b1", rows}}, {}, columns);
    server.Script({{.body = newer},
                   {.body = head + CompleteFrame(9)},
                   {.body = head + row + CompleteFrame(9)}});
    if (complete) {
      ASSERT_TRUE(Pull().ok());
      EXPECT_EQ(SqlReader(path).Query("SELECT id, name FROM account"), "A1|-");
    }
    const auto result = Pull();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->buckets_reloaded, 1U);
    EXPECT_EQ(SqlReader(path).Query("SELECT id, name FROM account"), "A1|n");
    // Since then the columns are the checkpoints' own.
    EXPECT_EQ(SqlReader(path).Query("SELECT value FROM _sluice_meta WHERE name='columns_of'"), "9");
  }
}

// A client of before, which did not say whose the columns are, hid `name` because the list that it
// asked for had it no more; whoever sends the rows' own columns has it. Once, and no more than
// once.
TEST_F(PullColumnsTest, WhatAClientOfBeforeHidIsLoadedAnew) {
  const BucketRows rows = {Row("A1", "5.0")};
  const std::string row = OpsFrame("b1", 0, 7, {Account("A1", "5.0", R"(,"name":"n")")});
  const std::string columns = Columns({"id:string", "name:string"});
  for (const bool went_back : {false, true}) {  // to the old client, after this one
    SCOPED_TRACE(went_back);
    path = dir / fmt::format("before{}.sqlite", went_back);
    server.Script(
        {{.body = CheckpointFrame(7, {{"b1", rows}}, {}, columns) + row + CompleteFrame(7)}});
    ASSERT_TRUE(Pull().ok());
    std::string change =
        "UPDATE account SET name=NULL;"
        "INSERT INTO _sluice_hidden SELECT id, 'name' FROM _sluice_entity;"
        "UPDATE _sluice_meta SET value=8 WHERE name='position';";
    if (!went_back) {
      change += "DELETE FROM _sluice_meta WHERE name='columns_of'";
    }
    ASSERT_EQ(SqlReader(path).Query(change), "");
    const std::string head = CheckpointFrame(9, {{"b1", rows}}, {}, columns);
    server.Script({{.body = head + CompleteFrame(9)}, {.body = head + row + CompleteFrame(9)}});
    const auto result = Pull();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->buckets_reloaded, 1U);
    EXPECT_EQ(SqlReader(path).Query("SELECT id, name FROM account"), "A1|n");
    server.Script({{.body = CheckpointFrame(10, {{"b1", rows}}, {}, columns) + CompleteFrame(10)}});
    const auto later = Pull();
    ASSERT_TRUE(later.ok()) << later.status();
    EXPECT_EQ(later->buckets_reloaded, 0U);
  }
}

TEST_F(PullColumnsTest, ARowThatItsCheckpointHasNoColumnForIsAskedAnew) {
  server.SetEntities(kEntities);  // has it, but it is not asked
  const std::string narrow =
      CheckpointFrame(7, {{"b1", {Row("A1", "5.0")}}}, {}, Columns({"id:string"}));
  server.Script(
      {{.body = narrow + OpsFrame("b1", 0, 7, {Put("A1", "5.0")}) + CompleteFrame(7)},
       {.body = narrow + OpsFrame("b1", 0, 7, {Account("A1", "5.0", "")}) + CompleteFrame(7)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->reconnects, 1U);
  EXPECT_EQ(server.entities_requests(), 0U);
}

// ---- history ----

TEST_F(PullColumnsTest, TheHistoryOfTheLastCheckpointIsSent) {
  server.Script({{.body = CheckpointFrame(7, three_rows, {}, History("1.h\\\"")) + first + second +
                          third + CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  server.Script({{.body = CheckpointFrame(8, three_rows, {}, History("2")) + CompleteFrame(8)},
                 {.body = CheckpointFrame(8, three_rows) + CompleteFrame(8)}});
  ASSERT_TRUE(Pull().ok());
  const std::string have =
      R"({"have":[{"bucket":"b1","after":"7"},{"bucket":"b2","after":"7"}],"live":false)";
  EXPECT_EQ(Haves().back(), have + R"(,"history":"1.h\""})");
  EXPECT_EQ(SqlReader(path).Query("SELECT value FROM _sluice_meta WHERE name='history'"), "2");
  ASSERT_TRUE(Pull().ok());  // a server of before: of no history that is known
  EXPECT_EQ(SqlReader(path).Query("SELECT value FROM _sluice_meta WHERE name='history'"), "");
}

// The log was restored to an earlier state and went on: the same positions are other rows now.
TEST_F(PullColumnsTest, AResetOfEverythingIsOneTransaction) {
  const auto named = [](const std::string& position, const std::string& name) {
    return PutOp("account", "A1", position, fmt::format(R"({{"id":"A1","name":"{}"}})", name));
  };
  const std::string columns = "," + Columns({"id:string", "name:string"});
  for (const bool interleaved : {false, true}) {
    SCOPED_TRACE(interleaved);
    path = dir / fmt::format("reset{}.sqlite", interleaved);
    const Buckets before = {{"b1", {Row("A1", "9.0")}}, {"b2", {Row("A1", "9.0")}}};
    server.Script({{.body = CheckpointFrame(9, before, {}, History("old") + columns) +
                            OpsFrame("b1", 0, 9, {named("9.0", "old")}) +
                            OpsFrame("b2", 0, 9, {named("9.0", "old")}) + CompleteFrame(9)}});
    ASSERT_TRUE(Pull().ok());
    SqlReader reader(path);
    // In the new history the row is of an earlier position and has other content.
    const Buckets after = {{"b1", {Row("A1", "8.0")}}, {"b2", {Row("A1", "8.0")}}};
    const std::string b1 = OpsFrame("b1", 0, 12, {named("8.0", "new")});
    const std::string b2 = OpsFrame("b2", 0, 12, {named("8.0", "new")});
    const std::string head = CheckpointFrame(12, after, {}, History("new") + columns);
    const std::string resets = interleaved ? ResetFrame("b1") + b1 + ResetFrame("b2") + b2
                                           : ResetFrame("b1") + ResetFrame("b2") + b1 + b2;
    server.Script({{.body = head, .end = ScriptedAnswer::End::kCut},
                   {.body = head + ResetFrame("b1"), .end = ScriptedAnswer::End::kCut},
                   {.body = head + ResetFrame("b1") + b1, .end = ScriptedAnswer::End::kCut},
                   {.status = 403}});
    EXPECT_FALSE(Pull().ok());
    // Nothing of the new history is kept, and each request asks for the resets again.
    for (const std::string& body : Haves()) {
      EXPECT_THAT(body, ::testing::EndsWith(R"("history":"old"})"));
    }
    EXPECT_EQ(reader.Query("SELECT name FROM account"), "old");
    server.Script({{.body = head + resets + CompleteFrame(12)}});
    const auto result = Pull();
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(result->buckets_reset, 2U);
    EXPECT_EQ(result->buckets_reloaded, 0U);
    EXPECT_EQ(reader.Query("SELECT id, name FROM account"), "A1|new");
  }
}

// A long load of a bucket that a new role brought goes on where it broke off.
TEST_F(PullColumnsTest, APartOfACheckpointIsOfItsHistory) {
  server.Script({{.body = CheckpointFrame(7, {{"b1", three_rows.at("b1")}}, {}, History("h7")) +
                          first + second + CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  Buckets more = {{"b1", three_rows.at("b1")}, {"b3", {Row("B1", "8.0"), Row("B2", "9.0")}}};
  const std::string head = CheckpointFrame(9, more, {}, History("h9"));
  server.Script(
      {{.body = head + OpsFrame("b3", 0, 8, {Put("B1", "8.0")}), .end = ScriptedAnswer::End::kCut},
       {.body = head + OpsFrame("b3", 8, 9, {Put("B2", "9.0")}) + CompleteFrame(9)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_THAT(Haves(),
              ElementsAre(R"({"have":[{"bucket":"b1","after":"7"}],"live":false,"history":"h7"})",
                          R"({"have":[{"bucket":"b1","after":"7"},{"bucket":"b3","after":"8"}],)"
                          R"("live":false,"history":"h9"})"));
  EXPECT_EQ(Accounts(), "A1;A2;B1;B2");
}

// What goes on without a reset tells; resets of other buckets behind it take nothing of that back.
TEST_F(PullColumnsTest, AResetAfterOperationsThatGoOnIsNoOtherHistory) {
  const Buckets rows = {{"b1", {Row("A1", "5.0")}}, {"b2", {Row("A2", "6.0")}}};
  server.Script({{.body = CheckpointFrame(7, rows, {}, History("h7")) +
                          OpsFrame("b1", 0, 7, {Put("A1", "5.0")}) +
                          OpsFrame("b2", 0, 7, {Put("A2", "6.0")}) + CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  const Buckets more = {{"b1", {Row("A1", "5.0"), Row("A3", "9.0")}}, {"b2", {Row("A2", "6.0")}}};
  const std::string head = CheckpointFrame(9, more, {}, History("h9"));
  server.Script({{.body = head + OpsFrame("b1", 7, 9, {Put("A3", "9.0")}) + ResetFrame("b2"),
                  .end = ScriptedAnswer::End::kCut},
                 {.body = head + OpsFrame("b2", 0, 9, {Put("A2", "6.0")}) + CompleteFrame(9)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_THAT(Haves().back(), ::testing::EndsWith(R"("history":"h9"})"));
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

// What a first load kept is of a history too, also when another process goes on.
TEST_F(PullColumnsTest, AFirstLoadKeepsItsHistory) {
  server.Script({{.body = CheckpointFrame(7, three_rows, {}, History("h7")) + first,
                  .end = ScriptedAnswer::End::kCut},
                 {.status = 403}});
  EXPECT_FALSE(Pull().ok());
  // Another history: b1 is reset, also in a part that breaks off.
  const Buckets anew = {{"b1", {Row("C1", "5.0")}}};
  server.Script({{.body = CheckpointFrame(6, anew, {}, History("x6")) + ResetFrame("b1"),
                  .end = ScriptedAnswer::End::kCut},
                 {.status = 403}});
  EXPECT_FALSE(Pull().ok());
  EXPECT_THAT(Haves()[0], ::testing::EndsWith(R"("after":"5"}],"live":false,"history":"h7"})"));
  server.Script({{.body = CheckpointFrame(6, anew, {}, History("x6")) +
                          OpsFrame("b1", 0, 6, {Put("C1", "5.0")}) + CompleteFrame(6)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Accounts(), "C1");
}

// In another history the entity that has the number may have another key.
TEST_F(PullColumnsTest, AnEntityThatIsAnotherInAnotherHistory) {
  server.Script({{.body = CheckpointFrame(7, {{"b1", {Row("A1", "5.0")}}}, {},
                                          History("a") + "," + Columns({"id:string"})) +
                          OpsFrame("b1", 0, 7, {Account("A1", "5.0", "")}) + CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  server.Script({{.body = CheckpointFrame(9, {{"b1", {{{"account", "5"}, "8.0"}}}}, {},
                                          History("b") + "," + Columns({"no:int64"}, "no")) +
                          ResetFrame("b1") +
                          OpsFrame("b1", 0, 9, {PutOp("account", "5", "8.0", R"({"no":"5"})")}) +
                          CompleteFrame(9)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->buckets_reloaded, 0U);
  EXPECT_EQ(SqlReader(path).Query("SELECT * FROM account"), "5");
}

// Rows of the tables, not operations.
TEST_F(PullColumnsTest, RowsAreCountedOnceWhateverHoldsThem) {
  const Buckets rows = {{"b1", {Row("A1", "5.0"), Row("A2", "6.0")}}, {"b2", {Row("A1", "5.0")}}};
  server.Script({{.body = CheckpointFrame(7, rows) + first + second +
                          OpsFrame("b2", 0, 7, {Put("A1", "5.0")}) + CompleteFrame(7)}});
  auto result = Pull();
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->rows_put, 2U);
  EXPECT_EQ(result->rows, 2U);
  // A1 leaves one of its buckets, A2 changes, A3 comes to both.
  const Buckets later = {{"b1", {Row("A2", "8.0"), Row("A3", "9.0")}},
                         {"b2", {Row("A1", "5.0"), Row("A3", "9.0")}}};
  server.Script({{.body = CheckpointFrame(9, later) +
                          OpsFrame("b1", 7, 9,
                                   {sluice::testing::RemoveOp("account", "A1", "8.1"),
                                    Put("A2", "8.0"), Put("A3", "9.0")}) +
                          OpsFrame("b2", 7, 9, {Put("A3", "9.0")}) + CompleteFrame(9)}});
  result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->rows_put, 2U);
  EXPECT_EQ(result->rows_removed, 0U);
  EXPECT_EQ(result->rows, 3U);
  server.Script(
      {{.body = CheckpointFrame(10, {{"b1", later.at("b1")}}, {"b2"}) + CompleteFrame(10)}});
  result = Pull();
  EXPECT_EQ(result->rows_removed, 1U);
  EXPECT_EQ(result->rows, 2U);
  // Other columns are another bucket: A2 stays, A3 does not.
  server.Script(
      {{.body = CheckpointFrame(11, {{"b3", {Row("A2", "8.0"), Row("A4", "11.0")}}}, {"b1"}) +
                OpsFrame("b3", 0, 11, {Put("A2", "8.0"), Put("A4", "11.0")}) + CompleteFrame(11)}});
  result = Pull();
  EXPECT_EQ(result->rows_put, 2U);
  EXPECT_EQ(result->rows_removed, 1U);
  EXPECT_EQ(result->rows, 2U);
}

// Before the end of a first load nothing was there that could have gone.
TEST_F(PullColumnsTest, ARowThatGoesDuringAFirstLoadWasNeverThere) {
  server.Script({{.body = checkpoint + first + second +
                          CheckpointFrame(8, {{"b2", {Row("A3", "7.0")}}}, {"b1"}) +
                          OpsFrame("b2", 0, 8, {Put("A3", "7.0")}) + CompleteFrame(8)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->rows_put, 1U);
  EXPECT_EQ(result->rows_removed, 0U);
  EXPECT_EQ(result->rows, 1U);
}

}  // namespace
}  // namespace sluice::client

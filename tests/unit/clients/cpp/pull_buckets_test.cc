#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/support/clients/pull_fixture.h"

// Buckets that differ, are reset, go, come back or are behind, and entities that change: which rows
// the file then has.
namespace sluice::client {
namespace {

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

TEST_F(PullTest, OnlyTheBucketThatDiffersIsLoadedAnew) {
  // b1 lacks A2 at first.
  server.Script({{.body = checkpoint + first + third + CompleteFrame(7)},
                 {.body = checkpoint + first + second + CompleteFrame(7)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->buckets_reloaded, 1U);
  EXPECT_EQ(Accounts(), "A1;A2;A3");
  EXPECT_THAT(Haves(), ElementsAre(R"({"have":[],"live":false})",
                                   R"({"have":[{"bucket":"b2","after":"7"}],"live":false})"));
}

TEST_F(PullTest, ABucketThatStillDiffersIsAnErrorAndIsNotShown) {
  server.Script({{.body = whole}});
  ASSERT_TRUE(Pull().ok());
  Buckets wrong = three_rows;
  wrong["b1"].insert(Row("A9", "9.0"));
  server.Script({{.body = CheckpointFrame(9, wrong) + CompleteFrame(9)},
                 {.body = CheckpointFrame(9, wrong) + first + second + CompleteFrame(9)}});
  const auto result = Pull();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ErrorCode(result.status()), "checksum_mismatch");
  EXPECT_EQ(server.requests().size(), 2U);
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

// A first load must not keep the wrong bucket for the next pull to trip over.
TEST_F(PullTest, AfterAMismatchTheNextFirstLoadStartsTheBucketAnew) {
  server.Script({{.body = checkpoint + first + third + CompleteFrame(7)}});
  EXPECT_EQ(ErrorCode(Pull().status()), "checksum_mismatch");
  server.Script({{.body = checkpoint + first + second + CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Haves()[0], R"({"have":[{"bucket":"b2","after":"7"}],"live":false})");
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

// What follows on the same connection must not be taken for the bucket that is loaded anew.
TEST_F(PullTest, FramesAfterAMismatchAreNotApplied) {
  Buckets later = three_rows;
  later["b1"].insert(Row("A4", "8.0"));
  server.Script(
      {{.body = checkpoint + first + third + CompleteFrame(7) + CheckpointFrame(8, later) +
                OpsFrame("b1", 7, 8, {Put("A4", "8.0")})},
       {.body = CheckpointFrame(8, later) +
                OpsFrame("b1", 0, 8, {Put("A1", "5.0"), Put("A2", "6.0"), Put("A4", "8.0")}) +
                CompleteFrame(8)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Haves()[1], R"({"have":[{"bucket":"b2","after":"7"}],"live":false})");
  EXPECT_EQ(result->position, 8);
  EXPECT_EQ(Accounts(), "A1;A2;A3;A4");
}

TEST_F(PullTest, AResetBucketIsSentFromTheStart) {
  server.Script({{.body = whole}});
  ASSERT_TRUE(Pull().ok());
  const Buckets later = {{"b1", {Row("A2", "6.0")}}, {"b2", three_rows.at("b2")}};
  server.Script({{.body = CheckpointFrame(9, later) + ResetFrame("b1") +
                          OpsFrame("b1", 0, 9, {Put("A2", "6.0")}) + CompleteFrame(9)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->buckets_reset, 1U);
  EXPECT_EQ(Accounts(), "A2;A3");
}

TEST_F(PullTest, AResetInTheMiddleOfAFirstLoadLeavesWhatOtherBucketsHold) {
  const Buckets before = {{"b1", {Row("A1", "5.0"), Row("A2", "5.1"), Row("A3", "5.2")}},
                          {"b2", {Row("A1", "6.0")}}};
  const Buckets now = {{"b1", {Row("A2", "8.0")}}, {"b2", {Row("A1", "6.0")}}};
  server.Script(
      {{.body = CheckpointFrame(7, before) +
                OpsFrame("b1", 0, 5, {Put("A1", "5.0"), Put("A2", "5.1"), Put("A3", "5.2")}) +
                OpsFrame("b2", 0, 7, {Put("A1", "6.0")}),
        .end = ScriptedAnswer::End::kCut},
       {.body = CheckpointFrame(9, now) + ResetFrame("b1") +
                OpsFrame("b1", 0, 9, {Put("A2", "8.0")}) + CompleteFrame(9)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->buckets_reset, 1U);
  EXPECT_EQ(result->buckets_reloaded, 0U);
  EXPECT_EQ(Accounts(), "A1;A2");
}

TEST_F(PullTest, WhatAnUnfinishedCheckpointRemovedStaysRemoved) {
  server.Script({{.body = whole}});
  ASSERT_TRUE(Pull().ok());
  const Buckets only_b1 = {{"b1", three_rows.at("b1")}};
  server.Script({{.body = CheckpointFrame(8, only_b1, {"b2"}) + CheckpointFrame(9, only_b1) +
                          CompleteFrame(9)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Accounts(), "A1;A2");
}

TEST_F(PullTest, ABucketThatComesBackIsSentInFull) {
  server.Script({{.body = whole}});
  ASSERT_TRUE(Pull().ok());
  const Buckets only_b1 = {{"b1", three_rows.at("b1")}};
  const Buckets both = {{"b1", three_rows.at("b1")}, {"b2", {Row("A4", "9.0")}}};
  server.Script({{.body = CheckpointFrame(8, only_b1, {"b2"}) + CheckpointFrame(9, both) +
                          OpsFrame("b2", 0, 9, {Put("A4", "9.0")}) + CompleteFrame(9)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->buckets_reloaded, 0U);
  EXPECT_EQ(Accounts(), "A1;A2;A4");
}

// A1 was newer at the replica that the first part came from; nobody would send it as it was.
TEST_F(PullTest, AReplicaThatIsBehindAPartOfALoadStartsItOver) {
  const auto named = [](const std::string& position, const std::string& name) {
    return PutOp("account", "A1", position, fmt::format(R"({{"id":"A1","name":"{}"}})", name));
  };
  const Buckets newer = {{"b1", {Row("A1", "9.0")}}, {"b2", {Row("A1", "9.0")}}};
  const Buckets older = {{"b1", {}}, {"b2", {Row("A1", "3.0")}}};
  const ScriptedAnswer broken = {.body = CheckpointFrame(10, newer) +
                                         OpsFrame("b2", 0, 4, {named("3.0", "old")}) +
                                         OpsFrame("b1", 0, 10, {named("9.0", "new")}),
                                 .end = ScriptedAnswer::End::kCut};
  const ScriptedAnswer behind = {.body = CheckpointFrame(5, older) + ResetFrame("b1") +
                                         CompleteFrame(5)};
  const ScriptedAnswer anew = {.body = CheckpointFrame(5, older) +
                                       OpsFrame("b2", 0, 5, {named("3.0", "old")}) +
                                       CompleteFrame(5)};
  server.Script({broken, behind, anew});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(SqlReader(path).Query("SELECT id, name FROM account"), "A1|old");
  EXPECT_EQ(Haves().back(), R"({"have":[],"live":false})");

  // Also where the second is another process's.
  path = dir / "again.sqlite";
  server.Script({broken, {.status = 401}});
  EXPECT_FALSE(Pull().ok());
  server.Script({behind, anew});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(SqlReader(path).Query("SELECT id, name FROM account"), "A1|old");

  // After a checkpoint it is what both have to agree on.
  const Buckets later = {{"b1", {Row("A1", "6.0")}}, {"b2", {Row("A1", "3.0")}}};
  server.Script({{.body = CheckpointFrame(8, newer) + OpsFrame("b1", 5, 8, {named("8.0", "new")}),
                  .end = ScriptedAnswer::End::kCut},
                 {.body = CheckpointFrame(6, later) + ResetFrame("b1") +
                          OpsFrame("b1", 0, 6, {named("6.0", "old")}) + CompleteFrame(6)},
                 {.body = CheckpointFrame(6, later) + OpsFrame("b1", 5, 6, {named("6.0", "old")}) +
                          CompleteFrame(6)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Haves().back(),
            R"({"have":[{"bucket":"b1","after":"5"},{"bucket":"b2","after":"5"}],"live":false})");
  EXPECT_EQ(SqlReader(path).Query("SELECT id, name FROM account"), "A1|old");
}

// Each bucket is reset just before it is sent: A1 must not be kept by the one that is still to
// come.
TEST_F(PullTest, AReplicaThatIsBehindACheckpointSendsAllOfItAnew) {
  const auto named = [](const std::string& position, const std::string& name) {
    return PutOp("account", "A1", position, fmt::format(R"({{"id":"A1","name":"{}"}})", name));
  };
  const Buckets newer = {{"b1", {Row("A1", "9.0")}}, {"b2", {Row("A1", "9.0")}}};
  const Buckets older = {{"b1", {Row("A1", "3.0")}}, {"b2", {Row("A1", "3.0")}}};
  server.Script({{.body = CheckpointFrame(9, newer) + OpsFrame("b1", 0, 9, {named("9.0", "new")}) +
                          OpsFrame("b2", 0, 9, {named("9.0", "new")}) + CompleteFrame(9)}});
  ASSERT_TRUE(Pull().ok());
  server.Script({{.body = CheckpointFrame(5, older) + ResetFrame("b1") +
                          OpsFrame("b1", 0, 5, {named("3.0", "old")}) + ResetFrame("b2") +
                          OpsFrame("b2", 0, 5, {named("3.0", "old")}) + CompleteFrame(5)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->position, 5);
  EXPECT_EQ(SqlReader(path).Query("SELECT id, name FROM account"), "A1|old");
}

// Of a bucket from its start no removals are sent: A1 left it while the schema was waited for.
TEST_F(PullTest, HalfAFrameOfANewBucketIsGivenUpWithIt) {
  const std::string unknown =
      PutOp("account", "A2", "5.0", R"({"id":"A2","name":"x","later":"y"})");
  server.Script({{.body = CheckpointFrame(5, {{"b1", {Row("A1", "4.0"), Row("A2", "5.0")}}}) +
                          OpsFrame("b1", 0, 5, {Put("A1", "4.0"), unknown})},
                 {.body = CheckpointFrame(6, {{"b1", {Row("A2", "5.0")}}}) +
                          OpsFrame("b1", 0, 6, {Put("A2", "5.0")}) + CompleteFrame(6)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->reconnects, 1U);
  EXPECT_EQ(result->buckets_reloaded, 0U);
  EXPECT_EQ(Accounts(), "A2");
}

// A1 is in both, and counts in both.
TEST_F(PullTest, ARowOfTwoBucketsStaysWhileOneOfThemIsLoadedAnew) {
  const Buckets rows = {{"b1", {Row("A1", "5.0"), Row("A2", "5.1")}},
                        {"b2", {Row("A1", "6.0"), Row("A3", "6.1")}}};
  const std::string b1 = OpsFrame("b1", 0, 7, {Put("A1", "5.0"), Put("A2", "5.1")});
  server.Script(
      {{.body = CheckpointFrame(7, rows) + b1 + OpsFrame("b2", 0, 7, {Put("A1", "6.0")}) +
                CompleteFrame(7)},
       {.body = CheckpointFrame(7, rows) +
                OpsFrame("b2", 0, 7, {Put("A1", "6.0"), Put("A3", "6.1")}) + CompleteFrame(7)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->buckets_reloaded, 1U);
  EXPECT_EQ(Haves().back(), R"({"have":[{"bucket":"b1","after":"7"}],"live":false})");
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

// Deleted and made anew under its name within one stream, its key of another type.
TEST_F(PullTest, AnEntityMadeAnewHasItsOwnTable) {
  const Buckets anew = {{"b9", {{{"account", "7"}, "9.0"}}}};
  server.Script(
      {{.body = whole + CheckpointFrame(9, anew, {"b1", "b2"}) +
                OpsFrame("b9", 0, 9, {PutOp("account", "7", "9.0", R"({"id":"7","name":"x"})")}) +
                CompleteFrame(9),
        .end = ScriptedAnswer::End::kHold}});
  auto puller = Open();
  const absl::Status status = puller->Follow([&](const PullResult& result) {
    if (result.position == 9) {
      puller->Cancel();
      return;
    }
    server.SetEntities(
        R"({"entities":[{"entity":"account","primary_key":"id","attributes":[
            {"name":"id","type":"int64"},{"name":"name","type":"string"}]}]})");
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(SqlReader(path).Query("SELECT id, typeof(id), name FROM account"), "7|integer|x");
}

// The schema is asked by each connection: a hidden attribute changes no bucket.
TEST_F(PullTest, AHiddenAttributesValuesGoWithTheNextPull) {
  server.Script({{.body = whole}});
  auto puller = Open();
  ASSERT_TRUE(puller->Pull().ok());
  EXPECT_EQ(SqlReader(path).Query("SELECT count(name) FROM account"), "3");
  server.SetEntities(R"({"entities":[{"entity":"account","primary_key":"id","attributes":[
                         {"name":"id","type":"string"}]}]})");
  server.Script({{.body = CheckpointFrame(8, three_rows) + CompleteFrame(8)}});
  ASSERT_TRUE(puller->Pull().ok());
  EXPECT_EQ(SqlReader(path).Query("SELECT count(*), count(name) FROM account"), "3|0");
}

TEST_F(PullTest, ANewerCheckpointReplacesOneThatIsNotComplete) {
  const Buckets newer = {{"b1", {Row("A1", "8.0"), Row("A2", "6.0")}}, {"b3", {Row("A5", "8.1")}}};
  server.Script({{.body = checkpoint + first + CheckpointFrame(8, newer, {"b2"}) + second +
                          OpsFrame("b1", 7, 8, {Put("A1", "8.0")}) +
                          OpsFrame("b3", 0, 8, {Put("A5", "8.1")}) + CompleteFrame(8)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->position, 8);
  EXPECT_EQ(Accounts(), "A1;A2;A5");
}

}  // namespace
}  // namespace sluice::client

#include "clients/cpp/pull.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "schemas/status.h"
#include "tests/support/clients/scripted_sync_server.h"
#include "tests/support/clients/sql_reader.h"
#include "tests/support/clients/sync_frames.h"
#include "tests/support/temp_dir.h"

namespace sluice::client {
namespace {

using ::sluice::testing::Buckets;
using ::sluice::testing::CheckpointFrame;
using ::sluice::testing::CompleteFrame;
using ::sluice::testing::OpsFrame;
using ::sluice::testing::PutOp;
using ::sluice::testing::RemoveOp;
using ::sluice::testing::ResetFrame;
using ::sluice::testing::ScriptedAnswer;
using ::sluice::testing::ScriptedSyncServer;
using ::sluice::testing::SqlReader;
using ::sluice::testing::StreamRequest;
using ::sluice::testing::TempDir;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr char kEntities[] = R"({"entities":[{"entity":"account","primary_key":"id","attributes":[
    {"name":"id","type":"string"},{"name":"name","type":"string"}]}]})";

std::string Put(const std::string& key, const std::string& position) {
  return PutOp("account", key, position, fmt::format(R"({{"id":"{0}","name":"n{0}"}})", key));
}

std::pair<const std::pair<std::string, std::string>, std::string> Row(const std::string& key,
                                                                      const std::string& position) {
  return {{"account", key}, position};
}

class PullTest : public ::testing::Test {
 protected:
  PullOptions Options() {
    PullOptions options;
    options.url = server.url();
    options.org = "acme";
    options.db_path = path;
    options.token = [this]() -> absl::StatusOr<std::string> {
      return fmt::format("token{}", ++tokens);
    };
    options.attempts_max = 4;
    options.backoff_first = std::chrono::milliseconds(1);
    options.backoff_max = std::chrono::milliseconds(5);
    options.silence_max = std::chrono::milliseconds(20'000);
    return options;
  }
  std::unique_ptr<Puller> Open() {
    auto puller = Puller::Open(Options());
    EXPECT_TRUE(puller.ok()) << puller.status();
    return puller.ok() ? std::move(*puller) : nullptr;
  }
  absl::StatusOr<PullResult> Pull() { return Open()->Pull(); }
  std::string Accounts() { return SqlReader(path).Query("SELECT id FROM account ORDER BY id"); }
  std::vector<std::string> Haves() {
    std::vector<std::string> bodies;
    for (const StreamRequest& request : server.requests()) {
      bodies.push_back(request.body);
    }
    return bodies;
  }

  TempDir dir;
  std::string path = dir / "local.sqlite";
  ScriptedSyncServer server{kEntities};
  std::atomic<int> tokens = 0;

  const Buckets three_rows = {{"b1", {Row("A1", "5.0"), Row("A2", "6.0")}},
                              {"b2", {Row("A3", "7.0")}}};
  const std::string checkpoint = CheckpointFrame(7, three_rows);
  const std::string first = OpsFrame("b1", 0, 5, {Put("A1", "5.0")});
  const std::string second = OpsFrame("b1", 5, 7, {Put("A2", "6.0")});
  const std::string third = OpsFrame("b2", 0, 7, {Put("A3", "7.0")});
  const std::string whole = checkpoint + first + second + third + CompleteFrame(7);
};

TEST_F(PullTest, AFirstLoad) {
  server.Script({{.body = whole}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(Accounts(), "A1;A2;A3");
  EXPECT_EQ(result->position, 7);
  EXPECT_EQ(result->checkpoints, 1U);
  EXPECT_EQ(result->rows_put, 3U);
  EXPECT_EQ(result->buckets, 2U);
  EXPECT_EQ(result->bytes_received, whole.size());
  EXPECT_EQ(result->reconnects, 0U);
  ASSERT_EQ(server.requests().size(), 1U);
  EXPECT_EQ(server.requests()[0].path, "/v1/orgs/acme/stream");
  EXPECT_EQ(server.requests()[0].body, R"({"have":[],"live":false})");
}

TEST_F(PullTest, TheNextPullAsksForTheDifference) {
  server.Script({{.body = whole}});
  ASSERT_TRUE(Pull().ok());
  Buckets later = three_rows;
  later["b1"].erase({"account", "A1"});
  later.erase("b2");
  server.Script(
      {{.body = CheckpointFrame(9, later, {"b2"}) +
                OpsFrame("b1", 7, 9, {RemoveOp("account", "A1", "8.0")}) + CompleteFrame(9)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->rows_removed, 1U);
  EXPECT_EQ(Accounts(), "A2");
  EXPECT_THAT(
      Haves(),
      ElementsAre(
          R"({"have":[{"bucket":"b1","after":"7"},{"bucket":"b2","after":"7"}],"live":false})"));
}

// A bucket that the checkpoint leaves out is no longer the caller's, also if `removed` lacks it.
TEST_F(PullTest, ABucketThatIsNotAnnouncedGoes) {
  server.Script({{.body = whole}});
  ASSERT_TRUE(Pull().ok());
  server.Script({{.body = CheckpointFrame(9, {{"b2", three_rows.at("b2")}}) + CompleteFrame(9)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Accounts(), "A3");
}

TEST_F(PullTest, NoRowsAtAll) {
  server.Script({{.body = CheckpointFrame(3, {}) + CompleteFrame(3)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Accounts(), "");
}

TEST_F(PullTest, AConnectionCutAnywhereGoesOnWhereItWas) {
  // After what is whole of the frames, with which `have` the next request must come.
  const size_t after_first = checkpoint.size() + first.size();
  const size_t after_second = after_first + second.size();
  const size_t after_third = after_second + third.size();
  for (size_t cut = 0; cut < whole.size(); cut += 7) {
    path = dir / fmt::format("cut{}.sqlite", cut);
    std::string have;
    std::string rest = checkpoint;
    if (cut < after_first) {
      rest += first;
    } else {
      have = R"({"bucket":"b1","after":"5"})";
    }
    if (cut < after_second) {
      rest += second;
    } else {
      have = R"({"bucket":"b1","after":"7"})";
    }
    if (cut < after_third) {
      rest += third;
    } else {
      have += R"(,{"bucket":"b2","after":"7"})";
    }
    server.Script({{.body = whole.substr(0, cut), .end = ScriptedAnswer::End::kCut},
                   {.body = rest + CompleteFrame(7)}});
    const auto result = Pull();
    ASSERT_TRUE(result.ok()) << "cut " << cut << ": " << result.status();
    ASSERT_EQ(Accounts(), "A1;A2;A3") << "cut " << cut;
    ASSERT_EQ(result->reconnects, 1U);
    ASSERT_EQ(Haves().back(), R"({"have":[)" + have + R"(],"live":false})") << "cut " << cut;
  }
}

TEST_F(PullTest, AFirstLoadGoesOnInTheNextPull) {
  server.Script({{.body = checkpoint + first, .end = ScriptedAnswer::End::kCut}, {.status = 401}});
  EXPECT_FALSE(Pull().ok());
  server.Script({{.body = checkpoint + second + third + CompleteFrame(7)}});
  ASSERT_TRUE(Pull().ok());
  EXPECT_THAT(Haves(), ElementsAre(R"({"have":[{"bucket":"b1","after":"5"}],"live":false})"));
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

TEST_F(PullTest, APullThatFailsKeepsTheLastCheckpoint) {
  server.Script({{.body = whole}});
  ASSERT_TRUE(Pull().ok());
  server.Script({{.body = CheckpointFrame(9, {{"b1", {Row("B1", "9.0")}}}) +
                          OpsFrame("b1", 7, 9, {Put("B1", "9.0")}),
                  .end = ScriptedAnswer::End::kCut},
                 {.status = 503}});
  const auto result = Pull();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

TEST_F(PullTest, UnavailableIsTriedAgainAndThenGivenUp) {
  server.Script({{.status = 503, .body = R"({"code":"not_ready","detail":"still opening"})"}});
  const auto result = Pull();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(ErrorCode(result.status()), "not_ready");
  EXPECT_THAT(std::string(Message(result.status())), HasSubstr("given up after 4 attempts"));
  EXPECT_EQ(server.requests().size(), 4U);

  server.Script({{.status = 503}, {.status = 429, .retry_after = "3600"}, {.body = whole}});
  const auto second_try = Pull();  // waits no longer than backoff_max
  ASSERT_TRUE(second_try.ok()) << second_try.status();
  EXPECT_EQ(second_try->reconnects, 2U);
}

TEST_F(PullTest, RetryAfterIsKept) {
  server.Script({{.status = 503, .retry_after = "1"}, {.body = whole}});
  PullOptions options = Options();
  options.backoff_max = std::chrono::milliseconds(400);
  auto puller = Puller::Open(std::move(options));
  ASSERT_TRUE(puller.ok());
  const auto start = std::chrono::steady_clock::now();
  ASSERT_TRUE((*puller)->Pull().ok());
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(400));
}

TEST_F(PullTest, RetryAfterIsKeptForTheSchemaToo) {
  server.SetEntities("{}", 503, "1");
  server.Script({{.body = whole}});
  PullOptions options = Options();
  options.attempts_max = 2;
  options.backoff_max = std::chrono::milliseconds(400);
  auto puller = Puller::Open(std::move(options));
  ASSERT_TRUE(puller.ok());
  const auto start = std::chrono::steady_clock::now();
  EXPECT_FALSE((*puller)->Pull().ok());
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(400));
}

TEST_F(PullTest, ProgressCountsAsAnAttemptThatWorked) {
  // Each connection brings one frame: more of them than attempts_max.
  Buckets rows;
  std::vector<ScriptedAnswer> script;
  for (int i = 1; i <= 8; ++i) {
    rows["b1"].insert(Row(fmt::format("A{}", i), fmt::format("{}.0", i)));
  }
  for (int i = 1; i <= 8; ++i) {
    script.push_back(
        {.body = CheckpointFrame(8, rows) +
                 OpsFrame("b1", i - 1, i, {Put(fmt::format("A{}", i), fmt::format("{}.0", i))}) +
                 (i == 8 ? CompleteFrame(8) : ""),
         .end = i == 8 ? ScriptedAnswer::End::kClean : ScriptedAnswer::End::kCut});
  }
  server.Script(script);
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->reconnects, 7U);
}

TEST_F(PullTest, AStreamThatEndsTooEarlyAgainAndAgainIsAnError) {
  server.Script({{.body = checkpoint}});
  EXPECT_EQ(ErrorCode(Pull().status()), "stream_ended");
}

TEST_F(PullTest, RefusalsAreNotRepeated) {
  const std::tuple<int, absl::StatusCode, std::string, std::string> cases[] = {
      {401, absl::StatusCode::kUnauthenticated, R"({"code":"unauthenticated"})", "unauthenticated"},
      {403, absl::StatusCode::kPermissionDenied,
       R"({"status": 403, "code": "too_many_buckets", "detail": "rule \"x\" needs 1001"})",
       "too_many_buckets"},
      {404, absl::StatusCode::kNotFound, R"({"code":"org_not_found"})", "org_not_found"},
      {410, absl::StatusCode::kNotFound, R"({"code":"org_reprovisioned"})", "org_reprovisioned"},
      {400, absl::StatusCode::kInvalidArgument, "<html>", "http_error"}};
  for (const auto& [http, kind, body, code] : cases) {
    server.Script({{.status = http, .body = body}});
    const absl::Status status = Pull().status();
    EXPECT_EQ(status.code(), kind) << http;
    EXPECT_EQ(ErrorCode(status), code) << http;
    EXPECT_EQ(server.requests().size(), 1U) << http;
  }
}

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

TEST_F(PullTest, FramesOutOfOrderAreRefused) {
  for (const std::string& body :
       {first, CompleteFrame(7), ResetFrame("b1"), whole + first,
        checkpoint + OpsFrame("b9", 0, 7, {Put("A1", "5.0")}), checkpoint + ResetFrame("b9"),
        checkpoint + "what\n", checkpoint + first + second + third + CompleteFrame(8)}) {
    path = dir / fmt::format("order{}.sqlite", body.size());
    server.Script({{.body = body}});
    EXPECT_EQ(ErrorCode(Pull().status()), "malformed_frame") << body;
  }
}

TEST_F(PullTest, EachConnectionHasANewToken) {
  server.Script({{.body = checkpoint, .end = ScriptedAnswer::End::kCut}, {.body = whole}});
  ASSERT_TRUE(Pull().ok());
  const std::vector<StreamRequest> requests = server.requests();
  ASSERT_EQ(requests.size(), 2U);
  EXPECT_NE(requests[0].authorization, requests[1].authorization);
  EXPECT_THAT(requests[0].authorization, HasSubstr("Bearer token"));
}

TEST_F(PullTest, ATokenThatCanNotBeHadIsTheError) {
  PullOptions options = Options();
  options.token = [] {
    return absl::StatusOr<std::string>(
        Error(absl::StatusCode::kUnauthenticated, "signed_out", "sign in first"));
  };
  auto puller = Puller::Open(std::move(options));
  ASSERT_TRUE(puller.ok());
  EXPECT_EQ(ErrorCode((*puller)->Pull().status()), "signed_out");
  EXPECT_TRUE(server.requests().empty());
}

TEST_F(PullTest, ASchemaThatIsLateIsWaitedFor) {
  server.SetEntities("{}", 503);
  server.Script({{.body = whole}});
  EXPECT_EQ(Pull().status().code(), absl::StatusCode::kUnavailable);
  server.SetEntities(kEntities);
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

TEST_F(PullTest, OptionsThatCanNotBeAreRefused) {
  for (const char* url :
       {"", "127.0.0.1:8471", "ftp://h", "http://", "http://h/path", "http://a b"}) {
    PullOptions options = Options();
    options.url = url;
    EXPECT_EQ(Puller::Open(std::move(options)).status().code(), absl::StatusCode::kInvalidArgument)
        << url;
  }
  for (const char* org : {"", "Acme", "a/b", "-a", "a-"}) {
    PullOptions options = Options();
    options.org = org;
    EXPECT_EQ(Puller::Open(std::move(options)).status().code(), absl::StatusCode::kInvalidArgument)
        << org;
  }
  PullOptions options = Options();
  options.url += "/";
  EXPECT_TRUE(Puller::Open(std::move(options)).ok());
}

TEST_F(PullTest, NobodyListens) {
  PullOptions options = Options();
  options.url = "http://127.0.0.1:1";
  auto puller = Puller::Open(std::move(options));
  ASSERT_TRUE(puller.ok());
  EXPECT_EQ(ErrorCode((*puller)->Pull().status()), "unavailable");
}

TEST_F(PullTest, ProgressIsTold) {
  server.Script({{.body = whole}});
  auto puller = Open();
  std::vector<uint64_t> done;
  puller->OnProgress([&done](const PullProgress& now) {
    EXPECT_EQ(now.rows_total, 3U);
    done.push_back(now.rows_done);
  });
  ASSERT_TRUE(puller->Pull().ok());
  EXPECT_THAT(done, ElementsAre(1, 2, 3));
}

TEST_F(PullTest, FollowShowsEachCheckpointUntilItIsCancelled) {
  Buckets later = three_rows;
  later["b1"].insert(Row("A4", "9.0"));
  server.Script({{.body = whole + CheckpointFrame(9, later) +
                          OpsFrame("b1", 7, 9, {Put("A4", "9.0")}) + CompleteFrame(9),
                  .end = ScriptedAnswer::End::kHold}});
  auto puller = Open();
  std::vector<std::string> seen;
  const absl::Status status = puller->Follow([&](const PullResult& result) {
    seen.push_back(fmt::format("{}: {}", result.position, Accounts()));
    if (result.position == 9) {
      puller->Cancel();
    }
  });
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_THAT(seen, ElementsAre("7: A1;A2;A3", "9: A1;A2;A3;A4"));
  EXPECT_EQ(server.requests()[0].body, R"({"have":[],"live":true})");
}

TEST_F(PullTest, FollowComesBackAfterEachEnd) {
  std::vector<ScriptedAnswer> script;
  for (int i = 0; i < 6; ++i) {  // more than attempts_max
    script.push_back({.status = 503});
  }
  script.push_back({.body = whole});  // ends, as with its token
  script.push_back({.body = CheckpointFrame(8, three_rows) + CompleteFrame(8),
                    .end = ScriptedAnswer::End::kHold});
  server.Script(script);
  auto puller = Open();
  std::promise<void> at_eight;
  std::thread canceller([&] {
    at_eight.get_future().wait();
    puller->Cancel();
  });
  const absl::Status status = puller->Follow([&](const PullResult& result) {
    if (result.position == 8) {
      at_eight.set_value();
    }
  });
  canceller.join();
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_EQ(server.requests().size(), 8U);
}

TEST_F(PullTest, FollowEndsWithARefusal) {
  server.Script({{.body = whole}, {.status = 403, .body = R"({"code":"offline_not_allowed"})"}});
  const absl::Status status = Open()->Follow([](const PullResult&) {});
  EXPECT_EQ(ErrorCode(status), "offline_not_allowed");
}

// The stream hangs in the middle of a load; Cancel comes from another thread.
TEST_F(PullTest, CancelEndsAPullThatWaits) {
  server.Script({{.body = checkpoint + first, .end = ScriptedAnswer::End::kHold}});
  auto puller = Open();
  std::promise<void> loading;
  puller->OnProgress([&](const PullProgress&) { loading.set_value(); });
  std::thread canceller([&] {
    loading.get_future().wait();
    puller->Cancel();
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(puller->Pull().status().code(), absl::StatusCode::kCancelled);
  canceller.join();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_EQ(puller->Pull().status().code(), absl::StatusCode::kCancelled);  // it is for good
}

TEST_F(PullTest, CancelBeforeAPullIsNotLost) {
  server.Script({{.body = checkpoint, .end = ScriptedAnswer::End::kHold}});
  auto puller = Open();
  puller->Cancel();
  EXPECT_EQ(puller->Pull().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(puller->Follow([](const PullResult&) {}).ok());
  EXPECT_TRUE(server.requests().empty());
}

}  // namespace
}  // namespace sluice::client

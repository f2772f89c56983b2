#include "clients/cpp/pull.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <thread>

#include "schemas/base/status.h"
#include "tests/support/clients/pull_fixture.h"

// Loads, connections, refusals, following and cancelling; what becomes of the buckets and rows is
// in pull_buckets_test.cc.
namespace sluice::client {
namespace {

using ::sluice::testing::Buckets;
using ::sluice::testing::CheckpointFrame;
using ::sluice::testing::CompleteFrame;
using ::sluice::testing::OpsFrame;
using ::sluice::testing::PullTest;
using ::sluice::testing::Put;
using ::sluice::testing::RemoveOp;
using ::sluice::testing::ResetFrame;
using ::sluice::testing::Row;
using ::sluice::testing::ScriptedAnswer;
using ::sluice::testing::StreamRequest;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

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
  EXPECT_EQ(result->rows_removed, 2U);  // A1, and A3 with its bucket
  EXPECT_EQ(result->rows, 1U);
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

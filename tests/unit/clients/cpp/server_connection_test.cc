#include "clients/cpp/server_connection.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/support/clients/pull_fixture.h"

// Several nodes, refusals that are for good, and answers that are too long.
namespace sluice::client {
namespace {

using ::sluice::testing::CheckpointFrame;
using ::sluice::testing::CompleteFrame;
using ::sluice::testing::PullTest;
using ::sluice::testing::ScriptedAnswer;
using ::sluice::testing::ScriptedSyncServer;
using ::testing::HasSubstr;

constexpr char kPath[] = "/v1/orgs/acme/stream";

ScriptedAnswer To(const ScriptedSyncServer& node) {
  return {.status = 307, .body = {}, .location = node.url() + kPath};
}

class NodesTest : public PullTest {
 protected:
  ScriptedSyncServer other{kEntities};
  ScriptedSyncServer last{kEntities};
};

TEST_F(NodesTest, ARedirectIsFollowedWithTheTokenAndRemembered) {
  server.Script({To(other)});
  other.Script({{.body = whole}});
  auto puller = Open();
  ASSERT_TRUE(puller->Pull().ok());
  EXPECT_EQ(Accounts(), "A1;A2;A3");
  EXPECT_EQ(server.requests().size(), 1U);
  ASSERT_EQ(other.requests().size(), 1U);
  EXPECT_EQ(other.requests()[0].authorization, server.requests()[0].authorization);
  EXPECT_EQ(other.requests()[0].body, server.requests()[0].body);
  EXPECT_EQ(other.entities_requests(), 1U);  // which is asked for where the rows come from

  other.Script({{.body = CheckpointFrame(8, three_rows) + CompleteFrame(8)}});
  ASSERT_TRUE(puller->Pull().ok());
  EXPECT_EQ(server.requests().size(), 1U);
  EXPECT_EQ(other.requests().size(), 1U);
}

TEST_F(NodesTest, WhereANodeNoLongerServesTheFirstIsAskedAgain) {
  server.Script({To(other), To(last)});
  other.Script({{.body = checkpoint + first, .end = ScriptedAnswer::End::kCut},
                {.status = 503, .body = R"({"code":"not_served_here"})"}});
  last.Script({{.body = checkpoint + second + third + CompleteFrame(7)}});
  const auto result = Pull();
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(server.requests().size(), 2U);
  EXPECT_EQ(other.requests().size(), 2U);
  EXPECT_EQ(last.requests()[0].body, R"({"have":[{"bucket":"b1","after":"5"}],"live":false})");
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

TEST_F(NodesTest, NodesThatPointToEachOtherAreGivenUp) {
  server.Script({To(other)});
  other.Script({To(server)});
  const auto result = Pull();
  EXPECT_EQ(ErrorCode(result.status()), "too_many_redirects") << result.status();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kUnavailable);
  // Four attempts, each with five redirects.
  EXPECT_EQ(server.requests().size() + other.requests().size(), 24U);
}

TEST_F(NodesTest, TheTokenGoesNowhereElse) {
  for (const std::string& location :
       {std::string(), other.url() + "/login", other.url() + "/v1/orgs/other/stream",
        "ftp://127.0.0.1" + std::string(kPath), "//evil.example" + std::string(kPath),
        "http://user@evil.example" + std::string(kPath),
        "http://evil.example/x" + std::string(kPath)}) {
    server.Script({{.status = 307, .body = {}, .location = location}});
    const auto result = Pull();
    EXPECT_EQ(ErrorCode(result.status()), "redirect_refused") << location;
    EXPECT_TRUE(other.requests().empty());
  }
  server.Script({{.status = 302, .body = {}, .location = other.url() + kPath}});
  EXPECT_EQ(Pull().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_TRUE(other.requests().empty());
}

TEST(RedirectTargetTest, NeverFromHttpsToHttp) {
  EXPECT_EQ(*RedirectTarget("https://a", kPath, std::string("https://b:8471") + kPath),
            "https://b:8471");
  EXPECT_EQ(*RedirectTarget("http://a", kPath, std::string("https://b") + kPath), "https://b");
  EXPECT_EQ(*RedirectTarget("https://a", kPath, kPath), "https://a");
  EXPECT_EQ(ErrorCode(RedirectTarget("https://a", kPath, std::string("http://b") + kPath).status()),
            "redirect_refused");
}

TEST(RefusalTest, OnlyARefusalThatSaysSoIsForGood) {
  EXPECT_TRUE(WipeDemanded(ToRefusal(403, R"({"code":"offline_not_allowed","wipe":true})")));
  EXPECT_TRUE(WipeDemanded(ToRefusal(404, R"({"code":"org_not_found","wipe":true})")));
  EXPECT_FALSE(WipeDemanded(ToRefusal(403, R"({"code":"offline_not_allowed"})")));
  EXPECT_FALSE(WipeDemanded(ToRefusal(403, R"({"code":"offline_not_allowed","wipe":1})")));
  EXPECT_FALSE(WipeDemanded(ToRefusal(401, R"({"code":"unauthenticated","wipe":true})")));
  EXPECT_FALSE(WipeDemanded(ToRefusal(503, R"({"code":"not_caught_up","wipe":true})")));
  EXPECT_FALSE(WipeDemanded(ToRefusal(400, R"({"wipe":true})")));
  EXPECT_FALSE(WipeDemanded(absl::OkStatus()));
}

TEST(RefusalTest, TheServersWordsArePrintable) {
  const absl::Status status =
      ToRefusal(403, R"({"code":"\u001b[31m","detail":"a\u009bb\u202ec\nd"})");
  EXPECT_EQ(ErrorCode(status), "\\x1b[31m");
  EXPECT_EQ(std::string(Message(status)), "a\\u009bb\\u202ec\\x0ad (HTTP 403)");
}

TEST_F(PullTest, ARefusalForGoodIsToldAndWipesNothingByItself) {
  server.Script({{.body = whole}});
  ASSERT_TRUE(Pull().ok());
  server.Script({{.status = 403, .body = R"({"code":"offline_not_allowed","wipe":true})"}});
  auto puller = Open();
  const absl::Status status = puller->Pull().status();
  EXPECT_TRUE(WipeDemanded(status)) << status;
  EXPECT_EQ(ErrorCode(status), "offline_not_allowed");
  EXPECT_EQ(Accounts(), "A1;A2;A3");
  EXPECT_TRUE(WipeDemanded(puller->Follow([](const PullResult&) {})));
  ASSERT_TRUE(puller->Wipe().ok());
  ASSERT_TRUE(puller->Wipe().ok());
  EXPECT_THAT(Accounts(), HasSubstr("no such table"));
  EXPECT_EQ(puller->Pull().status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(puller->Follow([](const PullResult&) {}).code(), absl::StatusCode::kInvalidArgument);
  puller.reset();
  server.Script({{.body = whole}});  // the right came back
  ASSERT_TRUE(Pull().ok());
  EXPECT_EQ(server.requests()[0].body, R"({"have":[],"live":false})");
  EXPECT_EQ(Accounts(), "A1;A2;A3");
}

TEST_F(PullTest, BodiesAreReadUpToALimit) {
  server.Script({{.status = 400, .body = std::string(8 << 20, 'x')}});
  EXPECT_EQ(ErrorCode(Pull().status()), "http_error");
  server.SetEntities(std::string(ServerConnection::kEntitiesBytesMax + 1, ' '));
  server.Script({{.body = whole}});
  const absl::Status status = Pull().status();
  EXPECT_EQ(ErrorCode(status), "malformed_frame");
  EXPECT_THAT(std::string(Message(status)), HasSubstr("longer than"));
}

}  // namespace
}  // namespace sluice::client

#include "gateways/odata/odata_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>

#include "gateways/outbound/retry_after.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scripted_server.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::ScriptedServer;
using ::testing::SizeIs;

std::string Answer(std::string_view body, std::string_view headers = "",
                   std::string_view status = "200 OK",
                   std::string_view type = "application/json; charset=utf-8") {
  return fmt::format("HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n{}\r\n{}", status,
                     type, body.size(), headers, body);
}

constexpr char kThreeRows[] = R"({"value":[{"ID":1},{"ID":2},{"ID":3}],"@odata.count":"3"})";

class ODataClientTest : public ::testing::Test {
 protected:
  ODataClientTest() {
    server_ = std::make_unique<ScriptedServer>([this](ScriptedServer::Peer& peer) {
      peer.ReadRequest();
      const size_t n = asked_++;
      peer.Send(answers_.at(std::min(n, answers_.size() - 1)));
    });
    settings_.set_url(Url("/svc"));
  }

  std::string Url(std::string_view path) const {
    return fmt::format("http://127.0.0.1:{}{}", server_->port(), path);
  }
  absl::StatusOr<std::unique_ptr<ODataClient>> Client() {
    return ODataClient::Create(outbound_, clock_, settings_, secrets_, {},
                               [this](milliseconds wait) {
                                 waits_.push_back(wait);
                                 clock_.Advance(wait);
                                 return may_wait_;
                               });
  }
  // The rows of a page; the client's error.
  absl::StatusOr<std::vector<std::string>> Get(PageRequest request = {}) {
    rows_.clear();
    auto client = Client();
    if (!client.ok()) {
      return client.status();
    }
    auto page = (*client)->GetPage(*gateways::Url::Parse(Url("/svc/Items?secret=1")), request,
                                   [&](std::string_view row, bool) {
                                     rows_.emplace_back(row);
                                     return absl::OkStatus();
                                   });
    if (!page.ok()) {
      EXPECT_THAT(page.status().ToString(), Not(HasSubstr("secret")));
      return page.status();
    }
    page_ = *page;
    return rows_;
  }
  std::string CodeOf(std::string answer) {
    answers_ = {std::move(answer)};
    asked_ = 0;
    last_ = Get().status();
    return last_.ok() ? "ok" : ErrorCode(last_);
  }

  testing::FakeClock clock_;
  OutboundClient outbound_{
      {.allow_hosts = {"127.0.0.1"}, .allow_private = {"127.0.0.1"}, .ca_file = ""}, clock_};
  std::vector<std::string> answers_;
  std::atomic<size_t> asked_ = 0;
  std::unique_ptr<ScriptedServer> server_;
  v1::SourceSettings settings_;
  Secrets secrets_;
  std::vector<milliseconds> waits_;
  bool may_wait_ = true;
  std::vector<std::string> rows_;
  ODataPage page_;
  absl::Status last_;
};

TEST_F(ODataClientTest, APageWithWhatTheAnswerSaysOfItself) {
  answers_ = {Answer(kThreeRows,
                     "Date: Sat, 31 Jan 2026 10:00:00 GMT\r\n"
                     "Preference-Applied: odata.maxpagesize=9\r\n"
                     "Preference-Applied: respond-async, TRACK-CHANGES;x=1\r\n")};
  ASSERT_TRUE(Get({.track = true, .rows = 9}).ok());
  EXPECT_THAT(rows_, SizeIs(3));
  EXPECT_EQ(page_.end.count, 3U);
  EXPECT_TRUE(page_.tracks_changes);
  EXPECT_EQ(page_.date, SystemTime(seconds(1'769'853'600)));
  const std::string head = server_->requests().at(0);
  EXPECT_THAT(head, HasSubstr("Prefer: odata.track-changes,odata.maxpagesize=9\r\n"));
  EXPECT_THAT(head, HasSubstr("OData-MaxVersion: 4.0\r\n"));
  EXPECT_THAT(head, Not(HasSubstr("Authorization")));

  answers_ = {Answer(kThreeRows, "Preference-Applied: no-track-changes, x=track-changes\r\n")};
  ASSERT_TRUE(Get().ok());
  EXPECT_FALSE(page_.tracks_changes);
}

TEST_F(ODataClientTest, EnoughRowsAreEnough) {
  answers_ = {Answer(kThreeRows), Answer(R"({"@count":9,"value":[{"ID":1},{"ID":2}],)")};
  ASSERT_TRUE(Get({.rows_max = 3}).ok());
  EXPECT_THAT(rows_, SizeIs(3));
  ASSERT_TRUE(Get({.rows_max = 1}).ok()) << "what follows is not looked at";
  EXPECT_THAT(rows_, SizeIs(1));
  EXPECT_EQ(page_.end.count, 9U);
}

TEST_F(ODataClientTest, AnswersThatAreNone) {
  EXPECT_EQ(CodeOf(Answer("<html></html>", "", "200 OK", "text/html")), "source_answer_invalid");
  EXPECT_EQ(last_.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(CodeOf(Answer(kThreeRows, "", "200 OK", "application/atom+xml")),
            "source_answer_invalid");
  EXPECT_EQ(CodeOf(Answer("", "", "204 No Content")), "source_answer_invalid");
  EXPECT_EQ(CodeOf(Answer(R"({"value":[{"ID":1})")), "source_answer_invalid");
  EXPECT_EQ(CodeOf(Answer("", "", "304 Not Modified")), "source_answer_invalid");
}

TEST_F(ODataClientTest, RefusalsHaveTheirKinds) {
  EXPECT_EQ(CodeOf(Answer(R"({"error":{"code":"0x80-gone","message":"secret"}})", "", "410 Gone")),
            "source_refused");
  EXPECT_EQ(last_.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(Message(last_)),
              HasSubstr("/svc/Items answers with HTTP status 410, 0x80-gone"));
  EXPECT_EQ(CodeOf(Answer(R"({"error":{"code":"not secret at all"}})", "", "400 Bad")),
            "source_refused");
  EXPECT_EQ(CodeOf(Answer("", "", "404 Not Found")), "source_refused");
  EXPECT_EQ(CodeOf(Answer("", "", "403 Forbidden")), "source_unauthorized");
  EXPECT_EQ(CodeOf(Answer("", "", "401 Unauthorized")), "source_unauthorized");
  EXPECT_EQ(last_.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(CodeOf(Answer("", "", "500 Failed")), "source_unreachable");
  EXPECT_EQ(last_.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(CodeOf(Answer("", "", "408 Timeout")), "source_unreachable");
  EXPECT_EQ(CodeOf(Answer("", "", "503 Busy")), "source_resting");
  EXPECT_EQ(RetryAfterOf(last_), std::nullopt);
  EXPECT_THAT(waits_, IsEmpty());
}

TEST_F(ODataClientTest, AShortWaitIsWaitedForHereALongOneIsNot) {
  const std::string busy = Answer("", "Retry-After: 7\r\n", "429 Too Many");
  answers_ = {busy, busy, Answer(kThreeRows)};
  ASSERT_TRUE(Get().ok());
  EXPECT_THAT(rows_, SizeIs(3));
  EXPECT_THAT(waits_, ElementsAre(milliseconds(7'000), milliseconds(7'000)));
  EXPECT_EQ(asked_, 3U);

  waits_.clear();
  EXPECT_EQ(CodeOf(busy), "source_resting") << "five times, and then whoever runs this waits";
  EXPECT_THAT(waits_, SizeIs(5));
  EXPECT_EQ(RetryAfterOf(last_), milliseconds(7'000));

  waits_.clear();
  clock_.Advance(seconds(10));
  EXPECT_EQ(CodeOf(Answer("", "Retry-After: 31\r\n", "503 Busy")), "source_resting");
  EXPECT_THAT(waits_, IsEmpty());
  EXPECT_EQ(RetryAfterOf(last_), milliseconds(31'000));

  clock_.Advance(seconds(40));
  may_wait_ = false;
  EXPECT_EQ(CodeOf(busy), "source_resting");
  EXPECT_EQ(asked_, 1U);
}

TEST_F(ODataClientTest, BasicAndBearer) {
  answers_ = {Answer(kThreeRows)};
  settings_.mutable_auth()->set_kind("basic");
  settings_.mutable_auth()->set_username("ann");
  EXPECT_EQ(ErrorCode(Get().status()), "secrets_missing");
  secrets_.emplace("password", SecretText("pw"));
  ASSERT_TRUE(Get().ok());
  EXPECT_THAT(server_->requests().back(), HasSubstr("Authorization: Basic YW5uOnB3\r\n"));
  settings_.mutable_auth()->set_kind("bearer");
  EXPECT_EQ(ErrorCode(Get().status()), "secrets_missing");
  secrets_.emplace("token", SecretText("abc"));
  ASSERT_TRUE(Get().ok());
  EXPECT_THAT(server_->requests().back(), HasSubstr("Authorization: Bearer abc\r\n"));
  EXPECT_EQ(CodeOf(Answer("", "", "401 Unauthorized")), "source_unauthorized");
  EXPECT_EQ(asked_, 1U) << "the same again would not help";
}

TEST_F(ODataClientTest, ATokenIsRenewedOnceWhereTheSourceRefusesIt) {
  settings_.mutable_auth()->set_kind("client_credentials");
  settings_.mutable_auth()->set_token_url(Url("/token"));
  settings_.mutable_auth()->set_client_id("me");
  secrets_.emplace("client_secret", SecretText("pw"));
  const auto token = [](std::string_view text) {
    return Answer(fmt::format(R"({{"access_token":"{}","token_type":"Bearer"}})", text));
  };
  const std::string refused = Answer("", "", "401 Unauthorized");
  answers_ = {token("one"), refused, token("two"), Answer(kThreeRows)};
  ASSERT_TRUE(Get().ok());
  const auto requests = server_->requests();
  ASSERT_THAT(requests, SizeIs(4));
  EXPECT_THAT(requests[1], HasSubstr("Authorization: Bearer one\r\n"));
  EXPECT_THAT(requests[3], HasSubstr("Authorization: Bearer two\r\n"));

  asked_ = 0;
  answers_ = {token("one"), refused, token("two"), refused, token("three"), Answer(kThreeRows)};
  EXPECT_EQ(ErrorCode(Get().status()), "source_unauthorized");
  EXPECT_EQ(asked_, 4U);
}

TEST_F(ODataClientTest, MetadataAsXmlOrAsJson) {
  constexpr char kXml[] =
      R"(<edmx:Edmx xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx" Version="4.0">
<edmx:DataServices><Schema xmlns="http://docs.oasis-open.org/odata/ns/edm" Namespace="s">
<EntityContainer Name="C"><EntitySet Name="Items" EntityType="s.Item"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>)";
  answers_ = {Answer(kXml, "", "200 OK", "application/xml;charset=utf-8"),
              Answer(R"({"$Version":"4.01","$EntityContainer":"s.C","s":{"C":{"$Kind":
"EntityContainer","Items":{"$Collection":true,"$Type":"s.Item"}}}})"),
              Answer("<html>", "", "200 OK", "text/html"), Answer("", "", "404 Not Found")};
  auto client = Client();
  ASSERT_TRUE(client.ok());
  for (int i = 0; i < 2; ++i) {
    const auto csdl = (*client)->GetMetadata();
    ASSERT_TRUE(csdl.ok()) << csdl.status();
    ASSERT_THAT(csdl->sets, SizeIs(1));
    EXPECT_EQ(csdl->sets[0].name, "Items");
  }
  EXPECT_THAT(server_->requests().at(0), HasSubstr("GET /svc/$metadata HTTP"));
  EXPECT_EQ(ErrorCode((*client)->GetMetadata().status()), "source_answer_invalid");
  EXPECT_EQ(ErrorCode((*client)->GetMetadata().status()), "source_refused");
}

TEST_F(ODataClientTest, SettingsThatCannotWork) {
  settings_.mutable_auth()->set_kind("digest");
  EXPECT_EQ(ErrorCode(Client().status()), "invalid_argument");
  settings_.mutable_auth()->set_kind("basic");
  EXPECT_EQ(ErrorCode(Client().status()), "invalid_argument") << "no username";
  settings_.mutable_auth()->set_kind("client_credentials");
  EXPECT_EQ(ErrorCode(Client().status()), "invalid_argument") << "no token_url";
  settings_.mutable_auth()->set_kind("none");
  EXPECT_TRUE(Client().ok());
  settings_.set_url("crm");
  EXPECT_EQ(ErrorCode(Client().status()), "invalid_argument");
}

}  // namespace
}  // namespace sluice::gateways

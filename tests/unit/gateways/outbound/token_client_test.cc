#include "gateways/outbound/token_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/mutex.h"
#include "gateways/outbound/retry_after.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temp_dir.h"

namespace sluice::gateways {
namespace {

using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ScriptedServer;

class TokenClientTest : public ::testing::Test {
 protected:
  TokenClientTest() {
    certificates_.WriteAuthority(dir_ / "ca.pem");
    OutboundOptions options;
    options.allow_private = {"127.0.0.1"};
    options.ca_file = dir_ / "ca.pem";
    outbound_ = std::make_unique<OutboundClient>(
        options, clock_, [](const std::string&) { return std::vector<std::string>{"127.0.0.1"}; });
    client_ = std::make_unique<TokenClient>(
        *outbound_, clock_,
        TokenEndpoint{fmt::format("https://login.example.org:{}/token", server_.port()), "an app",
                      "https://crm.example.org/.default"},
        secret_);
  }

  void Answers(std::string_view body, std::string_view status = "200 OK",
               std::string_view headers = "") {
    absl::MutexLock lock(&mutex_);
    answer_ = fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(),
                          headers, body);
  }
  std::string Ask() {
    const auto header = client_->Authorization({});
    if (!header.ok()) {
      EXPECT_THAT(std::string(Message(header.status())), Not(HasSubstr("s3:cret")));
    }
    return header.ok() ? *header : ErrorCode(header.status());
  }

  absl::Mutex mutex_;
  std::string answer_ ABSL_GUARDED_BY(mutex_);
  testing::TempDir dir_;
  testing::FakeClock clock_;
  testing::TestCertificates certificates_{"DNS:login.example.org"};
  ScriptedServer server_{[this](ScriptedServer::Peer& peer) {
                           peer.ReadRequest();
                           absl::MutexLock lock(&mutex_);
                           peer.Send(answer_);
                           peer.Shutdown();
                         },
                         &certificates_};
  SecretText secret_{std::string("s3:cret/\xc3\xa4")};
  std::unique_ptr<OutboundClient> outbound_;
  std::unique_ptr<TokenClient> client_;
};

TEST_F(TokenClientTest, AsksAsTheStandardSays) {
  Answers(R"({"access_token":"t1","token_type":"bearer","expires_in":3600,"more":{}})");
  EXPECT_EQ(Ask(), "Bearer t1");
  // Name and secret are encoded as a form has them, and then put together.
  EXPECT_THAT(server_.requests().at(0),
              AllOf(HasSubstr("POST /token "),
                    HasSubstr("Authorization: Basic YW4rYXBwOnMzJTNBY3JldCUyRiVDMyVBNA==\r\n"),
                    HasSubstr("Content-Type: application/x-www-form-urlencoded\r\n"),
                    HasSubstr("\r\n\r\ngrant_type=client_credentials&scope="
                              "https%3A%2F%2Fcrm.example.org%2F.default")));
}

TEST_F(TokenClientTest, RenewsAMinuteBeforeTheEndByTheSteadyClock) {
  Answers(R"({"access_token":"t1","token_type":"Bearer","expires_in":"3600"})");
  EXPECT_EQ(Ask(), "Bearer t1");
  Answers(R"({"access_token":"t2","token_type":"Bearer","expires_in":60})");
  clock_.Advance(seconds(3539));
  EXPECT_EQ(Ask(), "Bearer t1");
  EXPECT_EQ(server_.connections(), 1);
  clock_.Advance(seconds(1));
  EXPECT_EQ(Ask(), "Bearer t2");
  Answers(R"({"access_token":"t3","token_type":"Bearer"})");
  clock_.Advance(seconds(29));
  EXPECT_EQ(Ask(), "Bearer t2");
  clock_.Advance(seconds(1));
  EXPECT_EQ(Ask(), "Bearer t3") << "half the life of a short one";
  clock_.Advance(seconds(239));
  EXPECT_EQ(Ask(), "Bearer t3");
  clock_.Advance(seconds(1));
  Answers(R"({"access_token":"t4","token_type":"Bearer"})");
  EXPECT_EQ(Ask(), "Bearer t4") << "one that does not say lives five minutes";
}

TEST_F(TokenClientTest, ATokenThatWasRefusedIsReplaced) {
  Answers(R"({"access_token":"t1","token_type":"Bearer","expires_in":3600})");
  EXPECT_EQ(Ask(), "Bearer t1");
  Answers(R"({"access_token":"t2","token_type":"Bearer","expires_in":3600})");
  client_->Forget();
  EXPECT_EQ(Ask(), "Bearer t2");
}

TEST_F(TokenClientTest, Refusals) {
  Answers(R"({"error":"invalid_client","error_description":"s3:cret is wrong"})",
          "401 Unauthorized");
  const auto refused = client_->Authorization({});
  EXPECT_TRUE(absl::IsFailedPrecondition(refused.status()));
  EXPECT_EQ(ErrorCode(refused.status()), "source_unauthorized");
  EXPECT_THAT(std::string(Message(refused.status())),
              AllOf(HasSubstr("invalid_client"), Not(HasSubstr("s3:cret"))));
  Answers(R"({"error":"s3:cret"})", "400 Bad Request");
  EXPECT_EQ(Ask(), "source_unauthorized");
  Answers("<html>", "403 Forbidden");
  EXPECT_EQ(Ask(), "source_unauthorized");
  Answers("", "302 Found", "Location: /elsewhere\r\n");
  EXPECT_EQ(Ask(), "redirect_refused");
}

TEST_F(TokenClientTest, WhatIsNoToken) {
  for (const char* answer : {"", "<html>", "[]", "{}", R"({"access_token":"t1"})",
                             R"({"access_token":"t1","token_type":"mac"})",
                             R"({"access_token":1,"token_type":"Bearer"})",
                             R"({"access_token":"","token_type":"Bearer"})",
                             R"({"access_token":"a\r\nX: y","token_type":"Bearer"})"}) {
    Answers(answer);
    EXPECT_EQ(Ask(), "source_answer_invalid") << answer;
  }
  Answers(std::string(70'000, ' '));
  EXPECT_EQ(Ask(), "source_answer_too_large");
}

TEST_F(TokenClientTest, AServerThatIsBusy) {
  Answers("", "503 Service Unavailable", "Retry-After: 20\r\n");
  const auto busy = client_->Authorization({});
  EXPECT_TRUE(absl::IsUnavailable(busy.status()));
  EXPECT_EQ(RetryAfterOf(busy.status()), seconds(20));
  EXPECT_EQ(RetryAfterOf(client_->Authorization({}).status()), seconds(20)) << "it rests";
  EXPECT_EQ(server_.connections(), 1);
}

TEST(BasicAuthorizationTest, IsTheExampleOfItsStandard) {
  const SecretText password(std::string("open sesame"));
  EXPECT_EQ(BasicAuthorization("Aladdin", password), "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
}

}  // namespace
}  // namespace sluice::gateways

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <fstream>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gateways/auth/authenticator.h"
#include "gateways/auth/key_set.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_certificates.h"
#include "tests/unit/gateways/auth/test_keys.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;
using sluice::testing::TestCertificates;
using testing::Jwks;
using testing::TestKey;

// A key server on a free loopback port.
class KeyServer {
 public:
  KeyServer() : KeyServer(std::make_unique<httplib::Server>(), "http://127.0.0.1:") {}
  explicit KeyServer(const TestCertificates& certificates)
      : KeyServer(
            std::make_unique<httplib::SSLServer>(certificates.server(), certificates.server_key()),
            "https://localhost:") {}
  ~KeyServer() {
    Answer(500, "");
    server_->stop();
    thread_.join();
  }

  // Status 0 does not answer until it is another.
  void Answer(int status, std::string body) {
    absl::MutexLock lock(&mutex_);
    status_ = status;
    body_ = std::move(body);
  }
  int requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  bool WaitForRequests(int count) const {
    absl::MutexLock lock(&mutex_);
    const auto reached = [this, count]()
                             ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return requests_ >= count; };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), absl::Seconds(20));
  }
  const std::string& url() const { return url_; }

 private:
  KeyServer(std::unique_ptr<httplib::Server> server, const std::string& base)
      : server_(std::move(server)) {
    server_->Get("/jwks", [this](const httplib::Request&, httplib::Response& response) {
      absl::MutexLock lock(&mutex_);
      ++requests_;
      const auto answers = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) { return status_ != 0; };
      mutex_.Await(absl::Condition(&answers));
      response.status = status_;
      if (status_ == 302) {
        response.set_header("Location", "/elsewhere");
      }
      response.set_content(body_, "application/json");
    });
    server_->Get("/elsewhere", [this](const httplib::Request&, httplib::Response& response) {
      absl::MutexLock lock(&mutex_);
      response.set_content(body_, "application/json");
    });
    const int port = server_->bind_to_any_port("127.0.0.1");
    url_ = base + std::to_string(port) + "/jwks";
    thread_ = std::thread([this] { server_->listen_after_bind(); });
    // Connections are queued from the bind on, but stop() only ends a server that runs already.
    while (!server_->is_running()) {
      std::this_thread::yield();
    }
  }

  std::unique_ptr<httplib::Server> server_;
  std::string url_;
  std::thread thread_;
  mutable absl::Mutex mutex_;
  int status_ ABSL_GUARDED_BY(mutex_) = 200;
  std::string body_ ABSL_GUARDED_BY(mutex_);
  int requests_ ABSL_GUARDED_BY(mutex_) = 0;
};

class JwksUrlTest : public ::testing::Test {
 protected:
  void Start(const std::string& url, const std::string& ca_file = "",
             std::chrono::milliseconds keys_age_max = std::chrono::hours(1)) {
    AuthOptions options;
    options.jwks = url;
    options.jwks_ca_file = ca_file;
    options.clock = clock_;
    options.keys_age_max = keys_age_max;
    options.fetch_timeout = fetch_timeout_;
    auto created = Authenticator::Create(options);
    ASSERT_TRUE(created.ok()) << created.status();
    authenticator_ = *std::move(created);
  }

  std::string Header(const TestKey& key) const {
    const auto now = std::chrono::floor<std::chrono::seconds>(clock_->Now()).time_since_epoch();
    return "Bearer " + key.Token("EdDSA", {{"sub", "u1"}, {"exp", now.count() + 600}});
  }
  std::string Check(const TestKey& key) {
    const auto result = authenticator_->Authenticate(Header(key));
    return result.ok() ? "ok" : ErrorCode(result.status());
  }

  testing::TempDir dir_;
  std::chrono::milliseconds fetch_timeout_{3'000};
  std::shared_ptr<testing::FakeClock> clock_ = std::make_shared<testing::FakeClock>();
  TestKey first_ = TestKey::Ed25519("first");
  TestKey second_ = TestKey::Ed25519("second");
  std::unique_ptr<Authenticator> authenticator_;
};

TEST_F(JwksUrlTest, AnUnknownKidFetchesAtMostOnceAnInterval) {
  KeyServer server;
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url());
  EXPECT_EQ(Check(first_), "ok");
  EXPECT_EQ(server.requests(), 1);

  server.Answer(200, Jwks({first_.Jwk(), second_.Jwk()}));
  EXPECT_EQ(Check(second_), "token_invalid") << "fetched a moment ago";
  EXPECT_EQ(server.requests(), 1);
  clock_->Advance(std::chrono::seconds(5));
  EXPECT_EQ(Check(second_), "ok");
  EXPECT_EQ(server.requests(), 2);

  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Check(TestKey::Ed25519("random")), "token_invalid");
  }
  clock_->Advance(std::chrono::seconds(5));
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(Check(TestKey::Ed25519("random")), "token_invalid");
  }
  EXPECT_EQ(server.requests(), 3);
}

TEST_F(JwksUrlTest, TryAuthenticateDoesNotWaitForTheNetwork) {
  KeyServer server;
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url());
  ASSERT_TRUE(authenticator_->TryAuthenticate(Header(first_)).has_value());
  server.Answer(200, Jwks({second_.Jwk()}));
  clock_->Advance(std::chrono::seconds(5));
  EXPECT_EQ(authenticator_->TryAuthenticate(Header(second_)), std::nullopt);
  EXPECT_EQ(server.requests(), 1);
  EXPECT_EQ(Check(second_), "ok");
  EXPECT_EQ(Check(first_), "token_invalid") << "its key is gone";
  ASSERT_TRUE(authenticator_->TryAuthenticate(Header(second_)).has_value());
}

TEST_F(JwksUrlTest, KeysAreFetchedForThoseWhoDoNotWait) {
  KeyServer server;
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url());
  server.Answer(200, Jwks({second_.Jwk()}));
  authenticator_->FetchKeys();
  EXPECT_EQ(server.requests(), 1) << "fetched a moment ago";
  clock_->Advance(std::chrono::seconds(5));
  EXPECT_EQ(authenticator_->TryAuthenticate(Header(second_)), std::nullopt);
  authenticator_->FetchKeys();
  EXPECT_EQ(authenticator_->KeyFetches(), 1U);
  EXPECT_TRUE(server.WaitForRequests(2));
  EXPECT_EQ(Check(second_), "ok");
  EXPECT_EQ(authenticator_->KeyFetches(), 2U);
  EXPECT_EQ(server.requests(), 2) << "one fetch, however many ask";
}

TEST_F(JwksUrlTest, FailedFetchesKeepTheOldKeysAndBackOff) {
  KeyServer server;
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url());
  const std::string large = Jwks({first_.Jwk(), second_.Jwk()}) + std::string(kJwksBytesMax, ' ');
  const std::vector<std::pair<int, std::string>> answers = {{500, Jwks({second_.Jwk()})},
                                                            {302, Jwks({second_.Jwk()})},
                                                            {200, "{"},
                                                            {200, large},
                                                            {200, Jwks({})}};
  for (size_t i = 0; i < answers.size(); ++i) {
    server.Answer(answers[i].first, answers[i].second);
    clock_->Advance(std::chrono::minutes(2));
    EXPECT_EQ(Check(second_), "keys_unavailable") << i;
    EXPECT_EQ(Check(second_), "keys_unavailable") << i << ": until the next fetch";
    EXPECT_EQ(Check(TestKey::Ed25519("first")), "token_invalid") << i << ": no key would help";
    EXPECT_EQ(Check(first_), "ok") << i;
    EXPECT_EQ(server.requests(), static_cast<int>(i) + 2);
  }
  // Five failures: the next fetch is allowed after a minute, not after 5 s.
  server.Answer(200, Jwks({second_.Jwk()}));
  clock_->Advance(std::chrono::seconds(59));
  EXPECT_EQ(Check(second_), "keys_unavailable");
  clock_->Advance(std::chrono::seconds(1));
  EXPECT_EQ(Check(second_), "ok");
  EXPECT_EQ(Check(first_), "token_invalid") << "the provider has said so";
}

// The key may be the provider's new one: a device with a good token must not be told otherwise.
TEST_F(JwksUrlTest, WhileTheProviderHangsNobodyIsToldThatItsTokenIsBad) {
  fetch_timeout_ = std::chrono::milliseconds(200);
  KeyServer server;
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url());
  EXPECT_EQ(Check(first_), "ok");
  server.Answer(0, "");
  clock_->Advance(std::chrono::seconds(5));
  EXPECT_EQ(Check(second_), "keys_unavailable");
  const auto tried = authenticator_->TryAuthenticate(Header(second_));
  ASSERT_TRUE(tried.has_value()) << "no fetch is allowed yet";
  EXPECT_EQ(ErrorCode(tried->status()), "keys_unavailable");
  EXPECT_EQ(Check(first_), "ok");
  EXPECT_EQ(Check(TestKey::Ed25519("first")), "token_invalid");
  server.Answer(200, Jwks({first_.Jwk(), second_.Jwk()}));
  clock_->Advance(std::chrono::minutes(2));
  EXPECT_EQ(Check(second_), "ok");
  EXPECT_EQ(Check(TestKey::Ed25519("third")), "token_invalid");
}

TEST_F(JwksUrlTest, AProviderThatIsDownAtFirstIsUnavailableNotInvalid) {
  std::string url;
  {
    const KeyServer gone;
    url = gone.url();
  }
  Start(url);
  EXPECT_EQ(Check(first_), "unavailable");
  EXPECT_EQ(ErrorCode(authenticator_->Ready()), "unavailable");
  EXPECT_EQ(ErrorCode(authenticator_->Authenticate("").status()), "token_missing");
}

TEST_F(JwksUrlTest, OldKeysAreFetchedWithoutAnybodyAsking) {
  KeyServer server;
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url(), "", std::chrono::milliseconds(20));
  EXPECT_TRUE(server.WaitForRequests(3));
}

TEST_F(JwksUrlTest, ManyCallersWaitForOneFetch) {
  KeyServer server;
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url());
  server.Answer(200, Jwks({second_.Jwk()}));
  clock_->Advance(std::chrono::seconds(5));
  std::atomic<int> passed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] { passed += Check(second_) == "ok" ? 1 : 0; });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(passed, 8);
  EXPECT_EQ(server.requests(), 2);
}

TEST_F(JwksUrlTest, HttpsNeedsACertificateThatTheAuthorityMadeForTheName) {
  const TestCertificates certificates("DNS:localhost");
  certificates.WriteAuthority(dir_ / "ca.pem");
  KeyServer server(certificates);
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url(), dir_ / "ca.pem");
  EXPECT_EQ(Check(first_), "ok");

  Start(server.url());
  EXPECT_EQ(Check(first_), "unavailable") << "the system does not know the authority";

  const TestCertificates stranger("DNS:localhost");
  stranger.WriteAuthority(dir_ / "stranger.pem");
  Start(server.url(), dir_ / "stranger.pem");
  EXPECT_EQ(Check(first_), "unavailable");
  EXPECT_EQ(server.requests(), 1);
}

TEST_F(JwksUrlTest, HttpsRefusesACertificateOfAnotherName) {
  const TestCertificates certificates("DNS:idp.example");
  certificates.WriteAuthority(dir_ / "ca.pem");
  KeyServer server(certificates);
  server.Answer(200, Jwks({first_.Jwk()}));
  Start(server.url(), dir_ / "ca.pem");
  EXPECT_EQ(Check(first_), "unavailable");
  EXPECT_EQ(server.requests(), 0);
}

TEST_F(JwksUrlTest, OtherAddressesAreRefused) {
  for (const char* url : {"ftp://127.0.0.1/jwks", "https://", "http:///x", "file:///etc/passwd",
                          "https://user:secret@127.0.0.1/jwks"}) {
    AuthOptions options;
    options.jwks = url;
    EXPECT_EQ(Authenticator::Create(options).status().code(), absl::StatusCode::kInvalidArgument)
        << url;
  }
}

}  // namespace
}  // namespace sluice::gateways

#include "gateways/http/authenticate.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <map>
#include <optional>
#include <string>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

namespace net = boost::asio;
using std::chrono::milliseconds;
using Result = absl::StatusOr<std::shared_ptr<const Principal>>;

// Knows everybody, but strangers only after a fetch, which the test ends.
class SlowKeys final : public Authenticator {
 public:
  Result Authenticate(std::string_view) override { return std::make_shared<const Principal>(); }
  std::optional<Result> TryAuthenticate(std::string_view header) override {
    ++checks;
    if (header != "known" && fetches == 0) {
      return std::nullopt;
    }
    return Authenticate(header);
  }
  void FetchKeys() override { ++asked; }
  uint64_t KeyFetches() const override { return fetches; }
  absl::Status Ready() const override { return absl::OkStatus(); }

  int checks = 0;
  int asked = 0;
  uint64_t fetches = 0;
};

class AuthenticateTest : public ::testing::Test {
 protected:
  AuthenticateTest() {
    known_.headers.emplace_back("Authorization", "known");
    stranger_.headers.emplace_back("Authorization", "stranger");
  }
  void Send(const HttpHead& head, milliseconds wait_max) {
    net::co_spawn(
        io_,
        [this, &head, wait_max]() -> net::awaitable<void> {
          const Result result = co_await gateways::Authenticate(keys_, head, wait_max);
          ++answers_[result.ok() ? "ok" : ErrorCode(result.status())];
        },
        net::detached);
  }
  // Runs what can go on without a wait.
  void Poll() {
    io_.restart();
    io_.poll();
  }

  net::io_context io_{1};
  SlowKeys keys_;
  HttpHead known_;
  HttpHead stranger_;
  std::map<std::string, int> answers_;
};

TEST_F(AuthenticateTest, WhoWaitsIsCheckedOnceAFetch) {
  for (int i = 0; i < 50; ++i) {
    Send(stranger_, milliseconds(600));
  }
  io_.run();
  EXPECT_EQ(answers_, (std::map<std::string, int>{{"keys_unavailable", 50}}));
  EXPECT_EQ(keys_.checks, 50) << "nothing had changed";
  EXPECT_GE(keys_.asked, 50);
}

TEST_F(AuthenticateTest, TheEndOfAFetchIsSeen) {
  Send(stranger_, std::chrono::hours(1));
  Poll();
  EXPECT_TRUE(answers_.empty());
  EXPECT_GE(keys_.asked, 1);
  keys_.fetches = 1;
  io_.restart();
  io_.run();
  EXPECT_EQ(answers_, (std::map<std::string, int>{{"ok", 1}}));
  EXPECT_EQ(keys_.checks, 2);
}

TEST_F(AuthenticateTest, FewWaitAndTheOthersAreAnsweredAtOnce) {
  for (size_t i = 0; i < kKeyWaitersMax + 10; ++i) {
    Send(stranger_, std::chrono::hours(1));
  }
  Send(known_, std::chrono::hours(1));
  Poll();
  EXPECT_EQ(answers_, (std::map<std::string, int>{{"keys_unavailable", 10}, {"ok", 1}}));
  keys_.fetches = 1;
  io_.restart();
  io_.run();
  EXPECT_EQ(answers_["ok"], 1 + static_cast<int>(kKeyWaitersMax));
  // Their places are free again.
  keys_.fetches = 0;
  Send(stranger_, milliseconds(0));
  Poll();
  EXPECT_EQ(answers_["keys_unavailable"], 11);
  EXPECT_TRUE(keys_.BeginKeyWait(1));
}

}  // namespace
}  // namespace sluice::gateways

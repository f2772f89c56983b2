// What one caller, known or not, can take of a listener from the others.
#include "gateways/http/http_listener.h"

#include <gmock/gmock.h>
#include <malloc.h>

#include <atomic>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/gateways/raw_socket.h"

namespace sluice::gateways {
namespace {

using sluice::testing::RawSocket;
using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr size_t kLargeBytes = size_t{16} << 20;  // more than two sockets' buffers take

// /healthz and /large are for everybody; everything else is for who names itself in
// `Authorization`, and is answered when its body has come.
class HttpListenerTest : public ::testing::Test {
 protected:
  HttpListenerTest() {
    options_.name = "test";
    options_.silent_min = milliseconds(0);
    options_.stop_grace = milliseconds(100);
    options_.is_open = [](const HttpHead& head) { return head.path == "/healthz"; };
  }

  void Start() {
    listener_ = std::make_unique<HttpListener>(
        options_,
        [](HttpConnection& connection, HttpHead& head, size_t) { return Serve(connection, head); });
    const absl::StatusOr<uint16_t> port = listener_->Start();
    ASSERT_TRUE(port.ok()) << port.status();
    port_ = *port;
  }

  static net::awaitable<bool> Serve(HttpConnection& connection, HttpHead& head) {
    HttpResponse response;
    if (head.path == "/large") {
      response.body = std::string(kLargeBytes, 'x');
    } else if (head.path != "/healthz") {
      absl::Status known =
          connection.SetKnown({.name = std::string(head.Header("Authorization")), .caller = {}});
      if (known.ok()) {
        known = (co_await connection.ReadWholeBody(head, size_t{1} << 30)).status();
      }
      if (absl::IsCancelled(known)) {
        co_return false;
      }
      if (head.path == "/live") {
        ++live;
        net::steady_timer never(connection.executor(), net::steady_timer::time_point::max());
        boost::system::error_code ignored;
        co_await never.async_wait(net::redirect_error(net::use_awaitable, ignored));
      }
      if (!known.ok()) {
        response = ProblemResponse(known);
      }
    }
    co_return co_await connection.Respond(head, response);
  }

  static std::string Request(const std::string& path, const std::string& owner,
                             const std::string& headers = "") {
    return "POST " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: " + owner + "\r\n" + headers +
           "\r\n";
  }

  std::string Ask(const std::string& path, const std::string& owner = "") {
    RawSocket socket(port_);
    socket.Send(Request(path, owner, "Connection: close\r\n"));
    return socket.ReadAll();
  }

  // Bytes that the process has allocated.
  static size_t Allocated() {
    const struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
  }

  static inline std::atomic<int> live{0};  // requests that stay
  HttpListenerOptions options_;
  std::unique_ptr<HttpListener> listener_;
  int port_ = 0;
};

TEST_F(HttpListenerTest, StrangersWhoDoNotReadMakeRoom) {
  options_.connections_max = 8;
  Start();
  std::vector<RawSocket> strangers;
  for (int i = 0; i < 8; ++i) {
    strangers.emplace_back(port_);
    strangers.back().Send(Request("/large", ""));
    EXPECT_THAT(strangers.back().ReadUntil("\r\n"), StartsWith("HTTP/1.1 200 "));
  }
  for (int i = 0; i < 8; ++i) {
    EXPECT_THAT(Ask("/", "one"), StartsWith("HTTP/1.1 200 "));
  }
}

TEST_F(HttpListenerTest, OneOwnerLeavesPlacesAndHealthAnswersWhoeverHoldsThem) {
  options_.connections_max = 8;
  options_.silent_min = std::chrono::hours(1);
  Start();
  std::vector<RawSocket> held;
  const auto hold = [&](const std::string& owner) {
    held.emplace_back(port_);
    held.back().Send(Request("/", owner, "Content-Length: 10\r\nExpect: 100-continue\r\n"));
    return held.back().ReadUntil("\r\n");
  };
  for (int i = 0; i < 6; ++i) {
    EXPECT_THAT(hold("one"), StartsWith("HTTP/1.1 100 "));
  }
  EXPECT_THAT(Ask("/", "one"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(Ask("/", "two"), StartsWith("HTTP/1.1 200 "));
  for (const char* owner : {"two", "three"}) {
    // Those before may take a moment to leave.
    while (!hold(owner).starts_with("HTTP/1.1 100 ")) {
      held.pop_back();
    }
  }
  EXPECT_THAT(Ask("/", "four"), HasSubstr("too_busy"));
  std::vector<RawSocket> silent;
  for (int i = 0; i < 200; ++i) {
    silent.emplace_back(port_);
  }
  EXPECT_THAT(Ask("/healthz"), StartsWith("HTTP/1.1 200 "));
}

TEST_F(HttpListenerTest, ABodyComesAtARateOrNotAtAll) {
  options_.limits.body_timeout = milliseconds(300);
  Start();
  RawSocket slow(port_);
  slow.Send(Request("/", "one", "Content-Length: 1000000\r\n"));
  // Never silent for long, and never at an end: only the server ends this.
  while (slow.Send(" ") && !slow.Readable()) {
    std::this_thread::sleep_for(milliseconds(20));
  }
  EXPECT_TRUE(slow.Closed());
}

TEST_F(HttpListenerTest, BodiesTakeOfTheBudgetWhatTheyMayHave) {
  options_.request_bytes_max = size_t{256} << 10;
  Start();
  std::vector<RawSocket> held;
  const auto hold = [&](const std::string& owner, const std::string& length) {
    held.emplace_back(port_);
    held.back().Send(Request("/", owner, length + "\r\nExpect: 100-continue\r\n"));
    return held.back().ReadUntil("\r\n");
  };
  for (int i = 0; i < 100; ++i) {
    EXPECT_THAT(hold("one", "Content-Length: 100"), StartsWith("HTTP/1.1 100 ")) << i;
  }
  held.clear();
  for (int i = 0; i < 10; ++i) {
    EXPECT_THAT(hold("two", "Transfer-Encoding: chunked"), StartsWith("HTTP/1.1 100 ")) << i;
  }
  // A quarter is one owner's, and another has room.
  EXPECT_THAT(hold("three", "Content-Length: 65536"), StartsWith("HTTP/1.1 100 "));
  EXPECT_THAT(hold("three", "Content-Length: 65536"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(hold("four", "Content-Length: 65536"), StartsWith("HTTP/1.1 100 "));
}

TEST_F(HttpListenerTest, ARequestThatStaysKeepsNothingOfItsReading) {
  constexpr int kLive = 200;
  Start();
  const size_t before = Allocated();
  std::vector<RawSocket> clients;
  for (int i = 0; i < kLive; ++i) {
    clients.emplace_back(port_);
    clients.back().Send(Request("/live", "one", "Transfer-Encoding: chunked\r\n") + "2710\r\n" +
                        std::string(10'000, ' ') + "\r\n0\r\n\r\n");
  }
  while (live < kLive) {
    std::this_thread::yield();
  }
  EXPECT_LT((Allocated() - before) / kLive, size_t{8} << 10);
}

TEST_F(HttpListenerTest, AnAnswerToAStrangerHasItsTimeAsAWhole) {
  options_.limits.stranger_timeout = milliseconds(200);
  Start();
  RawSocket stranger(port_);
  stranger.Send(Request("/large", ""));
  stranger.ReadUntil("\r\n\r\n");
  // Nothing is read until the server has given up: then what is left of the answer is short.
  while (listener_->connections() > 0) {
    std::this_thread::yield();
  }
  EXPECT_LT(stranger.ReadAll().size(), kLargeBytes);
}

// At the end it is waited for who still reads or sends, not for who does neither.
TEST_F(HttpListenerTest, StoppingWaitsForNobodyWhoDoesNothing) {
  options_.stop_grace = std::chrono::seconds(60);
  options_.limits.stranger_timeout = std::chrono::seconds(60);
  Start();
  RawSocket unread(port_);
  unread.Send(Request("/large", ""));
  unread.ReadUntil("\r\n\r\n");
  RawSocket half_sent(port_);
  half_sent.Send(Request("/", "one", "Content-Length: 10\r\nExpect: 100-continue\r\n"));
  EXPECT_THAT(half_sent.ReadUntil("\r\n\r\n"), HasSubstr(" 100 "));
  const auto begun = std::chrono::steady_clock::now();
  listener_->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(20));
}

// Heads that are kept back make room for the next, whoever sends it.
TEST_F(HttpListenerTest, HeadsOfStrangersAreBounded) {
  options_.head_bytes_max = size_t{1} << 20;
  options_.silent_min = std::chrono::hours(1);
  Start();
  const size_t before = Allocated();
  std::vector<RawSocket> strangers;
  for (int i = 0; i < 200; ++i) {
    strangers.emplace_back(port_);
    strangers.back().Send("GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(30'000, 'x'));
  }
  while (listener_->connections() > 40) {
    std::this_thread::yield();
  }
  EXPECT_TRUE(strangers.front().Closed());
  EXPECT_LT(Allocated() - before, size_t{3} << 20);
  RawSocket known(port_);
  known.Send(Request("/", std::string(20'000, 'k'), "Connection: close\r\n"));
  EXPECT_THAT(known.ReadAll(), StartsWith("HTTP/1.1 200 "));
  EXPECT_FALSE(strangers.back().Readable());
}

}  // namespace
}  // namespace sluice::gateways

#include "clients/cpp/http_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "schemas/base/status.h"
#include "tests/support/clients/pull_fixture.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_certificates.h"

// What an answer has beside its body is bounded, with TLS and without.
namespace sluice::client {
namespace {

using ::sluice::testing::PullTest;
using ::sluice::testing::ScriptedServer;
using ::sluice::testing::TempDir;
using ::sluice::testing::TestCertificates;
using ::testing::HasSubstr;
using std::literals::operator""sv;

class EndlessTest : public PullTest {
 protected:
  // Each connection is answered with `begin`, then with `rest` again and again, as long as that is
  // read.
  void Expect(const std::string& begin, std::string rest,
              const std::string& reason = "more than 64 KiB") {
    while (rest.size() < (64 << 10)) {
      rest += rest;
    }
    std::atomic<size_t> sent = 0;
    const ScriptedServer endless([&](ScriptedServer::Peer& peer) {
      constexpr size_t kEnough = 256 << 20;  // what a client must not read to the end
      peer.ReadRequest();
      peer.Send(begin);
      for (size_t all = 0; all < kEnough && peer.Send(rest); all += rest.size()) {
        sent += rest.size();
      }
    });
    PullOptions options = Options();
    options.url = fmt::format("http://127.0.0.1:{}", endless.port());
    options.attempts_max = 2;
    const absl::Status status = (*Puller::Open(options))->Pull().status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(Message(status)), HasSubstr(reason)) << begin;
    // The rest is in the sockets' buffers.
    EXPECT_LT(sent, size_t{64} << 20);
  }
};

TEST_F(EndlessTest, WhatComesBeforeABodyHasAnEnd) {
  Expect("HTTP/1.1 200 ", "x");
  Expect("HTTP/1.1 200 OK\r\n", "a: b\r\n");
  Expect("HTTP/1.1 200 OK\r\na: ", "x");
  Expect("HTTP/1.1 100 Continue\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n");
  const std::string chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
  Expect(chunked, "0", "hex");
  Expect(chunked + "1;", "x");
  Expect(chunked + "1\r\n\n\r\n1", " ");
}

// A byte now and then is no silence.
TEST_F(EndlessTest, AHeadHasItsTime) {
  HeadLimit limit;
  limit.Begin(std::chrono::milliseconds(-1));
  EXPECT_FALSE(limit.Take(1));
  EXPECT_THAT(limit.exceeded(), HasSubstr("was not whole"));
  limit.Begin(std::chrono::hours(1));
  EXPECT_TRUE(limit.Take(1));
  EXPECT_EQ(limit.exceeded(), "");
  limit.HeadDone();
  for (int i = 0; i < 100; ++i) {
    EXPECT_TRUE(limit.Take(HeadLimit::kBytesMax));
    limit.BodyCame();
  }
}

// Answers each connection with the same bytes and closes it.
class CutTest : public ::testing::Test {
 protected:
  absl::Status Get(const std::string& answer) {
    const ScriptedServer server([&](ScriptedServer::Peer& peer) {
      peer.ReadRequest();
      peer.Send(answer);
    });
    heads_ = 0;
    return HttpClient::Make(fmt::format("http://127.0.0.1:{}", server.port()), {})
        ->Send(
            {"/", {}, {}}, [&](const HttpHead&) { return ++heads_ == 1; },
            [](std::string_view) { return true; });
  }

  int heads_ = 0;
};

// Nobody's answer is no success.
TEST_F(CutTest, WhatEndsBeforeItsHeadIsNoAnswer) {
  for (const char* cut : {"", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\na: b\r\n",
                          "HTTP/1.1 100 Continue\r\n\r\n",
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nbody"}) {
    EXPECT_EQ(Get(cut).code(), absl::StatusCode::kUnavailable) << cut;
    EXPECT_EQ(heads_, 0) << cut;
  }
  for (const char* whole :
       {"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nbody",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 None\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nt: 1\r\n\r\n"}) {
    EXPECT_TRUE(Get(whole).ok()) << whole;
    EXPECT_EQ(heads_, 1) << whole;
  }
  EXPECT_FALSE(Get("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nbody").ok());
  EXPECT_FALSE(Get("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n").ok());
}

class TlsTest : public ::testing::Test {
 protected:
  TlsTest() {
    certificates_.WriteAuthority(ca_file_);
    server_.Post("/body", [this](const httplib::Request& request, httplib::Response& response) {
      response.set_content(body_ + request.body, "text/plain");
    });
    server_.Get("/head", [](const httplib::Request&, httplib::Response& response) {
      for (int i = 0; i < 100; ++i) {
        response.set_header("h" + std::to_string(i), std::string(1024, 'x').c_str());
      }
    });
    // A head, and then nothing until the client goes or the test ends.
    server_.Get("/silent", [this](const httplib::Request&, httplib::Response& response) {
      response.set_chunked_content_provider("text/plain", [this](size_t, httplib::DataSink& sink) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));  // polls the client
        return !ending_ && sink.is_writable();
      });
    });
    port_ = server_.bind_to_any_port("127.0.0.1");
    thread_ = std::thread([this] { server_.listen_after_bind(); });
    while (!server_.is_running()) {  // or stop() would not reach it
      std::this_thread::yield();
    }
  }
  ~TlsTest() override {
    ending_ = true;
    server_.stop();
    thread_.join();
  }
  std::shared_ptr<HttpClient> Client(const std::string& host, const std::string& ca_file) {
    return HttpClient::Make(fmt::format("https://{}:{}", host, port_), {.ca_file = ca_file});
  }
  // The error of a request whose answer is nobody's.
  static std::string GetHead(HttpClient& client) {
    const absl::Status status = client.Send(
        {"/head", {}, {}}, [](const HttpHead&) { return true; },
        [](std::string_view) { return true; });
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    return std::string(Message(status));
  }

  TempDir dir_;
  const std::string ca_file_ = dir_ / "ca.pem";
  TestCertificates certificates_{"DNS:localhost"};
  httplib::SSLServer server_{certificates_.server(), certificates_.server_key()};
  const std::string body_ = std::string(20 << 20, 'b');
  int port_ = 0;
  std::atomic<bool> ending_ = false;
  std::thread thread_;
};

TEST_F(TlsTest, BodiesOfAnyLengthBothWays) {
  const auto client = Client("localhost", ca_file_);
  const std::string sent(5 << 20, 'q');
  for (int request = 0; request < 2; ++request) {
    std::string got;
    HttpHead head;
    const absl::Status status = client->Send(
        {"/body", {"Content-Type: text/plain"}, sent},
        [&](const HttpHead& came) {
          head = came;
          return true;
        },
        [&](std::string_view bytes) {
          got.append(bytes);
          return true;
        });
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_EQ(head.status, 200);
    EXPECT_EQ(head.Header("content-type"), "text/plain");
    EXPECT_EQ(head.Header("none"), "");
    EXPECT_TRUE(got == body_ + sent);
  }
}

TEST_F(TlsTest, AHeadIsBounded) {
  EXPECT_THAT(GetHead(*Client("localhost", ca_file_)), HasSubstr("more than 64 KiB"));
}

TEST_F(TlsTest, AnotherNameOrAuthorityIsRefused) {
  EXPECT_THAT(GetHead(*Client("127.0.0.1", ca_file_)), HasSubstr("certificate"));
  EXPECT_THAT(GetHead(*Client("localhost", "")), HasSubstr("certificate"));
}

TEST_F(TlsTest, WhoWantsNoMoreEndsIt) {
  const auto client = Client("localhost", ca_file_);
  for (const bool at_head : {true, false}) {
    size_t parts = 0;
    const absl::Status status = client->Send(
        {"/body", {}, "x"}, [&](const HttpHead&) { return !at_head; },
        [&](std::string_view) {
          ++parts;
          return false;
        });
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
    EXPECT_EQ(parts, at_head ? 0U : 1U);
  }
}

// libcurl's handles are as good as before.
TEST_F(TlsTest, WhatACallbackThrowsIsThrownOn) {
  const auto client = Client("localhost", ca_file_);
  const auto fine = [](const HttpHead&) { return true; };
  const auto throws = []() -> bool { throw std::runtime_error("full"); };
  for (int round = 0; round < 2; ++round) {
    EXPECT_THROW(
        (void)client->Send({"/body", {}, "x"}, fine, [&](std::string_view) { return throws(); }),
        std::runtime_error);
    EXPECT_THROW((void)client->Send(
                     {"/body", {}, "x"}, [&](const HttpHead&) { return throws(); },
                     [](std::string_view) { return true; }),
                 std::runtime_error);
  }
  const absl::Status status =
      client->Send({"/body", {}, "x"}, fine, [](std::string_view) { return true; });
  EXPECT_TRUE(status.ok()) << status;
}

// A byte now and then is no silence, and with TLS no line either.
TEST_F(TlsTest, AHeadThatTricklesHasItsTime) {
  const ScriptedServer server(
      [](ScriptedServer::Peer& peer) {
        peer.ReadRequest();
        bool taken = peer.Send("HTTP/1.1 200 ");
        for (int sent = 0; sent < 1000 && taken; ++sent) {
          taken = peer.Send("x");
          std::this_thread::sleep_for(std::chrono::milliseconds(10));  // the trickle
        }
      },
      &certificates_);
  const auto client =
      HttpClient::Make(fmt::format("https://localhost:{}", server.port()),
                       {.ca_file = ca_file_, .silence_max = std::chrono::milliseconds(300)});
  EXPECT_THAT(GetHead(*client), HasSubstr("was not whole"));
}

// Also where nothing comes, and before the request begins.
TEST_F(TlsTest, CancelEndsWhatWaits) {
  const auto client = Client("localhost", ca_file_);
  std::thread other;
  absl::Status status = client->Send(
      {"/silent", {}, {}},
      [&](const HttpHead&) {
        other = std::thread([&] { client->Cancel(); });
        return true;
      },
      [](std::string_view) { return true; });
  other.join();
  EXPECT_THAT(std::string(Message(status)), HasSubstr("cancelled"));
  EXPECT_THAT(GetHead(*client), HasSubstr("cancelled"));
}

TEST_F(TlsTest, ASilenceEnds) {
  const auto client =
      HttpClient::Make(fmt::format("https://localhost:{}", port_),
                       {.ca_file = ca_file_, .silence_max = std::chrono::milliseconds(200)});
  const absl::Status status = client->Send(
      {"/silent", {}, {}}, [](const HttpHead&) { return true; },
      [](std::string_view) { return true; });
  EXPECT_THAT(std::string(Message(status)), HasSubstr("nothing came for 200 ms"));
}

// A line break in a header would make two of it.
TEST_F(TlsTest, HeadersAreLines) {
  const auto client = Client("localhost", ca_file_);
  for (const std::string_view bad : {"a: b\r\nc: d"sv, "a: b\n"sv, "a: b\0c"sv}) {
    EXPECT_FALSE(client
                     ->Send(
                         {"/head", {std::string(bad)}, {}}, [](const HttpHead&) { return true; },
                         [](std::string_view) { return true; })
                     .ok());
  }
}

TEST(HttpClientTest, UrlsOfServers) {
  for (const char* good : {"http://a", "http://127.0.0.1:1", "http://[::1]:8471", "https://[::1]",
                           "https://a.example:65535"}) {
    EXPECT_NE(HttpClient::Make(good, {}), nullptr) << good;
  }
  for (const char* bad :
       {"", "a", "http://", "http://:1", "http://a:", "http://a:0", "http://a:x", "http://a:65536",
        "http://[::1", "http://[::1]8471", "ftp://a", "http://a b"}) {
    EXPECT_EQ(HttpClient::Make(bad, {}), nullptr) << bad;
  }
}

}  // namespace
}  // namespace sluice::client

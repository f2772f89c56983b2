#include "gateways/outbound/outbound_client.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <deque>
#include <functional>
#include <optional>

#include "gateways/http/content_coding.h"
#include "gateways/outbound/retry_after.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/scripted_server.h"
#include "tests/support/temp_dir.h"
#include "tests/support/test_certificates.h"

namespace sluice::gateways {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::ScriptedServer;
using testing::TestCertificates;
using Peer = ScriptedServer::Peer;

constexpr char kName[] = "crm.example.org";

std::string Answer(std::string_view body, std::string_view headers = "",
                   std::string_view status = "200 OK") {
  return fmt::format("HTTP/1.1 {}\r\nContent-Length: {}\r\n{}\r\n{}", status, body.size(), headers,
                     body);
}

// Answers every request with `text`, whatever it is, and says goodbye.
ScriptedServer::Handler Sends(std::string text) {
  return [text = std::move(text)](Peer& peer) {
    peer.ReadRequest();
    peer.Send(text);
    peer.Shutdown();
  };
}

struct Fetched {
  absl::Status status;
  OutboundResponse head;
  std::string body;

  std::string code() const { return status.ok() ? "ok" : ErrorCode(status); }
};

class OutboundClientTest : public ::testing::Test {
 protected:
  OutboundClientTest() { certificates_.WriteAuthority(dir_ / "ca.pem"); }

  OutboundClient Client() {
    OutboundOptions options;
    options.allow_hosts = {kName, "*.example.org", "127.0.0.1"};
    options.allow_private = {"127.0.0.1"};
    options.ca_file = dir_ / "ca.pem";
    return OutboundClient(std::move(options), clock_, [this](const std::string& host) {
      resolved_.push_back(host);
      return Resolve();
    });
  }
  absl::StatusOr<std::vector<std::string>> Resolve() {
    if (addresses_.empty()) {
      return std::vector<std::string>{"127.0.0.1"};
    }
    auto next = addresses_.front();
    addresses_.pop_front();
    return next;
  }

  static std::string Url(const ScriptedServer& server, std::string_view scheme = "http",
                         std::string_view host = kName, std::string_view target = "/x") {
    return fmt::format("{}://{}:{}{}", scheme, host, server.port(), target);
  }

  static Fetched Fetch(OutboundClient& client, OutboundRequest request,
                       const std::function<bool()>& stopping = {}) {
    Fetched fetched;
    fetched.status = client.Send(
        request,
        [&](const OutboundResponse& head) {
          fetched.head = head;
          return absl::OkStatus();
        },
        [&](std::string_view piece) {
          fetched.body.append(piece);
          return absl::OkStatus();
        },
        stopping);
    return fetched;
  }
  Fetched Get(const std::string& url, const std::function<bool()>& stopping = {}) {
    OutboundClient client = Client();
    OutboundRequest request;
    request.url = url;
    return Fetch(client, request, stopping);
  }
  // What comes of an answer, by plain http.
  Fetched Of(ScriptedServer::Handler handler, const std::function<bool()>& stopping = {}) {
    const ScriptedServer server(std::move(handler));
    return Get(Url(server), stopping);
  }
  // Asked while a step waits: the clock moves, and nobody has to.
  std::function<bool()> TimePasses(seconds step) {
    return [this, step] {
      clock_.Advance(step);
      return false;
    };
  }

  testing::TempDir dir_;
  testing::FakeClock clock_;
  TestCertificates certificates_{fmt::format("DNS:{}", kName)};
  std::vector<std::string> resolved_;
  std::deque<std::vector<std::string>> addresses_;  // what names resolve to, one after the other
};

// ---- names, addresses, certificates

TEST_F(OutboundClientTest, ConnectsToTheCheckedAddressAndAsksForTheName) {
  const ScriptedServer server(Sends(Answer("hello", "X-Kind: A\r\nx-kind: b\r\n")), &certificates_);
  const Fetched fetched = Get(Url(server, "https", "CRM.example.org", "/a b?c#d"));
  ASSERT_TRUE(fetched.status.ok()) << fetched.status;
  EXPECT_EQ(fetched.head.status, 200);
  EXPECT_EQ(fetched.head.Header("x-kind"), "A");
  EXPECT_EQ(fetched.head.headers.count("x-kind"), 2U);
  EXPECT_EQ(fetched.head.Header("absent"), "");
  EXPECT_EQ(fetched.body, "hello");
  EXPECT_EQ(server.server_names(), std::vector<std::string>{kName})
      << "SNI has the name, though an address is connected to";
  EXPECT_THAT(server.requests().at(0),
              AllOf(HasSubstr("GET /a%20b?c HTTP/1.1\r\n"),
                    HasSubstr(fmt::format("Host: {}:{}\r\n", kName, server.port())),
                    HasSubstr("Accept-Encoding: gzip\r\n"), Not(HasSubstr("Authorization"))));
  EXPECT_EQ(resolved_, std::vector<std::string>{kName}) << "once, for the check and the connection";
}

// A name that means another address each time it is asked for: between check and connection it is
// not asked again, and at the next connection it is checked anew.
TEST_F(OutboundClientTest, RebindingName) {
  const ScriptedServer server(Sends(Answer("hello")), &certificates_);
  addresses_ = {
      {"127.0.0.1"}, {"127.0.0.2"}, {"169.254.169.254"}, {"127.0.0.1", "10.0.0.7"}, {"127.0.0.1"}};
  const std::string url = Url(server, "https");
  EXPECT_EQ(Get(url).body, "hello");
  EXPECT_EQ(Get(url).code(), "source_not_allowed");
  EXPECT_EQ(Get(url).code(), "source_not_allowed");
  EXPECT_EQ(Get(url).code(), "source_not_allowed") << "one address of two is enough";
  EXPECT_EQ(Get(url).body, "hello");
  EXPECT_EQ(server.connections(), 2);
  EXPECT_EQ(resolved_.size(), 5U);
}

TEST_F(OutboundClientTest, TheCertificateMustBeForTheName) {
  for (const char* names : {"DNS:other.example.org", "IP:127.0.0.1", "DNS:*.org"}) {
    const TestCertificates others(names);
    others.WriteAuthority(dir_ / "ca.pem");
    const ScriptedServer server(Sends(Answer("hello")), &others);
    const Fetched fetched = Get(Url(server, "https"));
    EXPECT_EQ(fetched.code(), "source_unreachable") << names;
    EXPECT_THAT(std::string(Message(fetched.status)), HasSubstr("certificate")) << names;
  }
  const TestCertificates wildcard("DNS:*.example.org");
  wildcard.WriteAuthority(dir_ / "ca.pem");
  const ScriptedServer server(Sends(Answer("hello")), &wildcard);
  EXPECT_EQ(Get(Url(server, "https")).body, "hello");
}

TEST_F(OutboundClientTest, AnAddressInTheUrlNeedsItsCertificate) {
  const TestCertificates numbers("IP:127.0.0.1");
  numbers.WriteAuthority(dir_ / "ca.pem");
  const ScriptedServer server(Sends(Answer("hello")), &numbers);
  EXPECT_EQ(Get(Url(server, "https", "127.0.0.1")).body, "hello");
  EXPECT_TRUE(resolved_.empty());
}

TEST_F(OutboundClientTest, TheAuthorityMustBeKnown) {
  const TestCertificates strangers{fmt::format("DNS:{}", kName)};
  const ScriptedServer server(Sends(Answer("hello")), &strangers);
  EXPECT_EQ(Get(Url(server, "https")).code(), "source_unreachable");
  const ScriptedServer plain([](Peer& peer) { peer.Send(Answer("hello")); });
  EXPECT_EQ(Get(Url(plain, "https")).code(), "source_unreachable") << "no TLS at all";
}

TEST_F(OutboundClientTest, TriesTheAddressesOneAfterTheOther) {
  const ScriptedServer server(Sends(Answer("hello")));
  addresses_ = {{"127.0.0.3", "127.0.0.1"}, {"127.0.0.3"}, {}};
  OutboundOptions options;
  options.allow_hosts = {kName};
  options.allow_private = {"127.0.0.0/8"};
  OutboundClient client(options, clock_, [this](const std::string&) { return Resolve(); });
  OutboundRequest request;
  request.url = Url(server);
  EXPECT_EQ(Fetch(client, request).body, "hello");
  EXPECT_EQ(Fetch(client, request).code(), "source_unreachable");
}

TEST_F(OutboundClientTest, TheSystemsResolverIsAskedByDefault) {
  const ScriptedServer server(Sends(Answer("hello")));
  OutboundOptions options;
  options.allow_hosts = {"localhost"};
  OutboundClient strict(options, clock_);
  OutboundRequest request;
  request.url = Url(server, "http", "localhost");
  EXPECT_EQ(Fetch(strict, request).code(), "source_not_allowed");
  options.allow_private = {"127.0.0.1", "::1"};
  OutboundClient client(options, clock_);
  EXPECT_EQ(Fetch(client, request).body, "hello");
}

TEST_F(OutboundClientTest, AllowsWithoutAConnection) {
  const OutboundClient client = Client();
  EXPECT_TRUE(client.Allows("https://crm.example.org/api/").ok());
  for (const char* url :
       {"https://other.example/", "https://10.0.0.1/", "https://crm.example.org:22/",
        "https://u:p@crm.example.org/", "gopher://crm.example.org/", "crm"}) {
    EXPECT_EQ(ErrorCode(client.Allows(url)), "source_not_allowed") << url;
  }
  EXPECT_TRUE(resolved_.empty());
}

TEST_F(OutboundClientTest, OptionsThatAreNoneMakeItRefuseAll) {
  OutboundOptions options;
  options.allow_private = {"10.0.0.0/99"};
  EXPECT_EQ(ErrorCode(OutboundClient(options, clock_).Allows("https://a.example/")),
            "invalid_argument");
  options.allow_private = {};
  options.ca_file = dir_ / "absent.pem";
  EXPECT_EQ(ErrorCode(OutboundClient(options, clock_).Allows("https://a.example/")),
            "invalid_argument");
}

// ---- redirections

TEST_F(OutboundClientTest, FollowsThreeRedirectionsWithinTheOrigin) {
  std::atomic<int> redirects{3};
  const ScriptedServer server([&](Peer& peer) {
    peer.ReadRequest();
    peer.Send(redirects-- > 0 ? Answer("not this", "Location: ../y?z\r\n", "302 Found")
                              : Answer("hello"));
  });
  OutboundClient client = Client();
  OutboundRequest request;
  request.url = Url(server);
  request.authorization = "Bearer t0ken";
  EXPECT_EQ(Fetch(client, request).body, "hello");
  EXPECT_THAT(server.requests().back(),
              AllOf(HasSubstr("GET /y?z "), HasSubstr("Authorization: Bearer t0ken\r\n")));
  redirects = 4;
  EXPECT_EQ(Fetch(client, request).code(), "redirect_refused");
}

TEST_F(OutboundClientTest, OtherRedirectionsAreRefused) {
  const ScriptedServer other(Sends(Answer("stolen")));
  for (const std::string& location :
       {Url(other), Url(other, "http", "127.0.0.1"), std::string("https://crm.example.org/x"),
        std::string("http://169.254.169.254/latest"), std::string(""), std::string("\\\\x")}) {
    const Fetched fetched =
        Of(Sends(Answer("", fmt::format("Location: {}\r\n", location), "307 Temporary Redirect")));
    EXPECT_EQ(fetched.code(), "redirect_refused") << location;
    EXPECT_TRUE(absl::IsInvalidArgument(fetched.status));
  }
  EXPECT_EQ(Of(Sends(Answer("", "", "301 Moved Permanently"))).code(), "redirect_refused");
  EXPECT_EQ(other.connections(), 0);

  const ScriptedServer server(Sends(Answer("", "Location: /y\r\n", "303 See Other")));
  OutboundClient client = Client();
  OutboundRequest request;
  request.method = "POST";
  request.url = Url(server);
  EXPECT_EQ(Fetch(client, request).code(), "redirect_refused");
  EXPECT_EQ(server.connections(), 1);
}

// ---- bodies

TEST_F(OutboundClientTest, AnyOtherStatusIsAnAnswer) {
  for (const char* status : {"204 No Content", "304 Not Modified", "401 Unauthorized", "410 Gone",
                             "500 Internal Server Error"}) {
    const Fetched fetched =
        Of(Sends(fmt::format("HTTP/1.1 {}\r\nContent-Length: 0\r\n\r\n", status)));
    EXPECT_EQ(fetched.code(), "ok") << status;
    EXPECT_EQ(fetched.head.status, std::stoi(status));
  }
}

TEST_F(OutboundClientTest, ChunkedBodiesAndInterimAnswers) {
  EXPECT_EQ(Of(Sends("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
                     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "3\r\nhel\r\n2;ext=1\r\nlo\r\n0\r\nX-Sum: 1\r\n\r\n"))
                .body,
            "hello");
  EXPECT_EQ(Of(Sends("HTTP/1.1 200 OK\r\n\r\nhello")).body, "hello") << "to the connection's end";
}

TEST_F(OutboundClientTest, SendsABody) {
  const ScriptedServer server(Sends(Answer("hello")));
  OutboundClient client = Client();
  OutboundRequest request;
  request.method = "POST";
  request.url = Url(server);
  request.headers = {{"Content-Type", "text/plain"}};
  request.body = "a=b";
  EXPECT_EQ(Fetch(client, request).body, "hello");
  EXPECT_THAT(server.requests().at(0),
              AllOf(HasSubstr("POST /x "), HasSubstr("Content-Length: 3\r\n"),
                    HasSubstr("Content-Type: text/plain\r\n"), HasSubstr("\r\n\r\na=b")));
}

TEST_F(OutboundClientTest, RequestsThatWouldBeTwoAreNotSent) {
  const ScriptedServer server(Sends(Answer("hello")));
  OutboundClient client = Client();
  const auto code = [&](const std::function<void(OutboundRequest&)>& change) {
    OutboundRequest request;
    request.url = Url(server);
    change(request);
    const Fetched fetched = Fetch(client, request);
    EXPECT_THAT(std::string(Message(fetched.status)), Not(HasSubstr("s3cret")));
    return fetched.code();
  };
  EXPECT_EQ(code([](OutboundRequest& r) { r.authorization = "Bearer s3cret\r\nX: y"; }),
            "invalid_argument");
  EXPECT_EQ(code([](OutboundRequest& r) { r.headers = {{"X", "s3cret\ny"}}; }), "invalid_argument");
  EXPECT_EQ(code([](OutboundRequest& r) { r.headers = {{"X: y\r\nZ", ""}}; }), "invalid_argument");
  EXPECT_EQ(code([](OutboundRequest& r) { r.method = "DELETE"; }), "invalid_argument");
}

TEST_F(OutboundClientTest, GzipIsDecompressed) {
  const std::string text(100'000, 'x');
  EXPECT_EQ(Of(Sends(Answer(Gzip(text), "Content-Encoding: gzip\r\n"))).body, text);
  EXPECT_EQ(Of(Sends(Answer("", "Content-Encoding: gzip\r\n"))).code(), "ok") << "no body";
}

TEST_F(OutboundClientTest, AGzipBombEndsAtTheLimit) {
  const std::string bomb = Gzip(std::string(size_t{64} << 20, 'x'));
  ASSERT_LT(bomb.size(), size_t{1} << 20);
  const ScriptedServer server(Sends(Answer(bomb, "Content-Encoding: gzip\r\n")));
  OutboundClient client = Client();
  OutboundRequest request;
  request.url = Url(server);
  request.body_bytes_max = size_t{1} << 20;
  const Fetched fetched = Fetch(client, request);
  EXPECT_EQ(fetched.code(), "source_answer_too_large");
  EXPECT_LE(fetched.body.size(), request.body_bytes_max);
  EXPECT_GT(fetched.body.size(), request.body_bytes_max / 2) << "the bomb has gone off";
}

TEST_F(OutboundClientTest, EncodingsThatAreDamagedOrWereNotAskedFor) {
  const std::string gzip = Gzip(std::string(1'000, 'x'));
  for (const std::string& answer :
       {Answer(gzip.substr(0, gzip.size() / 2), "Content-Encoding: gzip\r\n"),
        Answer(gzip.substr(0, gzip.size() - 1), "Content-Encoding: gzip\r\n"),
        Answer("no gzip", "Content-Encoding: gzip\r\n"),
        Answer(gzip + "more", "Content-Encoding: gzip\r\n"),
        Answer("x", "Content-Encoding: br\r\n"),
        Answer(gzip, "Content-Encoding: gzip, gzip\r\n")}) {
    EXPECT_EQ(Of(Sends(answer)).code(), "source_answer_invalid") << answer.substr(0, 80);
  }
}

TEST_F(OutboundClientTest, ACutBodyIsAnError) {
  for (const char* answer : {"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
                             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nff\r\nhello"}) {
    const Fetched fetched = Of(Sends(answer));
    EXPECT_EQ(fetched.code(), "source_unreachable") << answer;
    EXPECT_EQ(fetched.body, "hello") << "what came was given on";
  }
  EXPECT_EQ(Of(Sends("HTTP/1.1 200 OK\r\nContent-")).code(), "source_unreachable");
  EXPECT_EQ(Of(Sends("")).code(), "source_unreachable");
}

// Without the goodbye anybody on the way may have ended the connection.
TEST_F(OutboundClientTest, ATlsBodyToTheConnectionsEndNeedsAGoodbye) {
  for (const bool goodbye : {true, false}) {
    const ScriptedServer server(
        [goodbye](Peer& peer) {
          peer.ReadRequest();
          peer.Send("HTTP/1.1 200 OK\r\n\r\nhello");
          if (goodbye) {
            peer.Shutdown();
          }
        },
        &certificates_);
    EXPECT_EQ(Get(Url(server, "https")).code(), goodbye ? "ok" : "source_unreachable");
  }
}

TEST_F(OutboundClientTest, ReadersMayEndIt) {
  const ScriptedServer server(Sends(Answer("hello")));
  OutboundClient client = Client();
  OutboundRequest request;
  request.url = Url(server);
  const auto fail = absl::DataLossError("enough");
  const auto pass = [](const auto&) { return absl::OkStatus(); };
  EXPECT_EQ(client.Send(request, [&](const auto&) { return fail; }, pass, {}), fail);
  EXPECT_EQ(client.Send(request, pass, [&](const auto&) { return fail; }, {}), fail);
}

// ---- heads and time

TEST_F(OutboundClientTest, EndlessHeads) {
  const auto endless = [](std::string start, std::string more) {
    return [start = std::move(start), more = std::move(more)](Peer& peer) {
      peer.ReadRequest();
      peer.Send(start);
      while (peer.Send(more)) {
      }
    };
  };
  for (const auto& [start, more] : std::vector<std::pair<std::string, std::string>>{
           {"HTTP/1.1 200 OK\r\n", "X-Field: value\r\n"},
           {"HTTP/1.1 200 OK\r\nX-Field: ", std::string(1'000, 'v')},
           {"HTTP/1.1 200 ", std::string(1'000, 'v')},
           {"", "HTTP/1.1 100 Continue\r\n\r\n"},
           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=", std::string(1'000, 'v')},
           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X-Field: value\r\n"}}) {
    EXPECT_EQ(Of(endless(start, more)).code(), "source_answer_invalid") << start;
  }
}

TEST_F(OutboundClientTest, WhatIsNoHttp) {
  for (const char* answer :
       {"SSH-2.0-OpenSSH_9.2\r\n\r\n", "<html></html>\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        "HTTP/1.1 200 OK\r\nno field\r\n\r\n", "HTTP/9.9 200 OK\r\n\r\n"}) {
    EXPECT_EQ(Of(Sends(answer)).code(), "source_answer_invalid") << answer;
  }
}

TEST_F(OutboundClientTest, SilenceEndsIt) {
  for (const char* answer :
       {"", "HTTP/1.1 200 OK\r\nX-", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"}) {
    const SteadyTime begin = clock_.SteadyNow();
    const Fetched fetched = Of(
        [answer](Peer& peer) {
          peer.ReadRequest();
          peer.Send(answer);
          peer.AwaitClose();
        },
        TimePasses(seconds(1)));
    EXPECT_EQ(fetched.code(), "source_timeout") << answer;
    EXPECT_LT(clock_.SteadyNow() - begin, seconds(60)) << "not the time-out of the whole";
  }
}

TEST_F(OutboundClientTest, ABodyThatComesInDropsEndsAtTheTimeout) {
  const Fetched fetched = Of(
      [](Peer& peer) {
        peer.ReadRequest();
        peer.Send("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while (peer.Send("x")) {
        }
      },
      TimePasses(seconds(1)));
  EXPECT_EQ(fetched.code(), "source_timeout");
}

TEST_F(OutboundClientTest, TheReadersTimeIsNotTheSources) {
  const ScriptedServer server(Sends(Answer(std::string(200'000, 'x'))));
  OutboundClient client = Client();
  OutboundRequest request;
  request.url = Url(server);
  size_t pieces = 0;
  const auto wait = [&](const auto&) {
    ++pieces;
    clock_.Advance(request.timeout);
    return absl::OkStatus();
  };
  EXPECT_TRUE(client.Send(request, wait, wait, {}).ok());
  EXPECT_GT(pieces, 3U);
}

TEST_F(OutboundClientTest, AHandshakeThatNeverComes) {
  const ScriptedServer server([](Peer& peer) { peer.AwaitClose(); });
  EXPECT_EQ(Get(Url(server, "https"), TimePasses(seconds(1))).code(), "source_timeout");
}

TEST_F(OutboundClientTest, StopsWhenItIsToldTo) {
  int asked = 0;
  const Fetched fetched = Of(
      [](Peer& peer) {
        peer.ReadRequest();
        peer.AwaitClose();
      },
      [&asked] { return ++asked > 5; });
  EXPECT_TRUE(absl::IsCancelled(fetched.status)) << fetched.status;
}

// ---- a host that wants to rest

TEST_F(OutboundClientTest, AHostRestsForAsLongAsItSays) {
  const ScriptedServer server(Sends(Answer("", "Retry-After: 7\r\n", "429 Too Many Requests")));
  OutboundClient client = Client();
  OutboundRequest request;
  request.url = Url(server);
  EXPECT_EQ(Fetch(client, request).head.status, 429);
  const Fetched resting = Fetch(client, request);
  EXPECT_EQ(resting.code(), "source_resting");
  EXPECT_EQ(RetryAfterOf(resting.status), milliseconds(7'000));
  EXPECT_EQ(server.connections(), 1);
  clock_.Advance(seconds(7));
  EXPECT_EQ(Fetch(client, request).head.status, 429);
  EXPECT_EQ(server.connections(), 2);
}

}  // namespace
}  // namespace sluice::gateways

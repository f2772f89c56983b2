#include <malloc.h>
#include <sys/socket.h>

#include <atomic>
#include <set>
#include <vector>

#include "tests/integration/gateways/stream_fixture.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;
using sluice::testing::HttpReply;
using sluice::testing::HttpSocket;

TEST_F(StreamTest, InitialThenLive) {
  options_.heartbeat = std::chrono::milliseconds(20);
  for (int i = 0; i < 20; ++i) {
    Put("A" + std::to_string(i), "n", "ann", i < 5 ? "north" : "");
  }
  Start();
  HttpSocket socket(port_);
  Open(socket, {{"live", true}}, {{"sub", "ann"}, {"teams", {"north"}}});
  EXPECT_EQ(socket.Read(false).headers.at("content-type"), "application/x-ndjson");
  StreamClient client;
  const json checkpoint = client.Take(socket, "checkpoint");
  ASSERT_EQ(checkpoint["buckets"].size(), 2u);
  client.Take(socket, "checkpoint_complete");
  for (const json& bucket : checkpoint["buckets"]) {
    EXPECT_EQ(std::to_string(client.rows[bucket["bucket"]].size()),
              bucket["count"].get<std::string>());
    EXPECT_EQ(bucket["checksum"].get<std::string>().size(), 16u);
  }
  EXPECT_EQ(client.Keys().size(), 20u);

  // Nothing of the caller's: only a heartbeat tells, and the next frame goes on from what it has.
  const std::string other = std::to_string(Put("B1", "n", "bob").value());
  while (client.Take(socket, "heartbeat")["position"] != other) {
  }
  Put("A1", "new", "ann");
  client.Take(socket, "checkpoint_complete");
  EXPECT_EQ(client.Keys().size(), 20u);
  Delete("A7");
  client.Take(socket, "checkpoint_complete");
  EXPECT_FALSE(client.Keys().contains("A7"));

  // A rule goes: its bucket is named as removed, and the rows of the other stay.
  stores_.Add("contoso",
              sluice::testing::DefineProfile("p", {{"account", {v1::RULE_KIND_TEAM}}}, {"field"}));
  client.Take(socket, "checkpoint_complete");
  EXPECT_EQ(client.Keys().size(), 4u);  // A1 has left the team
  stores_.Remove("contoso");
  EXPECT_EQ(client.Take(socket, "checkpoint"), nullptr);
  EXPECT_TRUE(server_->sessions() == 0 || socket.ReadLine().empty());
}

TEST_F(StreamTest, ResumesAtAnyFramesEnd) {
  for (int i = 0; i < 3'000; ++i) {
    Put("A" + std::to_string(i), std::string(400, 'x'), "ann");
  }
  Start();
  StreamClient client;
  {
    HttpSocket socket(port_);
    Open(socket, json::object());
    socket.Read(false);
    client.Take(socket, "ops");
    client.Take(socket, "ops");
  }
  const size_t before = client.Keys().size();
  EXPECT_LT(before, 3'000u);
  Delete("A0");
  HttpSocket socket(port_);
  Open(socket, {{"have", client.Have()}});
  socket.Read(false);
  EXPECT_EQ(client.Take(socket, "checkpoint")["removed"], json::array());
  const json ops = client.Take(socket, "ops");
  EXPECT_NE(ops["ops"][0]["key"], "A0");
  client.Take(socket, "checkpoint_complete");
  EXPECT_EQ(client.Keys().size(), 2'999u);
  EXPECT_EQ(socket.ReadLine(), "");
}

TEST_F(StreamTest, WhatClientsHaveThatIsNotTheirs) {
  Put("A1", "n", "ann");
  options_.catch_up_wait = std::chrono::milliseconds(50);
  Start();
  HttpSocket first(port_);
  Open(first, json::object());
  first.Read(false);
  StreamClient client;
  const std::string bucket = client.Take(first, "checkpoint")["buckets"][0]["bucket"];
  for (const json& after : {json("no"), json(-1), json("-1"), json(nullptr)}) {
    HttpSocket socket(port_);
    Open(socket, {{"have", {{{"bucket", bucket}, {"after", after}}}}});
    EXPECT_EQ(Code(socket.Read()), "invalid_argument");
  }
  {
    HttpSocket socket(port_);
    Open(socket,
         {{"have",
           {{{"bucket", bucket}, {"after", "999999"}}, {{"bucket", "other"}, {"after", "1"}}}}});
    EXPECT_EQ(socket.Read(false).status, 200);
    const json checkpoint = client.Take(socket, "checkpoint");
    EXPECT_EQ(checkpoint["removed"], json({"other"}));
    EXPECT_EQ(client.Take(socket, "reset")["bucket"], bucket);
    client.Take(socket, "checkpoint_complete");
    EXPECT_EQ(client.Keys(), std::set<std::string>{"A1"});
  }
  stores_.SetHorizon("contoso", Put("A2", "n", "ann"));
  HttpSocket late(port_);
  Open(late, {{"have", {{{"bucket", bucket}, {"after", "2"}}}}});
  late.Read(false);
  EXPECT_EQ(client.Take(late, "reset")["bucket"], bucket);
}

TEST_F(StreamTest, Refusals) {
  Start();
  const auto status = [this](const std::string& body, const std::string& headers) {
    HttpSocket socket(port_);
    socket.Request("POST", "/v1/orgs/contoso/stream", headers, body);
    return socket.Read();
  };
  EXPECT_EQ(Code(status("{", Token(kAnn))), "invalid_json");
  EXPECT_EQ(Code(status("[]", Token(kAnn))), "invalid_argument");
  EXPECT_EQ(Code(status(R"({"have":[{}]})", Token(kAnn))), "invalid_argument");
  EXPECT_EQ(Code(status(R"({"live":1})", Token(kAnn))), "invalid_argument");
  EXPECT_EQ(status("{}", Token(kAnn) + "Accept: image/png\r\n").status, 406);
  const HttpReply lines =
      status("{}", Token(kAnn) + "Accept: application/x-ndjson, text/event-stream;q=0.5\r\n");
  EXPECT_EQ(lines.headers.at("content-type"), "application/x-ndjson");
  EXPECT_EQ(status("{}", Token({{"sub", "a"}, {"org", "x"}})).status, 403);
  EXPECT_EQ(status("{}", "").status, 401);
  EXPECT_EQ(Code(status("{}", Token({{"sub", "a"}, {"roles", {"none"}}}))), "offline_not_allowed");
}

TEST_F(StreamTest, HeartbeatsEventsAndTheEndOfTheToken) {
  options_.heartbeat = std::chrono::milliseconds(50);
  options_.token_warning = std::chrono::milliseconds(400);
  Start();
  HttpSocket socket(port_);
  Open(socket, {{"live", true}}, {{"sub", "ann"}, {"ms", 700}}, "Accept: text/event-stream\r\n");
  EXPECT_EQ(socket.Read(false).headers.at("content-type"), "text/event-stream");
  std::set<std::string> events;
  int blank = 0;
  // A blank line ends an event; two in a row come only at the end of the body.
  for (std::string line = socket.ReadLine(); blank < 2; line = socket.ReadLine()) {
    blank = line.empty() ? blank + 1 : 0;
    if (line.starts_with("event: ")) {
      events.insert(line.substr(7));
    }
  }
  EXPECT_EQ(events, (std::set<std::string>{"checkpoint", "checkpoint_complete", "heartbeat",
                                           "token_expires"}));
}

TEST_F(StreamTest, WhoHasGoneGivesItsPlaceBack) {
  options_.heartbeat = std::chrono::hours(1);
  Put("A1", "n", "ann");
  Start();
  for (const bool half : {false, true}) {
    HttpSocket socket(port_);
    Open(socket, {{"live", true}});
    ASSERT_EQ(socket.Read(false).status, 200);
    if (half) {
      ::shutdown(socket.fd(), SHUT_WR);
      while (!socket.ReadLine().empty()) {
      }
      EXPECT_TRUE(socket.Closed()) << "a whole body, and no more of it";
    } else {
      ::shutdown(socket.fd(), SHUT_RDWR);
    }
    AwaitSessions(0);
  }
}

// A client that does not read is held by TCP and then dropped; its session holds one piece.
TEST_F(StreamTest, AClientThatNeverReadsIsDropped) {
  options_.write_timeout = std::chrono::milliseconds(300);
  for (int i = 0; i < 60; ++i) {
    Put("A" + std::to_string(i), std::string(500'000, 'x'), "ann");
  }
  Start();
  HttpSocket socket(port_);
  const int small = 4096;
  ::setsockopt(socket.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
  Open(socket, {{"live", true}});
  AwaitSessions(1);
  AwaitSessions(0);
  StreamClient client;
  socket.Read(false);
  EXPECT_FALSE(client.position == "complete");
}

// A replica that starts anew must not make every client load anew.
TEST_F(StreamTest, WhoIsAheadOfAServerThatCatchesUpIsToldToComeAgain) {
  Put("A1", "n", "ann");
  options_.catch_up_wait = std::chrono::milliseconds(50);
  std::atomic<bool> behind = true;
  options_.not_ready = [&behind] {
    return behind.load() ? std::vector<std::string>{"staging: behind"} : std::vector<std::string>{};
  };
  Start();
  HttpSocket first(port_);
  Open(first, {{"have", {{{"bucket", "b"}, {"after", "999999"}}}}});
  const HttpReply early = first.Read();
  EXPECT_EQ(Code(early), "not_caught_up");
  EXPECT_TRUE(early.headers.contains("retry-after"));
  behind = false;
  HttpSocket second(port_);
  Open(second, {{"have", {{{"bucket", "b"}, {"after", "999999"}}}}});
  EXPECT_EQ(second.Read(false).status, 200);
}

// It does not go on asking for an organisation that does not come.
TEST_F(StreamTest, AnOrganisationThatIsNotHereYetIsWaitedForNoLongerThanItShould) {
  options_.catch_up_wait = std::chrono::milliseconds(50);
  options_.not_ready = [] { return std::vector<std::string>{"staging: behind"}; };
  Start();
  HttpSocket socket(port_);
  socket.Request("POST", "/v1/orgs/nobody/stream", Token({{"sub", "ann"}, {"org", "nobody"}}),
                 "{}");
  const HttpReply reply = socket.Read();
  EXPECT_EQ(Code(reply), "not_caught_up");
  EXPECT_TRUE(reply.headers.contains("retry-after"));
}

TEST_F(StreamTest, AStoreAmidALargeEventIsWaitedFor) {
  Put("A1", "n", "ann");
  stores_.SetAmidLargeEvent("contoso", true);
  options_.catch_up_wait = std::chrono::milliseconds(50);
  options_.heartbeat = std::chrono::milliseconds(20);
  Start();
  HttpSocket early(port_);
  Open(early, {{"live", true}});
  const HttpReply reply = early.Read();
  EXPECT_EQ(reply.status, 503);
  EXPECT_EQ(Code(reply), "not_caught_up");
  EXPECT_TRUE(reply.headers.contains("retry-after"));

  // A stream that is live stays so when the store is opened anew amid an event, and goes on.
  stores_.SetAmidLargeEvent("contoso", false);
  HttpSocket socket(port_);
  Open(socket, {{"live", true}});
  socket.Read(false);
  StreamClient client;
  client.Take(socket, "checkpoint_complete");
  stores_.SetAmidLargeEvent("contoso", true);
  Put("A2", "n", "ann");
  client.Take(socket, "heartbeat");
  client.Take(socket, "heartbeat");
  EXPECT_EQ(client.Keys().size(), 1u);
  stores_.SetAmidLargeEvent("contoso", false);
  client.Take(socket, "checkpoint_complete");
  EXPECT_EQ(client.Keys().size(), 2u);
}

// What a client says that it has keeps its place in the budget of bodies until it is answered:
// otherwise some hundred devices that are live would keep out all others.
TEST_F(StreamTest, ALiveSessionHoldsNoPartOfItsRequest) {
  options_.registry = std::make_shared<prometheus::Registry>();
  options_.heartbeat = std::chrono::seconds(20);
  Start();
  HttpSocket socket(port_);
  json have = json::array();
  for (int i = 0; i < 1'000; ++i) {
    have.push_back({{"bucket", "bucket" + std::to_string(i)}, {"after", 1}});
  }
  Open(socket, {{"live", true}, {"have", have}});
  ASSERT_EQ(socket.Read(false).status, 200);
  EXPECT_EQ(StreamClient().Take(socket, "checkpoint")["removed"].size(), have.size());
  Await([this] { return Metric("sluice_http_request_bytes").gauge.value == 0; });
  EXPECT_EQ(Metric("sluice_http_request_bytes").gauge.value, 0);
}

TEST_F(StreamTest, NorDoesADeltaThatWaits) {
  options_.registry = std::make_shared<prometheus::Registry>();
  Start();
  const json page = json::parse(Get("/v1/orgs/contoso/delta").body);
  HttpSocket socket(port_);
  socket.Request(
      "POST", "/v1/orgs/contoso/delta", Token(kAnn),
      json({{"cursor", page["cursor"]}, {"wait", "20s"}}).dump() + std::string(500'000, ' '));
  Await([this] {
    return Metric("sluice_sync_session_places").gauge.value > 0 &&
           Metric("sluice_http_request_bytes").gauge.value == 0;
  });
  EXPECT_EQ(Metric("sluice_sync_session_places").gauge.value, 1);
  EXPECT_EQ(Metric("sluice_http_request_bytes").gauge.value, 0);
}

// Of what it sent and was sent, either.
TEST_F(StreamTest, ALiveSessionHoldsNoMemory) {
  constexpr int kSessions = 40;
  constexpr size_t kMib = size_t{1} << 20;
  for (int i = 0; i < 250; ++i) {
    Put("A" + std::to_string(i), std::string(8'000, 'x'), "ann");
  }
  options_.heartbeat = std::chrono::seconds(20);
  Start();
  const auto in_use = [] { return mallinfo2().uordblks; };  // 0 beside a sanitizer
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  size_t before = 0;
  for (int i = 0; i < kSessions; ++i) {
    before = i == 1 ? in_use() : before;  // the first one makes what all of them share
    sockets.push_back(std::make_unique<HttpSocket>(port_));
    sockets.back()->Request("POST", "/v1/orgs/contoso/stream", Token(kAnn),
                            R"({"live":true})" + std::string(kMib - 100, ' '));
    ASSERT_EQ(sockets.back()->Read(false).status, 200);
    StreamClient().Take(*sockets.back(), "checkpoint_complete");
  }
  // A session waits again a moment after its client has read all.
  Await([&] { return in_use() <= before + kSessions * kMib; });
  EXPECT_LE(in_use(), before + kSessions * kMib);  // the half of it is what the clients hold
}

// Nor of its head, which may have 32 KiB and is not counted once its sender is known.
TEST_F(StreamTest, ASessionHoldsNothingOfItsHead) {
  constexpr int kSessions = 40;
  constexpr size_t kKib = size_t{1} << 10;
  Start();
  const std::string ignored = "x=" + std::string(15 * kKib, 'x');
  const std::string headers = Token(kAnn) + "Accept: */*" + std::string(14 * kKib, ',') + "\r\n";
  const std::string cursor = Delta("")["cursor"];
  const auto in_use = [] { return mallinfo2().uordblks; };  // 0 beside a sanitizer
  for (const bool stream : {true, false}) {
    std::vector<std::unique_ptr<HttpSocket>> sockets;
    size_t before = 0;
    AwaitSessions(0);
    for (int i = 0; i < kSessions; ++i) {
      before = i == 1 ? in_use() : before;  // the first one makes what all of them share
      sockets.push_back(std::make_unique<HttpSocket>(port_));
      if (stream) {
        sockets.back()->Request("POST", "/v1/orgs/contoso/stream?" + ignored, headers,
                                R"({"live":true})");
        ASSERT_EQ(sockets.back()->Read(false).status, 200);
        StreamClient().Take(*sockets.back(), "checkpoint_complete");
      } else {
        sockets.back()->Request(
            "GET", "/v1/orgs/contoso/delta?wait=60s&cursor=" + cursor + "&" + ignored, headers);
      }
      AwaitSessions(sockets.size());
    }
    // But a delta its query, where a refusal may have to point to.
    const size_t allowed = before + (kSessions - 1) * (stream ? 24 : 40) * kKib;
    Await([&] { return in_use() <= allowed; });
    EXPECT_LE(in_use(), allowed) << (stream ? "streams" : "waiting deltas");
  }
}

TEST_F(StreamTest, StopEndsStreams) {
  Start();
  HttpSocket socket(port_);
  Open(socket, {{"live", true}});
  socket.Read(false);
  StreamClient client;
  client.Take(socket, "checkpoint_complete");
  server_->Stop();
  EXPECT_EQ(socket.ReadLine(), "");
}

}  // namespace
}  // namespace sluice::gateways

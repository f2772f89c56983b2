#include <malloc.h>
#include <prometheus/registry.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <map>
#include <set>
#include <thread>
#include <vector>

#include "tests/integration/gateways/sync_fixture.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;
using sluice::testing::HttpReply;
using sluice::testing::HttpSocket;

// A client of the stream: rows of each bucket, and how far it has come.
struct StreamClient {
  std::map<std::string, std::map<std::string, json>> rows;
  std::map<std::string, std::string> after;
  std::string position;

  // Takes frames up to and with the first one called `last`, which it returns.
  json Take(HttpSocket& socket, const std::string& last) {
    while (true) {
      const std::string line = socket.ReadLine();
      if (line.empty()) {
        return nullptr;
      }
      const json frame = json::parse(line);
      Apply(frame);
      if (frame.contains(last)) {
        return frame[last];
      }
    }
  }

  void Apply(const json& frame) {
    if (frame.contains("checkpoint")) {
      for (const json& bucket : frame["checkpoint"]["removed"]) {
        rows.erase(bucket.get<std::string>());
        after.erase(bucket.get<std::string>());
      }
    } else if (frame.contains("reset")) {
      rows.erase(frame["reset"]["bucket"].get<std::string>());
    } else if (frame.contains("ops")) {
      const json& ops = frame["ops"];
      const std::string bucket = ops["bucket"];
      if (after.contains(bucket) && ops["from"] != "0") {
        EXPECT_EQ(ops["from"], after[bucket]);
      }
      after[bucket] = ops["to"];
      for (const json& op : ops["ops"]) {
        if (op["op"] == "put") {
          rows[bucket][op["key"]] = op["row"];
        } else {
          rows[bucket].erase(op["key"].get<std::string>());
        }
      }
    } else if (frame.contains("checkpoint_complete")) {
      position = frame["checkpoint_complete"]["position"];
      for (auto& [bucket, to] : after) {
        to = position;
      }
    }
  }

  std::set<std::string> Keys() const {
    std::set<std::string> keys;
    for (const auto& [bucket, held] : rows) {
      for (const auto& [key, row] : held) {
        keys.insert(key);
      }
    }
    return keys;
  }

  json Have() const {
    json have = json::array();
    for (const auto& [bucket, to] : after) {
      have.push_back({{"bucket", bucket}, {"after", to}});
    }
    return have;
  }
};

class StreamTest : public SyncTest {
 protected:
  void Open(HttpSocket& socket, const json& body, const json& claims = kAnn,
            const std::string& headers = "") {
    socket.Request("POST", "/v1/orgs/contoso/stream", Token(claims) + headers, body.dump());
  }
  void AwaitSessions(size_t count) const {
    while (server_->sessions() != count) {
      std::this_thread::yield();
    }
  }
  // Of options_.registry, which a test sets that asks.
  prometheus::ClientMetric Metric(const std::string& name) const {
    for (const auto& family : options_.registry->Collect()) {
      if (family.name == name && !family.metric.empty()) {
        return family.metric[0];
      }
    }
    ADD_FAILURE() << "no metric " << name;
    return {};
  }
};

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
    while (server_->sessions() > 0) {
      std::this_thread::yield();
    }
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
  while (server_->sessions() == 0) {
    std::this_thread::yield();
  }
  while (server_->sessions() > 0) {
    std::this_thread::yield();
  }
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
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (Metric("sluice_http_request_bytes").gauge.value > 0 &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
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
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while ((Metric("sluice_sync_session_places").gauge.value == 0 ||
          Metric("sluice_http_request_bytes").gauge.value > 0) &&
         std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
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
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (in_use() > before + kSessions * kMib && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
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
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (in_use() > allowed && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    EXPECT_LE(in_use(), allowed) << (stream ? "streams" : "waiting deltas");
  }
}

// An organisation whose columns are many pieces of a stream as text.
class ManyColumnsTest : public StreamTest {
 protected:
  static constexpr size_t kEntities = 40;

  ManyColumnsTest() {
    std::vector<std::string> reads = {"account"};
    for (uint32_t i = 2; i <= kEntities; ++i) {
      reads.push_back("entity" + std::to_string(i));
      DefineColumns(i, 300);
    }
    stores_.Add("contoso", sluice::testing::DefineRole("field", true, reads));
    options_.registry = std::make_shared<prometheus::Registry>();
  }
  void DefineColumns(uint32_t entity, uint32_t columns) {
    std::vector<sluice::testing::TestAttribute> attributes = {{1, "id"}};
    for (uint32_t id = 2; id <= columns; ++id) {
      attributes.push_back({id, std::string(60, 'a') + std::to_string(id)});
    }
    stores_.Add("contoso", sluice::testing::DefineEntity(entity, "entity" + std::to_string(entity),
                                                         attributes));
  }
  // A whole load: what its frames are called, and how many of them name the columns.
  void Load(std::vector<std::string>* frames, size_t* named) {
    Start();
    HttpSocket socket(port_);
    Open(socket, json::object());
    ASSERT_EQ(socket.Read(false).status, 200);
    while (frames->empty() || frames->back() != "checkpoint_complete") {
      const json frame = json::parse(socket.ReadLine());
      frames->push_back(frame.begin().key());
      *named += frame.begin()->contains("entities") ? 1 : 0;
      ASSERT_LT(frames->size(), 1'000u);
    }
  }
  double ListsMade() const { return Metric("sluice_sync_columns_made_total").counter.value; }
};

// No frame comes between, however many are due, and the load gets on.
TEST_F(ManyColumnsTest, AFrameThatIsLongerThanAPieceComesWhole) {
  for (int i = 0; i < 2'000; ++i) {
    Put("A" + std::to_string(i), std::string(400, 'x'), "ann");
  }
  options_.heartbeat = std::chrono::milliseconds(1);
  options_.snapshot_age_max = std::chrono::milliseconds(1);
  options_.token_warning = std::chrono::hours(2);
  Start();
  HttpSocket socket(port_);
  Open(socket, {{"live", true}});
  ASSERT_EQ(socket.Read(false).status, 200);
  StreamClient client;
  std::set<std::string> frames;
  size_t checkpoints = 0;
  while (!frames.contains("checkpoint_complete")) {
    const std::string line = socket.ReadLine();
    const json frame = json::parse(line, nullptr, false);
    ASSERT_TRUE(frame.is_object()) << line.substr(0, 200);
    client.Apply(frame);
    frames.insert(frame.begin().key());
    if (frame.contains("checkpoint") && checkpoints++ == 0) {
      EXPECT_GT(line.size(), size_t{1} << 20);
      EXPECT_EQ(frame["checkpoint"]["entities"].size(), kEntities);
    } else if (frame.contains("checkpoint")) {
      EXPECT_FALSE(frame["checkpoint"].contains("entities")) << "the client has them";
      ASSERT_LT(checkpoints, 20u) << "the load does not get on";
    }
  }
  EXPECT_TRUE(frames.contains("token_expires"));
  EXPECT_EQ(client.Keys().size(), 2'000u);
}

// However long a client takes for its columns: what it may not see any more by then is not sent.
TEST_F(ManyColumnsTest, RowsBehindALongCheckpointAreOfANewSnapshot) {
  for (int i = 0; i < 100; ++i) {
    Put("A" + std::to_string(i), "x", "ann");
  }
  options_.snapshot_age_max = std::chrono::milliseconds(1);
  std::atomic<int> asked = 0;
  options_.may_serve = [this, &asked](const OrgId&) {
    if (++asked == 10) {  // amid the checkpoint
      stores_.Add("contoso", sluice::testing::DefineRole("field", true, {"entity2"}));
      std::this_thread::sleep_for(5 * options_.snapshot_age_max);
    }
    return absl::OkStatus();
  };
  std::vector<std::string> frames;
  size_t named = 0;
  Load(&frames, &named);
  EXPECT_GT(asked, 10);
  EXPECT_EQ(std::ranges::count(frames, "checkpoint"), 2);
  EXPECT_EQ(std::ranges::count(frames, "ops"), 0) << "rows by a role that was taken away";
}

// So it is where the one that takes its place is as long, as columns have come meanwhile.
TEST_F(ManyColumnsTest, RowsBehindALongCheckpointThatReplacesOneAreToo) {
  for (int i = 0; i < 100; ++i) {
    Put("A" + std::to_string(i), "x", "ann");
  }
  options_.snapshot_age_max = std::chrono::milliseconds(1);
  std::atomic<int> asked = 0;
  options_.may_serve = [this, &asked](const OrgId&) {
    ++asked;
    if (asked == 10) {  // amid the first checkpoint
      DefineColumns(2, 301);
      std::this_thread::sleep_for(5 * options_.snapshot_age_max);
    } else if (asked == 60) {  // amid the second
      stores_.Add("contoso", sluice::testing::DefineRole("field", true, {"entity2"}));
      std::this_thread::sleep_for(5 * options_.snapshot_age_max);
    }
    return absl::OkStatus();
  };
  std::vector<std::string> frames;
  size_t named = 0;
  Load(&frames, &named);
  EXPECT_GT(asked, 60);
  EXPECT_EQ(std::ranges::count(frames, "checkpoint"), 3);
  EXPECT_EQ(named, 3u);
  EXPECT_EQ(std::ranges::count(frames, "ops"), 0) << "rows by a role that was taken away";
}

// One change of definitions concerns all sessions, and what they are sent is made for them once.
TEST_F(ManyColumnsTest, SessionsThatSeeTheSameShareAList) {
  options_.heartbeat = std::chrono::seconds(20);
  Start();
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  for (int i = 0; i < 12; ++i) {
    sockets.push_back(std::make_unique<HttpSocket>(port_));
    Open(*sockets.back(), {{"live", true}}, {{"sub", "user" + std::to_string(i)}});
    ASSERT_EQ(sockets.back()->Read(false).status, 200);
    StreamClient().Take(*sockets.back(), "checkpoint_complete");
  }
  EXPECT_EQ(ListsMade(), 1);
  DefineColumns(2, 301);
  for (const auto& socket : sockets) {
    EXPECT_EQ(StreamClient().Take(*socket, "checkpoint")["entities"].size(), kEntities);
  }
  EXPECT_LE(ListsMade(), 3) << "of two threads that read stores each may make one at once";
}

// Who may not be answered any more amid a frame finds the connection closed, not a body's end.
TEST_F(ManyColumnsTest, AStreamThatEndsAmidAFrameIsCutOff) {
  std::atomic<int> asked = 0;
  options_.may_serve = [&asked](const OrgId&) {
    return ++asked < 20 ? absl::OkStatus()
                        : Error(absl::StatusCode::kUnavailable, "not_served_here", "any more");
  };
  Start();
  HttpSocket socket(port_);
  Open(socket, json::object());
  std::string read;
  char bytes[65536];
  for (ssize_t got = 1; got > 0;) {
    got = ::recv(socket.fd(), bytes, sizeof(bytes), 0);
    read.append(bytes, static_cast<size_t>(std::max<ssize_t>(got, 0)));
  }
  EXPECT_NE(read.find(R"({"checkpoint":)"), std::string::npos);
  EXPECT_EQ(read.find("}}\n"), std::string::npos) << "the frame is whole";
  EXPECT_FALSE(read.ends_with("0\r\n\r\n"));
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

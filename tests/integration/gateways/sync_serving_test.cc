#include <absl/synchronization/mutex.h>
#include <poll.h>
#include <prometheus/registry.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <thread>

#include "tests/integration/gateways/sync_fixture.h"

// Who may answer, and for which history.
namespace sluice::gateways {
namespace {

using nlohmann::json;
using sluice::testing::HttpReply;
using sluice::testing::HttpSocket;

class ServingTest : public SyncTest {
 protected:
  ServingTest() {
    options_.catch_up_wait = std::chrono::milliseconds(50);
    options_.heartbeat = std::chrono::milliseconds(20);
  }

  void ServeWith(absl::Status status) {
    absl::MutexLock lock(&mutex_);
    serving_ = std::move(status);
  }
  void StartServing() {
    options_.may_serve = [this](const OrgId&) {
      absl::MutexLock lock(&mutex_);
      ++asked_;
      return serving_after_ >= 0 && asked_ > serving_after_ ? NotHere() : serving_;
    };
    Start();
  }
  static absl::Status NotHere() {
    return Error(absl::StatusCode::kUnavailable, "not_served_here", "partition 3 is elsewhere");
  }
  HttpReply Stream(const json& body, const json& claims = kAnn) {
    HttpSocket socket(port_);
    socket.Request("POST", "/v1/orgs/contoso/stream?x=1", Token(claims), body.dump());
    return ReadWhole(socket);
  }
  // With the frames of a stream as body.
  static HttpReply ReadWhole(HttpSocket& socket) {
    HttpReply reply = socket.Read();
    if (reply.headers.contains("transfer-encoding")) {
      for (std::string line = socket.ReadLine(); !line.empty(); line = socket.ReadLine()) {
        reply.body += line + "\n";
      }
    }
    return reply;
  }
  // False where the stream ends before a frame that holds `text`.
  static bool ReadUntil(HttpSocket& socket, const std::string& text) {
    for (std::string line = socket.ReadLine(); !line.empty(); line = socket.ReadLine()) {
      if (line.find(text) != std::string::npos) {
        return true;
      }
    }
    return false;
  }
  static json FrameOf(const std::string& body, const std::string& name) {
    std::istringstream lines(body);
    for (std::string line; std::getline(lines, line);) {
      if (const json frame = json::parse(line); frame.contains(name)) {
        return frame[name];
      }
    }
    return nullptr;
  }

  // More than the sockets between a client and a server hold, of ann.
  void PutMuch(const std::string& org = "contoso", int rows = 60) {
    for (int i = 0; i < rows; ++i) {
      Put("A" + std::to_string(i), std::string(200'000, 'x'), "ann", "", org);
    }
  }
  // A stream that nobody reads; its client's socket takes about `buffer` bytes.
  std::unique_ptr<HttpSocket> Unread(const std::string& org = "contoso", int buffer = 4096) {
    auto socket = std::make_unique<HttpSocket>(port_);
    ::setsockopt(socket->fd(), SOL_SOCKET, SO_RCVBUF, &buffer, sizeof(buffer));
    socket->Request("POST", "/v1/orgs/" + org + "/stream", Token({{"sub", "ann"}, {"org", org}}),
                    "{}");
    return socket;
  }
  // Until so many streams have a snapshot of contoso; false where it takes too long.
  bool AwaitReaders(int64_t readers) {
    const auto snapshot = stores_.Snapshot(*OrgId::Parse("contoso"));
    for (const auto end = clock_.SteadyNow() + std::chrono::seconds(20);
         clock_.SteadyNow() < end;) {
      if (snapshot->use_count() == readers + 2) {  // the one here, and that of the stores
        return true;
      }
      std::this_thread::yield();
    }
    return false;
  }
  double AnswerBytes() const {
    for (const auto& family : options_.registry->Collect()) {
      if (family.name == "sluice_sync_answer_bytes") {
        return family.metric.front().gauge.value;
      }
    }
    return 0.0;
  }

  absl::Mutex mutex_;
  absl::Status serving_;
  int asked_ = 0;
  int serving_after_ = -1;  // asked more often than this, it is not served here; -1: always is
};

TEST_F(ServingTest, WhoDoesNotServeSaysWhoDoes) {
  Put("A1", "n", "ann");
  std::atomic<bool> known = true;
  options_.served_at = [&](const OrgId&) {
    return known ? std::optional<std::string>("http://node-2:8471/") : std::nullopt;
  };
  StartServing();
  ServeWith(NotHere());
  const HttpReply delta = Get("/v1/orgs/contoso/delta?limit=5&wait=1s");
  EXPECT_EQ(delta.status, 307);
  EXPECT_EQ(delta.headers.at("location"),
            "http://node-2:8471/v1/orgs/contoso/delta?limit=5&wait=1s");
  EXPECT_EQ(Code(delta), "not_served_here");
  EXPECT_EQ(json::parse(delta.body)["status"], 307);
  const HttpReply stream = Stream(json::object());
  EXPECT_EQ(stream.status, 307);
  EXPECT_EQ(stream.headers.at("location"), "http://node-2:8471/v1/orgs/contoso/stream?x=1");
  EXPECT_EQ(Get("/v1/orgs/contoso/entities").status, 307);
  // Nobody is told where an organisation is that is not theirs.
  EXPECT_EQ(Get("/v1/orgs/contoso/delta", {{"sub", "a"}, {"org", "x"}}).status, 403);
  known = false;
  const HttpReply nowhere = Get("/v1/orgs/contoso/delta");
  EXPECT_EQ(nowhere.status, 503);
  EXPECT_EQ(Code(nowhere), "not_served_here");
  EXPECT_TRUE(nowhere.headers.contains("retry-after"));
  for (const char* code : {"not_caught_up", "log_truncated", "log_diverged"}) {
    ServeWith(Error(absl::StatusCode::kUnavailable, code, "x"));
    for (const HttpReply& reply : {Get("/v1/orgs/contoso/delta"), Stream(json::object()),
                                   Get("/v1/orgs/contoso/entities")}) {
      EXPECT_EQ(reply.status, 503) << code;
      EXPECT_EQ(Code(reply), code);
    }
  }
}

// Paused between reading and sending, or while it looked for an organisation that is not here:
// asked once more, the answer is another.
TEST_F(ServingTest, WhatWasReadGoesOutOnlyIfItStillMay) {
  Put("A1", "n", "ann");
  StartServing();
  const auto ask = [this](const std::string& org, const std::string& route, int after) {
    {
      absl::MutexLock lock(&mutex_);
      asked_ = 0;
      serving_after_ = after;
    }
    HttpSocket socket(port_);
    socket.Request(route == "stream" ? "POST" : "GET", "/v1/orgs/" + org + "/" + route,
                   Token({{"sub", "ann"}, {"org", org}}), route == "stream" ? "{}" : "");
    return ReadWhole(socket);
  };
  for (const char* org : {"contoso", "nobody"}) {
    for (const char* route : {"delta", "stream", "entities"}) {
      for (const int after : {0, 1}) {
        const HttpReply reply = ask(org, route, after);
        EXPECT_EQ(reply.status, 503) << org << " " << route << " " << after << reply.body;
      }
    }
    EXPECT_EQ(ask(org, "delta", 2).status, 503) << org;
  }
  // A stream that has begun can only end.
  EXPECT_EQ(ask("contoso", "stream", 2).body, "");
  EXPECT_NE(ask("contoso", "stream", 9).body.find("A1"), std::string::npos);
}

TEST_F(ServingTest, StreamsAndWaitingRequestsEnd) {
  Put("A1", "n", "ann");
  options_.heartbeat = std::chrono::hours(1);
  StartServing();
  const std::string cursor = Delta("")["cursor"];
  HttpSocket stream(port_);
  stream.Request("POST", "/v1/orgs/contoso/stream", Token(kAnn), R"({"live":true})");
  stream.Read(false);
  std::string last;
  while (!last.starts_with("{\"checkpoint_complete")) {
    last = stream.ReadLine();
  }
  HttpSocket waiting(port_);
  waiting.Request("GET", "/v1/orgs/contoso/delta?wait=60s&cursor=" + cursor, Token(kAnn));
  while (server_->sessions() < 2) {
    std::this_thread::yield();
  }
  server_->ServingChanged();  // for others: nothing happens
  ServeWith(NotHere());
  server_->ServingChanged();
  EXPECT_EQ(stream.ReadLine(), "");
  EXPECT_EQ(Code(waiting.Read()), "not_served_here");
  while (server_->sessions() > 0) {
    std::this_thread::yield();
  }
}

// A store that clients still read can't be built anew.
TEST_F(ServingTest, WhoDoesNotReadKeepsNoSnapshot) {
  PutMuch();
  StartServing();
  const auto first = Unread();
  const auto second = Unread();
  ASSERT_TRUE(AwaitReaders(2));
  server_->ServingChanged();  // for others: nothing happens
  EXPECT_EQ(first->Read(false).status, 200);
  EXPECT_NE(first->ReadLine(), "");
  EXPECT_TRUE(AwaitReaders(2));
  ServeWith(NotHere());
  server_->ServingChanged();
  EXPECT_TRUE(AwaitReaders(0));
}

// Nor does who waits for those of other organisations that do not read.
TEST_F(ServingTest, WhoWaitsForItsTurnKeepsNoSnapshot) {
  Define("fabrikam");
  PutMuch("contoso", 120);
  PutMuch("fabrikam");
  options_.answer_bytes_max = 1;  // one at a time
  options_.may_serve = [this](const OrgId& org) {
    absl::MutexLock lock(&mutex_);
    return org.value() == "contoso" ? serving_ : absl::OkStatus();
  };
  Start();
  const auto waiting = Unread("contoso", 1 << 20);
  ASSERT_TRUE(AwaitReaders(1));
  const auto other = Unread("fabrikam");
  while (server_->sessions() < 2) {
    std::this_thread::yield();
  }
  // Piece by piece they take turns, until the other's sockets are full: nothing more comes of this.
  std::array<char, 65536> piece;
  const timeval patience{.tv_sec = 1, .tv_usec = 0};
  ::setsockopt(waiting->fd(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  while (::recv(waiting->fd(), piece.data(), piece.size(), 0) > 0) {
  }
  EXPECT_TRUE(AwaitReaders(1));
  ServeWith(NotHere());
  server_->ServingChanged();
  EXPECT_TRUE(AwaitReaders(0));
  EXPECT_EQ(::recv(waiting->fd(), piece.data(), piece.size(), 0), 0) << "it is closed";
}

TEST_F(ServingTest, NoRowsGoOutAfterATokenThatEndedAmidAWait) {
  Define("fabrikam");
  Put("A1", "n", "ann");
  PutMuch("fabrikam");
  options_.answer_bytes_max = 1;  // one at a time
  options_.answer_wait = std::chrono::seconds(30);
  Start();
  auto other = Unread("fabrikam");
  EXPECT_EQ(other->Read(false).status, 200);
  // Others have turns until its sockets are full.
  std::unique_ptr<HttpSocket> probe;
  pollfd answered{};
  do {
    probe = std::make_unique<HttpSocket>(port_);
    probe->Request("GET", "/v1/orgs/contoso/delta", Token({{"sub", "bob"}}));
    answered = {.fd = probe->fd(), .events = POLLIN, .revents = 0};
  } while (::poll(&answered, 1, 300) > 0);
  const json claims = {{"sub", "ann"}, {"ms", 1'000}};
  HttpSocket stream(port_);
  stream.Request("POST", "/v1/orgs/contoso/stream", Token(claims), "{}");
  HttpSocket delta(port_);
  delta.Request("GET", "/v1/orgs/contoso/delta", Token(claims));
  const auto over = clock_.SteadyNow() + std::chrono::milliseconds(1'500);
  while (clock_.SteadyNow() < over) {
    std::this_thread::yield();
  }
  other.reset();
  EXPECT_EQ(Code(stream.Read()), "token_expired");
  EXPECT_EQ(Code(delta.Read()), "token_expired");
}

TEST_F(ServingTest, OnlyWhatIsLostForGoodIsWiped) {
  StartServing();
  const auto wipe = [](const HttpReply& reply) {
    return json::parse(reply.body).value("wipe", false);
  };
  EXPECT_TRUE(wipe(Get("/v1/orgs/contoso/delta", {{"sub", "a"}, {"roles", {"office"}}})));
  const HttpReply never = Get("/v1/orgs/nobody/delta", {{"sub", "a"}, {"org", "nobody"}});
  EXPECT_EQ(never.status, 404);
  EXPECT_FALSE(wipe(never));
  stores_.Remove("contoso");
  for (const HttpReply& reply : {Get("/v1/orgs/contoso/delta"), Stream(json::object())}) {
    EXPECT_EQ(reply.status, 404);
    EXPECT_EQ(Code(reply), "org_not_found");
    EXPECT_TRUE(wipe(reply));
  }
  ServeWith(Error(absl::StatusCode::kUnavailable, "not_caught_up", "x"));
  const HttpReply behind = Get("/v1/orgs/contoso/delta");
  EXPECT_EQ(behind.status, 503);
  EXPECT_FALSE(wipe(behind));
}

// Of what a client has had of a history: what it sends to go on.
class OtherHistoryTest : public ServingTest {
 protected:
  void Load() {
    Put("A1", "n", "ann");
    Put("LOST", "n", "ann");
    Start();
    cursor_ = Delta("")["cursor"];
    const json checkpoint = FrameOf(Stream(json::object()).body, "checkpoint");
    bucket_ = checkpoint["buckets"][0]["bucket"];
    body_ = {{"have", {{{"bucket", bucket_}, {"after", checkpoint["position"]}}}},
             {"history", checkpoint["history"]}};
  }
  std::string cursor_;
  std::string bucket_;
  json body_;
};

// The log was restored to an earlier state: positions are given a second time.
TEST_F(OtherHistoryTest, AnotherHistoryIsToldApart) {
  std::atomic<int64_t> end = 1'000;
  options_.log_end = [&](const OrgId&, SteadyTime::duration) {
    return std::make_optional(absl::StatusOr<Offset>(Offset(end.load())));
  };
  Load();
  EXPECT_EQ(FrameOf(Stream(body_).body, "reset"), nullptr);
  EXPECT_EQ(FrameOf(Stream(body_).body, "ops"), nullptr);

  stores_.Remove("contoso");
  Define("contoso");
  // Not there yet, and the log has more than the cursor knows: a replica that is behind.
  EXPECT_EQ(Code(Get("/v1/orgs/contoso/delta?cursor=" + cursor_)), "not_caught_up");
  EXPECT_EQ(Code(Stream(body_)), "not_caught_up");
  // The log has no more than that.
  end = stores_.AppliedOf(*OrgId::Parse("contoso")).value() + 1;
  const HttpReply lost = Get("/v1/orgs/contoso/delta?limit=7&cursor=" + cursor_);
  EXPECT_EQ(lost.status, 410);
  EXPECT_EQ(Code(lost), "cursor_other_log");
  EXPECT_EQ(lost.headers.at("location"), "/v1/orgs/contoso/delta?limit=7");
  EXPECT_EQ(FrameOf(Stream(body_).body, "reset")["bucket"], bucket_);
  // Without `history` the position alone tells as much.
  json plain = body_;
  plain.erase("history");
  EXPECT_EQ(FrameOf(Stream(plain).body, "reset")["bucket"], bucket_);

  // It has come to the position again.
  for (int i = 0; i < 4; ++i) {
    Put("NEW" + std::to_string(i), "n", "ann");
  }
  EXPECT_EQ(Code(Get("/v1/orgs/contoso/delta?cursor=" + cursor_)), "cursor_other_log");
  const std::string frames = Stream(body_).body;
  EXPECT_EQ(FrameOf(frames, "reset")["bucket"], bucket_);
  EXPECT_NE(frames.find("NEW0"), std::string::npos);
}

// A broker that leads no more tells an end of before: a client that has seen more keeps what it
// has.
TEST_F(OtherHistoryTest, AnEndThatIsNotBelievedIsNoOtherHistory) {
  options_.catch_up_wait = std::chrono::milliseconds(100);
  options_.log_end = [&](const OrgId&, SteadyTime::duration) {
    return std::make_optional(absl::StatusOr<Offset>(Offset(1)));
  };
  std::atomic<bool> believed = false;
  options_.is_lost = [&](const OrgId&, Offset position, Offset end) {
    return position >= end && believed.load();
  };
  Load();
  body_.erase("history");
  stores_.Remove("contoso");
  Define("contoso");
  EXPECT_EQ(Code(Get("/v1/orgs/contoso/delta?cursor=" + cursor_)), "not_caught_up");
  EXPECT_EQ(Code(Stream(body_)), "not_caught_up");
  believed = true;
  EXPECT_EQ(Code(Get("/v1/orgs/contoso/delta?cursor=" + cursor_)), "cursor_other_log");
  EXPECT_NE(FrameOf(Stream(body_).body, "reset"), nullptr);
}

TEST_F(ServingTest, ALogThatDoesNotAnswerCountsAsNews) {
  options_.log_end = [](const OrgId&, SteadyTime::duration) {
    return std::make_optional(absl::StatusOr<Offset>(absl::UnavailableError("broker")));
  };
  Start();
  EXPECT_EQ(Code(Stream({{"have", {{{"bucket", "b"}, {"after", "999999"}}}}})), "not_caught_up");
}

// A partition without a leader: who asks for its end waits no longer than it may.
TEST_F(ServingTest, ALogThatSaysNothingIsWaitedForNoLongerThanItMay) {
  options_.catch_up_wait = std::chrono::milliseconds(100);
  std::atomic<int> looks = 0;
  std::atomic<SteadyTime::duration> first{};
  std::atomic<SteadyTime::duration> last{};
  options_.log_end = [&](const OrgId&, SteadyTime::duration ago) {
    if (looks++ == 0) {
      first = ago;
    }
    last = ago;
    return std::optional<absl::StatusOr<Offset>>();
  };
  options_.folded_until = [](const OrgId&) { return Offset(0); };
  Start();
  const HttpReply nobody = Get("/v1/orgs/nobody/delta", {{"sub", "ann"}, {"org", "nobody"}});
  EXPECT_EQ(nobody.status, 503);
  EXPECT_EQ(Code(nobody), "not_caught_up");
  // It is one question, which grows older: an answer to its first asking would have done.
  EXPECT_TRUE(looks == 1 || last.load() - first.load() >= std::chrono::milliseconds(10)) << looks;
  EXPECT_EQ(Code(Stream({{"have", {{{"bucket", "b"}, {"after", "999999"}}}}})), "not_caught_up");
}

TEST_F(ServingTest, ACursorMayComeAsABody) {
  Put("A1", "n", "ann");
  Put("A2", "n", "ann");
  Start();
  const json first = Delta("limit=1");
  HttpSocket socket(port_);
  socket.Request("POST", "/v1/orgs/contoso/delta", Token(kAnn),
                 json({{"cursor", first["cursor"]}, {"limit", 5}}).dump());
  const json second = json::parse(socket.Read().body);
  EXPECT_EQ(second["ops"].size(), 1u);
  EXPECT_EQ(second["ops"][0]["key"], "A2");
  socket.Request("POST", "/v1/orgs/contoso/delta", Token(kAnn), R"({"limit":0})");
  EXPECT_EQ(socket.Read().status, 400);
}

// However little answers may hold, everybody is answered in turn.
TEST_F(ServingTest, AnswersTakeTurns) {
  options_.answer_bytes_max = 1;
  for (int i = 0; i < 20; ++i) {
    Put("A" + std::to_string(i), std::string(1'000, 'x'), "ann");
  }
  Start();
  std::vector<std::thread> clients;
  std::atomic<int> complete = 0;
  for (int i = 0; i < 8; ++i) {
    clients.emplace_back([&, i] {
      const HttpReply reply = i % 2 == 0 ? Stream(json::object()) : Get("/v1/orgs/contoso/delta");
      complete += reply.status == 200 && reply.body.find("A19") != std::string::npos;
    });
  }
  for (std::thread& client : clients) {
    client.join();
  }
  EXPECT_EQ(complete, 8);
}

// The list of entities may be as large as a page of rows.
TEST_F(ServingTest, ListsOfEntitiesTakeTurnsWithAnswers) {
  Define("fabrikam");
  PutMuch("fabrikam");
  options_.answer_bytes_max = 1;  // one at a time
  options_.answer_wait = std::chrono::milliseconds(50);
  Start();
  EXPECT_EQ(Get("/v1/orgs/contoso/entities").status, 200);
  auto other = Unread("fabrikam");
  EXPECT_EQ(other->Read(false).status, 200);
  // Others have turns until its sockets are full.
  const auto end = clock_.SteadyNow() + std::chrono::seconds(60);
  HttpReply reply;
  do {
    reply = Get("/v1/orgs/contoso/entities");
  } while (reply.status == 200 && clock_.SteadyNow() < end);
  EXPECT_EQ(Code(reply), "answers_queue_full");
  other.reset();
  while (reply.status != 200 && clock_.SteadyNow() < end) {
    reply = Get("/v1/orgs/contoso/entities");
  }
  EXPECT_EQ(reply.status, 200);
}

// A live stream asks for no more than a change needs: that much is left also beside one of the same
// caller's that is not read.
TEST_F(ServingTest, AChangeNeedsLittleOfWhatAnswersMayHold) {
  options_.answer_bytes_max = size_t{4} << 20;  // a caller has 512 KiB of it: a piece of a load
  options_.heartbeat = std::chrono::seconds(20);
  options_.registry = std::make_shared<prometheus::Registry>();
  PutMuch();
  Start();
  HttpSocket live(port_);
  live.Request("POST", "/v1/orgs/contoso/stream", Token(kAnn), R"({"live":true})");
  ASSERT_EQ(live.Read(false).status, 200);
  ASSERT_TRUE(ReadUntil(live, "checkpoint_complete"));
  const auto unread = Unread();
  while (AnswerBytes() < 256 << 10) {
    std::this_thread::yield();
  }
  // Before and after the sockets of the one that does not read are full.
  for (int i = 0; i < 100; ++i) {
    Put("B", "change " + std::to_string(i) + ".", "ann");
    ASSERT_TRUE(ReadUntil(live, "change " + std::to_string(i) + "."));
  }
}

// More of one organisation than may wait for a share of what answers may hold are woken at once:
// they have their places, and get the change in turns.
class CrowdTest : public ServingTest {
 protected:
  static constexpr size_t kCrowd = 100;  // a quarter of the connections may wait

  CrowdTest() {
    options_.sessions_max = 2 * kCrowd;
    options_.connections_max = 2 * kCrowd;
    options_.answer_bytes_max = 4 * kCrowd;  // one at a time
    options_.heartbeat = std::chrono::seconds(20);
    Put("T1", "before", "nobody", "north");
    Start();
  }
  static std::string TokenOf(size_t i) {
    return Token({{"sub", "user" + std::to_string(i % 20)}, {"teams", {"north"}}});
  }
};

TEST_F(CrowdTest, AChangeThatManyLiveStreamsShareEndsNone) {
  std::vector<std::unique_ptr<HttpSocket>> streams;
  for (size_t i = 0; i < kCrowd; ++i) {
    streams.push_back(std::make_unique<HttpSocket>(port_));
    streams.back()->Request("POST", "/v1/orgs/contoso/stream", TokenOf(i), R"({"live":true})");
    ASSERT_EQ(streams.back()->Read(false).status, 200);
    ASSERT_TRUE(ReadUntil(*streams.back(), "checkpoint_complete"));
  }
  for (const char* name : {"first", "second"}) {
    Put("T1", name, "nobody", "north");
    for (const auto& stream : streams) {
      ASSERT_TRUE(ReadUntil(*stream, name)) << "it has ended";
      ASSERT_TRUE(ReadUntil(*stream, "checkpoint_complete"));
    }
  }
}

TEST_F(CrowdTest, AChangeForWhichManyDeltasWaitReachesAll) {
  const std::string cursor =
      Delta("", {{"sub", "user0"}, {"teams", {"north"}}})["cursor"].get<std::string>();
  std::vector<std::unique_ptr<HttpSocket>> deltas;
  for (size_t i = 0; i < kCrowd; ++i) {
    deltas.push_back(std::make_unique<HttpSocket>(port_));
    deltas.back()->Request("GET", "/v1/orgs/contoso/delta?wait=60s&cursor=" + cursor, TokenOf(i));
    while (server_->sessions() <= i) {
      std::this_thread::yield();
    }
  }
  Put("T1", "after", "nobody", "north");
  for (const auto& delta : deltas) {
    const HttpReply reply = delta->Read();
    EXPECT_EQ(reply.status, 200) << reply.body;
    EXPECT_NE(reply.body.find("after"), std::string::npos);
  }
}

// Streams of one caller that are not read hold no more than half of what its organisation may.
TEST_F(ServingTest, WhoDoesNotReadHoldsUpNobodyElseOfItsOrganisation) {
  options_.answer_bytes_max = size_t{16} << 20;
  options_.registry = std::make_shared<prometheus::Registry>();
  PutMuch();
  Put("B", "of bob", "bob");
  Start();
  std::vector<std::unique_ptr<HttpSocket>> unread;
  for (int i = 0; i < 40; ++i) {
    unread.push_back(Unread());
  }
  while (AnswerBytes() < 1'400'000) {
    std::this_thread::yield();
  }
  // Before and after the sockets of those who do not read are full.
  for (int i = 0; i < 300; ++i) {
    HttpSocket bob(port_);
    bob.Request("POST", "/v1/orgs/contoso/stream", Token({{"sub", "bob"}}), "{}");
    EXPECT_NE(ReadWhole(bob).body.find("of bob"), std::string::npos);
    EXPECT_LE(AnswerBytes(), 4 << 20);
  }
}

}  // namespace
}  // namespace sluice::gateways

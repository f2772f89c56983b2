#include <sys/socket.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/integration/gateways/sync_fixture.h"

namespace sluice::gateways {
namespace {

using sluice::testing::HttpReply;
using sluice::testing::HttpSocket;

class DeltaTest : public SyncTest {};

TEST_F(DeltaTest, PagesThenDifferences) {
  for (int i = 0; i < 25; ++i) {
    Put("A" + std::to_string(i), "n", i % 5 == 0 ? "bob" : "ann", i % 5 == 0 ? "north" : "");
  }
  Start();
  std::string cursor;
  size_t rows = 0;
  json page;
  do {
    page = Delta("limit=7&cursor=" + cursor);
    rows += page["ops"].size();
    EXPECT_LE(page["ops"].size(), 7u);
    cursor = page["cursor"];
  } while (page["more"]);
  EXPECT_EQ(rows, 20u);
  EXPECT_EQ(page["position"], std::to_string(stores_.AppliedOf(*OrgId::Parse("contoso")).value()));

  Put("A1", "new", "ann");
  const Offset moved = Put("A2", "n", "bob");
  Delete("A3");
  page = Delta("cursor=" + cursor);
  ASSERT_EQ(page["ops"].size(), 3u);
  EXPECT_EQ(page["ops"][0]["op"], "put");
  EXPECT_EQ(page["ops"][0]["row"], json({{"id", "A1"}, {"name", "new"}, {"owner", "ann"}}));
  EXPECT_EQ(page["ops"][1], json({{"op", "remove"},
                                  {"entity", "account"},
                                  {"key", "A2"},
                                  {"position", Position{moved, 0}.ToString()}}));
  cursor = page["cursor"];

  // The caller joins a team and leaves it again.
  page = Delta("cursor=" + cursor, {{"sub", "ann"}, {"teams", {"north"}}});
  EXPECT_EQ(page["ops"].size(), 5u);
  page = Delta("cursor=" + std::string(page["cursor"]));
  ASSERT_EQ(page["ops"].size(), 5u);
  EXPECT_EQ(page["ops"][4]["op"], "remove");
  EXPECT_FALSE(page["more"]);
}

// Whatever the names of its entities come to.
TEST_F(DeltaTest, ACursorThatIsGivenIsTaken) {
  using sluice::testing::DefineEntity;
  std::vector<std::string> names;
  std::vector<sluice::testing::EntityRuleKinds> rules;
  for (uint32_t i = 1; i <= 400; ++i) {
    std::string& name = names.emplace_back("e" + std::to_string(i));
    name.resize(128, 'x');
    stores_.Add("contoso", DefineEntity(100 + i, name, {{1, "id"}}));
    rules.push_back({name, {v1::RULE_KIND_ALL}});
  }
  stores_.Add("contoso", sluice::testing::DefineRole("all", true, names));
  stores_.Add("contoso", sluice::testing::DefineProfile("wide", rules, {"all"}));
  for (const std::string key : {"A1", "A2"}) {
    sluice::testing::RowWriter row;
    stores_.Add("contoso", sluice::testing::MakeSet(
                               {sluice::testing::Upsert(101, key, row.Text(1, key).bytes())}));
  }
  Start();
  const json caller = {{"sub", "ann"}, {"roles", {"all"}}};
  const json first = Delta("limit=1", caller);
  EXPECT_TRUE(first["more"]);
  HttpSocket socket(port_);
  socket.Request("POST", "/v1/orgs/contoso/delta", Token(caller),
                 json({{"cursor", first["cursor"]}, {"limit", 1}}).dump());
  const HttpReply second = socket.Read();
  ASSERT_EQ(second.status, 200) << second.body;
  EXPECT_EQ(json::parse(second.body)["ops"][0]["key"], "A2");
}

TEST_F(DeltaTest, Refusals) {
  Put("A1", "n", "ann");
  Define("fabrikam");
  Start();
  const std::string path = "/v1/orgs/contoso/delta";
  const std::string cursor = Delta("")["cursor"];
  for (const char* query : {"limit=0", "limit=x", "limit=-3", "wait=x", "wait=-1s",
                            "min_position=a", "limit=1&limit=2", "cursor=%zz"}) {
    EXPECT_EQ(Get(path + "?" + query).status, 400) << query;
  }
  EXPECT_EQ(Delta("limit=99999999999999999999&wait=0s")["more"], false);
  EXPECT_EQ(Code(Get(path + "?cursor=abc")), "cursor_invalid");
  const HttpReply other =
      Get("/v1/orgs/fabrikam/delta?cursor=" + cursor, {{"sub", "ann"}, {"org", "fabrikam"}});
  EXPECT_EQ(Code(other), "cursor_other_org");
  EXPECT_EQ(other.status, 403);
  EXPECT_EQ(Get("/v1/orgs/fabrikam/delta").status, 403);
  EXPECT_EQ(Code(Get(path, {{"sub", "ann"}, {"scopes", 1}})), "forbidden");
  EXPECT_EQ(Code(Get(path, {{"sub", "ann"}, {"roles", {"office"}}})), "offline_not_allowed");
  EXPECT_EQ(Code(Get("/v1/orgs/nobody/delta", {{"sub", "ann"}, {"org", "nobody"}})),
            "org_not_found");
  EXPECT_EQ(Get(path, {{"sub", "slow"}}).status, 200);

  HttpSocket socket(port_);
  socket.Request("GET", path, "");
  const HttpReply missing = socket.Read();
  EXPECT_EQ(missing.status, 401);
  EXPECT_EQ(missing.headers.at("www-authenticate"), "Bearer");
  // The connection goes on.
  socket.Request("DELETE", path, Token(kAnn));
  const HttpReply method = socket.Read();
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.headers.at("allow"), "GET, HEAD, POST");
  socket.Request("GET", "/nothing", Token(kAnn));
  EXPECT_EQ(socket.Read().status, 404);
  socket.Request("HEAD", path, Token(kAnn) + "X-Request-Id: r-1\r\n");
  const HttpReply head = socket.Read(false);
  EXPECT_EQ(head.status, 200);
  EXPECT_EQ(head.headers.at("x-request-id"), "r-1");
  socket.Request("GET", "/healthz", "");
  EXPECT_EQ(socket.Read().status, 200);
}

TEST_F(DeltaTest, NobodyIsToldThatAnOrganisationIsMissingBeforeTheLogIsRead) {
  std::atomic<bool> behind = true;
  options_.not_ready = [&] {
    return behind ? std::vector<std::string>{"staging: behind"} : std::vector<std::string>{};
  };
  Start();
  const json nobody = {{"sub", "ann"}, {"org", "nobody"}};
  for (const char* path : {"/v1/orgs/nobody/delta", "/v1/orgs/nobody/entities"}) {
    behind = true;
    const HttpReply early = Get(path, nobody);
    EXPECT_EQ(Code(early), "not_caught_up") << path;
    EXPECT_EQ(early.status, 503);
    behind = false;
    EXPECT_EQ(Code(Get(path, nobody)), "org_not_found") << path;
  }
  behind = true;
  EXPECT_EQ(Get("/v1/orgs/contoso/delta", {{"sub", "ann"}}).status, 200);
}

TEST_F(DeltaTest, TooManyBuckets) {
  options_.buckets_per_caller = 2;
  Start();
  const HttpReply reply =
      Get("/v1/orgs/contoso/delta", {{"sub", "ann"}, {"teams", {"a", "b", "c"}}});
  EXPECT_EQ(reply.status, 403);
  EXPECT_EQ(Code(reply), "too_many_buckets");
}

TEST_F(DeltaTest, UnusableCursorsPointToAFreshStart) {
  Put("A1", "n", "ann");
  Start();
  const std::string cursor = Delta("")["cursor"];
  stores_.SetHorizon("contoso", Put("A1", "m", "ann"));
  const HttpReply expired = Get("/v1/orgs/contoso/delta?limit=5&cursor=" + cursor + "&wait=1s");
  EXPECT_EQ(expired.status, 410);
  EXPECT_EQ(Code(expired), "cursor_expired");
  EXPECT_EQ(expired.headers.at("location"), "/v1/orgs/contoso/delta?limit=5&wait=1s");

  stores_.Remove("contoso");
  Define("contoso", 2);
  EXPECT_EQ(Code(Get("/v1/orgs/contoso/delta?cursor=" + cursor)), "org_reprovisioned");

  server_->Stop();
  options_.log_id = "log-2";
  Start();
  const HttpReply log = Get("/v1/orgs/contoso/delta?cursor=" + cursor);
  EXPECT_EQ(log.status, 410);
  EXPECT_EQ(Code(log), "cursor_other_log");
}

TEST_F(DeltaTest, WaitsForAPosition) {
  const Offset last = Put("A1", "n", "ann");
  Start();
  const std::string next = std::to_string(last.value() + 1);
  const HttpReply behind = Get("/v1/orgs/contoso/delta?min_position=" + next);
  EXPECT_EQ(behind.status, 503);
  EXPECT_EQ(Code(behind), "not_caught_up");
  EXPECT_TRUE(behind.headers.contains("retry-after"));

  HttpSocket socket(port_);
  socket.Request("GET", "/v1/orgs/contoso/delta?wait=20s&min_position=" + next, Token(kAnn));
  while (server_->sessions() == 0) {
    std::this_thread::yield();
  }
  Put("A2", "n", "ann");
  const HttpReply reply = socket.Read();
  EXPECT_EQ(json::parse(reply.body)["ops"].size(), 2u);
}

TEST_F(DeltaTest, AStoreAmidALargeEventIsWaitedFor) {
  Put("A1", "n", "ann");
  stores_.SetAmidLargeEvent("contoso", true);
  Start();
  const HttpReply early = Get("/v1/orgs/contoso/delta");
  EXPECT_EQ(early.status, 503);
  EXPECT_EQ(Code(early), "not_caught_up");
  EXPECT_TRUE(early.headers.contains("retry-after"));

  HttpSocket socket(port_);
  socket.Request("GET", "/v1/orgs/contoso/delta?wait=20s", Token(kAnn));
  while (server_->sessions() == 0) {
    std::this_thread::yield();
  }
  stores_.SetAmidLargeEvent("contoso", false);
  const HttpReply reply = socket.Read();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(json::parse(reply.body)["ops"].size(), 1u);
}

TEST_F(DeltaTest, ManyWaitForOneChange) {
  Put("A1", "n", "ann");
  Start();
  const std::string cursor = Delta("")["cursor"];
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  constexpr size_t kWaiting = 400;
  for (size_t i = 0; i < kWaiting; ++i) {
    sockets.push_back(std::make_unique<HttpSocket>(port_));
    sockets.back()->Request("GET", "/v1/orgs/contoso/delta?wait=60s&cursor=" + cursor, Token(kAnn));
  }
  while (server_->sessions() < kWaiting) {
    std::this_thread::yield();
  }
  EXPECT_LE(stores_.subscriptions(), options_.threads);
  Put("A9", "n", "bob");  // not theirs: they go on waiting
  Put("A2", "n", "ann");
  for (const auto& socket : sockets) {
    const HttpReply reply = socket->Read();
    ASSERT_EQ(reply.status, 200);
    EXPECT_EQ(json::parse(reply.body)["ops"][0]["key"], "A2");
  }
  EXPECT_EQ(server_->sessions(), 0u);
}

TEST_F(DeltaTest, WaitingIsLimitedAndEndsWithTheServer) {
  options_.sessions_max = 1;
  Start();
  HttpSocket first(port_);
  first.Request("GET", "/v1/orgs/contoso/delta?wait=60s", Token(kAnn));
  while (server_->sessions() == 0) {
    std::this_thread::yield();
  }
  const HttpReply second = Get("/v1/orgs/contoso/delta?wait=60s");
  EXPECT_EQ(second.status, 503);
  EXPECT_EQ(Code(second), "too_many_sessions");
  HttpSocket idle(port_);
  server_->Stop();
  EXPECT_EQ(first.Read().status, 200);
  EXPECT_TRUE(idle.Closed());
}

// Places are given back when clients go, not when their waits would have ended; also where bytes
// that nobody reads lie before the end.
TEST_F(DeltaTest, WhoHasGoneGivesItsPlaceBack) {
  Start();
  const SteadyTime start = clock_.SteadyNow();
  for (const bool more : {false, true}) {
    std::vector<std::unique_ptr<HttpSocket>> sockets;
    for (int i = 0; i < 20; ++i) {
      sockets.push_back(std::make_unique<HttpSocket>(port_));
      sockets.back()->Request("GET", "/v1/orgs/contoso/delta?wait=60s", Token(kAnn));
    }
    while (server_->sessions() < sockets.size()) {
      std::this_thread::yield();
    }
    for (const auto& socket : sockets) {
      socket->Send(more ? "GET /healthz HTTP/1.1\r\n" : "");
    }
    sockets.clear();
    while (server_->sessions() > 0) {
      std::this_thread::yield();
    }
  }
  EXPECT_LT(clock_.SteadyNow() - start, std::chrono::seconds(30));
}

TEST_F(DeltaTest, WhoHasClosedOnlyItsSideIsAnsweredAtOnce) {
  Start();
  HttpSocket socket(port_);
  const SteadyTime start = clock_.SteadyNow();
  socket.Request("GET", "/v1/orgs/contoso/delta?wait=60s", Token(kAnn));
  while (server_->sessions() == 0) {
    std::this_thread::yield();
  }
  ::shutdown(socket.fd(), SHUT_WR);
  const HttpReply reply = socket.Read();
  EXPECT_EQ(reply.status, 200);
  EXPECT_EQ(json::parse(reply.body)["more"], false);
  EXPECT_LT(clock_.SteadyNow() - start, std::chrono::seconds(30));
}

TEST_F(DeltaTest, AnotherRequestBehindAWaitingOneIsAnsweredAfterIt) {
  Start();
  HttpSocket socket(port_);
  socket.Request("GET", "/v1/orgs/contoso/delta?wait=60s", Token(kAnn));
  socket.Request("GET", "/healthz", "");
  while (server_->sessions() == 0) {
    std::this_thread::yield();
  }
  Put("A1", "n", "ann");
  EXPECT_EQ(json::parse(socket.Read().body)["ops"][0]["key"], "A1");
  EXPECT_EQ(json::parse(socket.Read().body)["status"], "ok");
  socket.Request("GET", "/v1/orgs/contoso/delta?wait=1ms", Token(kAnn));
  EXPECT_EQ(socket.Read().status, 200);
}

TEST_F(DeltaTest, OneOrganisationLeavesPlacesToOthers) {
  Define("fabrikam");
  options_.sessions_max = 10;
  Start();
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  for (size_t i = 0; i < 8; ++i) {
    sockets.push_back(std::make_unique<HttpSocket>(port_));
    sockets.back()->Request("GET", "/v1/orgs/contoso/delta?wait=60s",
                            Token({{"sub", "user" + std::to_string(i)}}));
    while (server_->sessions() <= i) {
      std::this_thread::yield();
    }
  }
  EXPECT_EQ(Code(Get("/v1/orgs/contoso/delta?wait=60s")), "too_many_sessions");
  const json bob = {{"sub", "bob"}, {"org", "fabrikam"}};
  HttpSocket other(port_);
  other.Request("POST", "/v1/orgs/fabrikam/stream", Token(bob), "{}");
  EXPECT_EQ(other.Read(false).status, 200);
}

TEST_F(DeltaTest, OneCallerLeavesPlacesToItsColleagues) {
  options_.sessions_max = 10;
  Start();
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  for (size_t i = 0; i < 4; ++i) {
    sockets.push_back(std::make_unique<HttpSocket>(port_));
    sockets.back()->Request("POST", "/v1/orgs/contoso/stream", Token(kAnn), R"({"live":true})");
    ASSERT_EQ(sockets.back()->Read(false).status, 200);
  }
  EXPECT_EQ(Code(Get("/v1/orgs/contoso/delta?wait=60s")), "too_many_sessions");
  HttpSocket stream(port_);
  stream.Request("POST", "/v1/orgs/contoso/stream", Token(kAnn), R"({"live":true})");
  EXPECT_EQ(Code(stream.Read()), "too_many_sessions");
  EXPECT_EQ(Get("/v1/orgs/contoso/delta").status, 200) << "what does not wait is no session";
  HttpSocket bob(port_);
  bob.Request("POST", "/v1/orgs/contoso/stream", Token({{"sub", "bob"}}), R"({"live":true})");
  EXPECT_EQ(bob.Read(false).status, 200);
}

// What a session keeps grows with its buckets.
TEST_F(DeltaTest, ManyBucketsTakeSeveralPlaces) {
  options_.sessions_max = 100;  // of which one caller may have 40
  Start();
  json ann = kAnn;
  for (int i = 0; i < 640; ++i) {
    ann["teams"].push_back("t" + std::to_string(i));
  }
  std::vector<std::unique_ptr<HttpSocket>> sockets;
  for (size_t i = 1; i <= 3; ++i) {
    sockets.push_back(std::make_unique<HttpSocket>(port_));
    sockets.back()->Request("POST", "/v1/orgs/contoso/stream", Token(ann), R"({"live":true})");
    ASSERT_EQ(sockets.back()->Read(false).status, 200);
    EXPECT_EQ(server_->sessions(), i * 11);  // 641 buckets
  }
  EXPECT_EQ(Code(Get("/v1/orgs/contoso/delta?wait=60s", ann)), "too_many_sessions");
  HttpSocket stream(port_);
  stream.Request("POST", "/v1/orgs/contoso/stream", Token(ann), R"({"live":true})");
  EXPECT_EQ(Code(stream.Read()), "too_many_sessions");
  EXPECT_EQ(server_->sessions(), 33U);
  const auto define = [&](v1::RuleKind kind) {
    stores_.Add("contoso", sluice::testing::DefineProfile("p", {{"account", {kind}}}, {"field"}));
  };
  define(v1::RULE_KIND_USER);  // one bucket for each
  while (server_->sessions() != 3) {
    std::this_thread::yield();
  }
  auto waiting = std::make_unique<HttpSocket>(port_);
  waiting->Request("GET", "/v1/orgs/contoso/delta?wait=60s", Token(ann));
  while (server_->sessions() != 4) {
    std::this_thread::yield();
  }
  define(v1::RULE_KIND_TEAM);
  while (server_->sessions() < 33) {
    std::this_thread::yield();
  }
  sockets.clear();
  waiting.reset();
  while (server_->sessions() != 0) {
    std::this_thread::yield();
  }
}

// A small server is not too small for its largest callers.
TEST_F(DeltaTest, WhoHasManyBucketsGetsInWhereThereAreFewPlaces) {
  options_.sessions_max = 20;
  Start();
  json ann = kAnn;
  for (int i = 0; i < 999; ++i) {
    ann["teams"].push_back("t" + std::to_string(i));
  }
  HttpSocket socket(port_);
  socket.Request("POST", "/v1/orgs/contoso/stream", Token(ann), R"({"live":true})");
  ASSERT_EQ(socket.Read(false).status, 200);
  EXPECT_EQ(server_->sessions(), 3U);
}

TEST_F(DeltaTest, WhatIsNoRequest) {
  options_.body_bytes_max = 1000;
  options_.idle_timeout = std::chrono::milliseconds(300);
  Start();
  HttpSocket garbage(port_);
  garbage.Send("\x01\x02 nonsense\r\n\r\n");
  EXPECT_EQ(garbage.Read().status, 400);
  HttpSocket wide(port_);
  wide.Request("GET", "/healthz", "X: " + std::string(70'000, 'x') + "\r\n");
  EXPECT_EQ(wide.Read().status, 413);
  HttpSocket large(port_);
  large.Request("POST", "/v1/orgs/contoso/stream", Token(kAnn), std::string(2'000, ' '));
  EXPECT_EQ(large.Read().status, 413);
  HttpSocket slow(port_);
  slow.Send("GET /heal");
  EXPECT_TRUE(slow.Closed());
  HttpSocket silent(port_);
  EXPECT_TRUE(silent.Closed());
}

// The token was good when the request began: rows that come after its end are not shown.
TEST_F(DeltaTest, ATokenEndsAlsoWhileItsRequestIsUnderWay) {
  Start();
  const std::string cursor = Delta("")["cursor"];
  const json brief = {{"sub", "ann"}, {"ms", 300}};
  const SteadyTime begun = clock_.SteadyNow();
  const json page = Delta("wait=60s&cursor=" + cursor, brief);
  EXPECT_LT(clock_.SteadyNow() - begun, std::chrono::seconds(20));
  EXPECT_TRUE(page["ops"].empty());
  sluice::testing::HttpSocket slow(port_);
  slow.Send("POST /v1/orgs/contoso/delta HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n" +
            Token(brief) + "Content-Length: 2\r\n\r\n");
  EXPECT_EQ(slow.Read(/*with_body=*/false).status, 100);
  const SteadyTime end = clock_.SteadyNow() + std::chrono::milliseconds(310);
  while (clock_.SteadyNow() < end) {
    std::this_thread::yield();
  }
  slow.Send("{}");
  const sluice::testing::HttpReply reply = slow.Read();
  EXPECT_EQ(reply.status, 401);
  EXPECT_EQ(Code(reply), "token_expired");
}

}  // namespace
}  // namespace sluice::gateways

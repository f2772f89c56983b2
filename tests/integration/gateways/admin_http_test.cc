// The HTTP layer of the admin listener from raw sockets: what is refused, who is read, who waits.
#include <gmock/gmock.h>

#include <thread>

#include "tests/integration/gateways/admin_fixture.h"
#include "tests/integration/gateways/raw_socket.h"
#include "tests/support/scripted_server.h"
#include "tests/support/stalling_log.h"
#include "tests/unit/gateways/auth/test_keys.h"

namespace sluice::testing {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

std::string Post(const std::string& headers, const std::string& token = "sluice.ingest") {
  return std::string("POST ") + kChanges + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " +
         token + "\r\nContent-Type: application/x-ndjson\r\n" + headers + "\r\n";
}

class AdminHttpTest : public ::testing::Test {
 protected:
  std::string Ask(const std::string& bytes) {
    RawSocket socket(admin_.port());
    socket.Send(bytes);
    socket.SendNoMore();
    return socket.ReadAll();
  }

  AdminFixture admin_;
  httplib::Client client_ = admin_.Client();
};

TEST_F(AdminHttpTest, AHeadIsBounded) {
  RawSocket socket(admin_.port());
  socket.Send("GET /healthz HTTP/1.1\r\nHost: x\r\n");
  std::string sent;
  while (sent.size() < (1 << 20) && socket.Send("X: " + std::string(500, 'x') + "\r\n")) {
    sent.append(500, 'x');
  }
  EXPECT_THAT(socket.ReadAll(), StartsWith("HTTP/1.1 400 "));
}

TEST_F(AdminHttpTest, EveryAnswerHasARequestIdAndIsNotStored) {
  for (const std::string& request : std::vector<std::string>{
           std::string("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"),
           std::string("GET /v1/orgs HTTP/1.1\r\nHost: x\r\n\r\n"), std::string("nonsense\r\n\r\n"),
           std::string("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n")}) {
    const std::string answer = Ask(request);
    EXPECT_THAT(answer, HasSubstr("X-Request-Id: ")) << request;
    EXPECT_THAT(answer, HasSubstr("Cache-Control: no-store")) << request;
  }
  EXPECT_THAT(Ask("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine-1\r\n\r\n"),
              HasSubstr("X-Request-Id: mine-1\r\n"));
  EXPECT_THAT(Ask("GET /healthz HTTP/1.1\r\nHost: x\r\nX-Request-Id: " + std::string(200, 'x') +
                  "\r\n\r\n"),
              Not(HasSubstr("xxxx")));
}

// A caller that nobody knows and that sends all before it reads is told 401, not reset.
TEST_F(AdminHttpTest, AStrangersLargeBodyEndsWithTheAnswer) {
  RawSocket stranger(admin_.port());
  const std::string body(size_t{20} << 20, 'x');
  EXPECT_TRUE(stranger.Send(
      Post("Content-Length: " + std::to_string(body.size()) + "\r\n", "nobody") + body));
  EXPECT_THAT(stranger.ReadAll(), StartsWith("HTTP/1.1 401 "));
}

TEST_F(AdminHttpTest, ListsOfHeadersAreReadAsOne) {
  admin_.MakeOrg("contoso");
  const std::string path = "/v1/orgs/contoso/entities/account";
  const std::string etag = client_.Get(path)->get_header_value("ETag");
  const auto status = [&](httplib::Headers headers) { return client_.Get(path, headers)->status; };
  EXPECT_EQ(status({{"If-None-Match", "\"x\""}, {"If-None-Match", etag}}), 304);
  EXPECT_EQ(
      client_.Put(path, {{"If-Match", "\"x\""}, {"If-Match", etag}}, kAccount, "application/json")
          ->status,
      200);
  const auto proto = client_.Get(path, {{"Accept", "text/html"}, {"Accept", "text/x-protobuf"}});
  EXPECT_EQ(proto->get_header_value("Content-Type"), "text/x-protobuf");
  EXPECT_EQ(proto->get_header_value("Vary"), "Accept");
}

TEST_F(AdminHttpTest, AnswersAreCompressedForThoseWhoTakeIt) {
  const auto coding = [&](const std::string& accepted) {
    const std::string answer =
        Ask("GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sluice.admin\r\n" +
            accepted + "Connection: close\r\n\r\n");
    EXPECT_THAT(answer, HasSubstr("\r\nVary: Accept-Encoding\r\n"));
    return answer.find("\r\nContent-Encoding: gzip\r\n") != std::string::npos;
  };
  EXPECT_TRUE(coding("Accept-Encoding: br, gzip\r\n"));
  EXPECT_TRUE(coding("Accept-Encoding: br\r\nAccept-Encoding: gzip;q=0.5\r\n"));
  EXPECT_TRUE(coding("Accept-Encoding: *\r\n"));
  EXPECT_FALSE(coding(""));
  EXPECT_FALSE(coding("Accept-Encoding: gzip;q=0, br\r\n"));
  EXPECT_FALSE(coding("Accept-Encoding: gzip;q=0.5, identity\r\n"));
}

TEST_F(AdminHttpTest, AnswersGoOutWhileTheBodyIsStillSent) {
  admin_.MakeOrg("contoso");
  RawSocket socket(admin_.port());
  socket.Send(Post("Transfer-Encoding: chunked\r\n"));
  socket.Send(Chunk(SetLine("first", "A") + "\n"));
  EXPECT_THAT(socket.ReadUntil(R"("id":"first","position")"),
              HasSubstr(R"("id":"first","position")"));
  socket.Send(Chunk(SetLine("second", "B") + "\nrubbish\n"));
  EXPECT_THAT(socket.ReadUntil("invalid_json"), HasSubstr(R"("id":"second","position")"));
  socket.Send("0\r\n\r\n");
  const std::string answer = socket.ReadUntil("\r\n0\r\n\r\n");
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
  // The connection is still good.
  socket.Send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(socket.ReadAll(), HasSubstr(R"({"status":"ok"})"));
}

TEST_F(AdminHttpTest, ABodyThatBreaksOffAfterAnswersEndsWithAnError) {
  admin_.MakeOrg("contoso");
  RawSocket socket(admin_.port());
  socket.Send(Post("Transfer-Encoding: chunked\r\n") + Chunk(SetLine("first", "A") + "\n"));
  socket.ReadUntil(R"("position")");
  socket.Send("zz\r\n");
  const std::string answer = socket.ReadAll();
  EXPECT_THAT(answer, HasSubstr(R"({"error":{"type":)"));
  EXPECT_THAT(answer, HasSubstr("\r\n0\r\n\r\n"));
}

// What was answered stays so; the set that comes too late is told why, and the request ends.
TEST_F(AdminHttpTest, ATokenEndsAlsoInTheMiddleOfARequest) {
  admin_.MakeOrg("contoso");
  RawSocket lines(admin_.port());
  lines.Send(Post("Transfer-Encoding: chunked\r\n", "sluice.ingest ms=500"));
  const auto end = std::chrono::steady_clock::now() + kAdminPatience;
  int sent = 0;
  while (std::chrono::steady_clock::now() < end &&
         lines.Send(Chunk(SetLine(std::to_string(sent), "A") + "\n"))) {
    const std::string id = R"({"id":")" + std::to_string(sent++) + R"(","position")";
    if (lines.ReadUntil(id).find(id) == std::string::npos) {
      break;  // it has closed
    }
  }
  EXPECT_GT(sent, 0);
  EXPECT_THAT(lines.ReadAll(), HasSubstr("token_expired"));
  // A body that is held whole is looked at when it has come.
  RawSocket whole(admin_.port());
  const auto begun = std::chrono::steady_clock::now();
  whole.Send(
      "PUT /v1/orgs/contoso/roles/r HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
      "Authorization: Bearer sluice.admin ms=300\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_THAT(whole.ReadUntil("\r\n\r\n"), HasSubstr(" 100 "));
  while (std::chrono::steady_clock::now() < begun + std::chrono::milliseconds(310)) {
    std::this_thread::yield();
  }
  whole.Send("{}");
  EXPECT_THAT(whole.ReadUntil("token_expired"), HasSubstr("HTTP/1.1 401 "));
}

TEST_F(AdminHttpTest, EventsNameWhoMadeThem) {
  admin_.MakeOrg("contoso");
  const auto sent = client_.Post(kChanges, {{"X-Request-Id", "req-7"}}, SetLine("1", "A"), kLines);
  ASSERT_EQ(sent->status, 200);
  const Offset position(std::stoll(json::parse(sent->body)["position"].get<std::string>()));
  const auto partition = admin_.log().PartitionFor(eventlog::Topic::kChanges, "contoso");
  auto reader = *admin_.log().OpenReader(eventlog::Topic::kChanges, partition, position);
  const auto batch = *reader->Read({});
  const eventlog::Cause cause{.subject = "tester", .issuer = "tests", .request_id = "req-7"};
  ASSERT_EQ(batch.at(0).offset, position);
  EXPECT_EQ(batch[0].event.cause, cause);
  v1::ChangeSet set;
  ASSERT_TRUE(set.ParseFromString(batch[0].event.value));
  EXPECT_EQ(set.incarnation(), 1U);

  ASSERT_EQ(
      client_.Put("/v1/orgs/contoso/roles/r", {{"X-Request-Id", "req-7"}}, "{}", kLines)->status,
      200);
  auto requests = *admin_.log().OpenReader(
      eventlog::Topic::kProvisioning,
      admin_.log().PartitionFor(eventlog::Topic::kProvisioning, "contoso"), Offset(0));
  bool found = false;
  while (!found) {
    const auto events = *requests->Read({});
    ASSERT_FALSE(events.empty());
    for (const auto& stored : events) {
      found = found ||
              (stored.event.type == "sluice.v1.ProvisioningRequest" && stored.event.cause == cause);
    }
  }
}

TEST_F(AdminHttpTest, ASetSentAgainIsAnsweredAsTheFirstTimeWhateverTheSchemaSays) {
  admin_.MakeOrg("contoso");
  const std::string set = SetLine("same", "A");
  const auto first = client_.Post(std::string(kChanges) + "?wait=30s", set, kLines);
  ASSERT_EQ(first->status, 200);
  admin_.stores().SetPaused(true);
  // One that is durable and not applied, and one that the store knows.
  const auto fresh = client_.Post(kChanges, SetLine("fresh", "A"), kLines);
  constexpr char kWithoutName[] =
      R"({"primary_key":"accountid","attributes":[{"name":"accountid","type":"string"},)"
      R"({"name":"employees","type":"int32"},{"name":"ownerid","type":"string"}],)"
      R"("ownership":{"user":"ownerid"}})";
  ASSERT_EQ(
      client_.Put("/v1/orgs/contoso/entities/account", kWithoutName, "application/json")->status,
      200);
  EXPECT_EQ(client_.Post(kChanges, SetLine("fresh", "A"), kLines)->body, fresh->body);
  EXPECT_EQ(client_.Post(kChanges, set, kLines)->body, first->body);
  admin_.stores().SetPaused(false);
  const auto other = client_.Post(kChanges, SetLine("other", "A"), kLines);
  EXPECT_EQ(json::parse(other->body)["error"]["code"], "unknown_attribute");
  // A set that was refused was never taken: it is no repetition.
  EXPECT_EQ(client_.Post(kChanges, SetLine("other", "A"), kLines)->body, other->body);
}

TEST(AdminServedElsewhereTest, TheDirectoryAndTheOtherNodesPositionAreShown) {
  std::atomic<int64_t> remote{-1};
  AdminFixture admin({}, [&](gateways::AdminServerDeps& deps) {
    deps.may_serve = [](const OrgId&) {
      return Error(absl::StatusCode::kUnavailable, "not_served_here", "another node serves it");
    };
    deps.served_at = [](const OrgId&) { return std::make_optional<std::string>("http://other:1"); };
    deps.remote_applied = [&](const OrgId&) {
      return remote < 0 ? std::nullopt : std::make_optional(Offset(remote));
    };
  });
  auto client = admin.Client();
  // The local store is frozen: its position says nothing.
  EXPECT_EQ(client.Put("/v1/orgs/contoso?wait=100ms")->status, 202);
  remote = 1'000'000;
  EXPECT_EQ(client.Put("/v1/orgs/contoso?wait=30s")->status, 200);
  const auto org = json::parse(client.Get("/v1/orgs/contoso")->body);
  EXPECT_EQ(org["applied"], "1000000");
  EXPECT_EQ(org["state"], "ready");
  EXPECT_FALSE(org.contains("records")) << "nobody here can know";
  EXPECT_EQ(org["served_at"], "http://other:1");
}

// What a store holds that is behind the log may be less than what was told before.
TEST(AdminServingTest, WhatIsAppliedIsNotToldWhileTheStoreIsBehind) {
  std::atomic<bool> behind{false};
  AdminFixture admin({}, [&](gateways::AdminServerDeps& deps) {
    deps.may_serve = [&](const OrgId&) {
      return behind ? Error(absl::StatusCode::kUnavailable, "not_caught_up", "it is behind")
                    : absl::OkStatus();
    };
  });
  admin.MakeOrg("contoso");
  auto client = admin.Client();
  const auto shown = [&] { return json::parse(client.Get("/v1/orgs/contoso")->body); };
  const auto listed = [&] { return json::parse(client.Get("/v1/orgs")->body)["orgs"][0]; };
  EXPECT_TRUE(shown().contains("applied"));
  EXPECT_TRUE(listed().contains("applied"));
  behind = true;
  EXPECT_FALSE(shown().contains("applied")) << shown();
  EXPECT_FALSE(listed().contains("applied")) << listed();
  EXPECT_EQ(shown()["state"], "ready");
  EXPECT_TRUE(shown().contains("position"));
}

// What is left of the definitions may lack an organisation that exists, or have one that does not.
TEST(AdminServingTest, NothingIsToldOfAPartitionWhoseHistoryTheFoldFoundLost) {
  AdminFixture admin;
  admin.MakeOrg("contoso");
  auto client = admin.Client();
  admin.set_history_lost(true);
  for (const char* path :
       {"/v1/orgs/contoso", "/v1/orgs/nobody", "/v1/orgs", "/v1/orgs/contoso/entities/account"}) {
    const auto answer = client.Get(path);
    EXPECT_EQ(answer->status, 503) << path;
    EXPECT_EQ(json::parse(answer->body)["code"], "log_truncated") << path;
  }
  EXPECT_EQ(client.Put("/v1/orgs/contoso")->status, 503);
  admin.set_history_lost(false);
  EXPECT_EQ(client.Get("/v1/orgs/contoso")->status, 200);
  EXPECT_EQ(client.Get("/v1/orgs/nobody")->status, 404);
}

TEST(AdminServingTest, OrganisationsThatAreNotServedAreTold) {
  std::atomic<int> refreshed{0};
  std::atomic<bool> trouble{false};
  AdminFixture admin({}, [&](gateways::AdminServerDeps& deps) {
    deps.troubled = [&] {
      return trouble ? std::vector<gateways::TroubledOrgs>{{"offset_below_begin", 3, 2},
                                                           {"store_corrupt", 0, 1}}
                     : std::vector<gateways::TroubledOrgs>();
    };
    deps.refresh_metrics = [&] { ++refreshed; };
  });
  auto client = admin.Client();
  EXPECT_EQ(client.Get("/readyz")->body, R"({"status":"ready"})");
  trouble = true;
  const auto answer = client.Get("/readyz");
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body,
            R"({"status":"ready","apart":[{"code":"offset_below_begin","partition":3,"count":2},)"
            R"({"code":"store_corrupt","partition":0,"count":1}]})");
  EXPECT_EQ(client.Get("/metrics")->status, 200);
  EXPECT_EQ(refreshed, 1);
}

TEST(AdminSilenceTest, SilentConnectionsMakeRoomOldestFirst) {
  AdminFixture admin({.connections_max = 8, .silent_min = std::chrono::milliseconds(0)});
  std::vector<RawSocket> silent;
  for (int i = 0; i < 8; ++i) {
    silent.emplace_back(admin.port());
  }
  for (int i = 0; i < 5; ++i) {
    auto client = admin.Client();
    const auto answer = client.Get("/readyz");
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->status, 200);
  }
  EXPECT_TRUE(silent[0].Closed());
  silent[7].Send("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  EXPECT_THAT(silent[7].ReadAll(), HasSubstr("200 OK"));
}

TEST(AdminSilenceTest, AHeadHasADeadline) {
  AdminFixture admin({.idle_timeout = std::chrono::milliseconds(200),
                      .head_timeout = std::chrono::milliseconds(200)});
  RawSocket silent(admin.port());
  RawSocket half(admin.port());
  half.Send("GET /healthz HTTP/1.1\r\nHost:");
  EXPECT_TRUE(silent.Closed());
  EXPECT_TRUE(half.Closed());
}

TEST(AdminSilenceTest, RequestsThatWaitHoldNoThread) {
  AdminFixture admin({.threads = 1, .ingest_threads = 1});
  admin.MakeOrg("contoso");
  admin.stores().SetPaused(true);
  std::vector<RawSocket> waiting;
  for (int i = 0; i < 20; ++i) {
    waiting.emplace_back(admin.port());
    waiting.back().Send(
        "PUT /v1/orgs/contoso?wait=60s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        "sluice.admin\r\n"
        "Content-Length: 2\r\n\r\n{}");
    waiting.emplace_back(admin.port());  // and one that sends no more of its sets
    waiting.back().Send(Post("Content-Length: 100000\r\n") + SetLine(std::to_string(i), "A") +
                        "\n");
  }
  auto client = admin.Client();
  EXPECT_EQ(client.Get("/v1/orgs/contoso/entities/account")->status, 200);
  EXPECT_EQ(client.Post(kChanges, SetLine("mine", "A"), kLines)->status, 200);
  admin.stores().SetPaused(false);
}

// Whatever one caller asks for, and however long that takes, others find a thread, and what answers
// wait for is looked at.
TEST(AdminSlowReadTest, OneCallersReadsHoldUpNobodyElse) {
  absl::Mutex mutex;
  bool held = false;
  AdminFixture admin({.threads = 8}, [&](gateways::AdminServerDeps& deps) {
    deps.remote_applied = [&](const OrgId& org) -> std::optional<Offset> {
      absl::MutexLock lock(&mutex);
      const auto let_go = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return !held; };
      if (org.value() == "contoso") {
        mutex.AwaitWithTimeout(absl::Condition(&let_go), absl::FromChrono(kAdminPatience));
      }
      return std::nullopt;
    };
  });
  admin.MakeOrg("contoso");
  {
    absl::MutexLock lock(&mutex);
    held = true;
  }
  auto client = admin.Client();
  client.set_read_timeout(std::chrono::seconds(10));
  std::vector<RawSocket> slow;
  for (int i = 0; i < 40; ++i) {
    slow.emplace_back(admin.port());
    slow.back().Send(
        "GET /v1/orgs/contoso HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
        "sluice.admin\r\n\r\n");
  }
  const auto end = std::chrono::steady_clock::now() + kAdminPatience;
  while (true) {
    const auto metrics = client.Get("/metrics");
    ASSERT_TRUE(metrics);
    ASSERT_LT(std::chrono::steady_clock::now(), end);
    if (metrics->body.find("\nsluice_admin_reads_waiting 39\n") != std::string::npos) {
      break;
    }
  }
  const auto put = client.Put("/v1/orgs/fabrikam?wait=10s");
  ASSERT_TRUE(put);
  EXPECT_EQ(put->status, 200);
  const auto get = client.Get("/v1/orgs/fabrikam");
  ASSERT_TRUE(get);
  EXPECT_EQ(get->status, 200);
  absl::MutexLock lock(&mutex);
  held = false;
}

// The log takes requests and their outcomes do not come, as while Kafka is away: who changes
// definitions waits, and nobody else does.
TEST(AdminSlowLogTest, WhoReadsIsAnsweredAndAnotherOrganisationFindsAThread) {
  AdminFixture admin;
  admin.MakeOrg("contoso");
  const auto partition = admin.log().PartitionFor(eventlog::Topic::kProvisioning, "contoso");
  StallingLog log(admin.log(), eventlog::Topic::kProvisioning,
                  admin.log().Range(eventlog::Topic::kProvisioning, partition)->end);
  projectors::DirectoryFollower directory(log, admin.clock(), nullptr);
  ASSERT_TRUE(directory.Start().ok());
  AwaitDirectory(directory);
  ScopeAuthenticator authenticator;
  gateways::AdminServer server({.listen = "127.0.0.1:0",
                                .threads = 2,
                                .definition_threads = 8,
                                .provisioning_timeout = kAdminPatience},
                               {.log = log,
                                .directory = directory,
                                .authenticator = authenticator,
                                .clock = admin.clock(),
                                .stores = nullptr,
                                .remote_applied = {},
                                .health = {},
                                .registry = std::make_shared<prometheus::Registry>()});
  const int port = *server.Start();
  httplib::Client client("127.0.0.1", port);
  client.set_default_headers({{"Authorization", "Bearer sluice.admin"}});
  std::vector<RawSocket> changing;
  const auto change = [&](const std::string& org) {
    changing.emplace_back(port);
    changing.back().Send("PUT /v1/orgs/" + org +
                         "/roles/r HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sluice.admin\r\n"
                         "Content-Length: 2\r\n\r\n{}");
  };
  const auto await = [&](const std::string& metric) {
    const auto end = std::chrono::steady_clock::now() + kAdminPatience;
    while (std::chrono::steady_clock::now() < end) {
      const auto metrics = client.Get("/metrics");
      ASSERT_TRUE(metrics);
      if (metrics->body.find("\n" + metric + "\n") != std::string::npos) {
        return;
      }
    }
    FAIL() << metric;
  };
  for (int i = 0; i < 40; ++i) {
    change("contoso");
  }
  await("sluice_admin_definitions_waiting 38");
  await("sluice_http_work{pool=\"definitions\"} 2");
  EXPECT_EQ(client.Get("/v1/orgs")->status, 200);
  EXPECT_EQ(client.Get("/v1/orgs/contoso")->status, 200);
  EXPECT_EQ(client.Get("/v1/orgs/contoso/entities/account")->status, 200);
  change("fabrikam");
  await("sluice_http_work{pool=\"definitions\"} 3");
  log.Release();
  for (RawSocket& socket : changing) {
    const std::string head = socket.ReadUntil("\r\n");
    EXPECT_THAT(head, StartsWith(&socket == &changing.back() ? "HTTP/1.1 404 " : "HTTP/1.1 200 "));
  }
  server.Stop();
  directory.Stop();
}

TEST(AdminBudgetTest, BodiesPastTheBudgetAreTurnedAway) {
  AdminFixture admin({.request_bytes_max = 300 << 10});
  admin.MakeOrg("contoso");
  const std::string head =
      "PUT /v1/orgs/contoso/entities/x HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "
      "sluice.admin\r\n"
      "Content-Length: 1000000\r\n\r\n";
  std::string answer;
  std::vector<RawSocket> held;
  for (int i = 0; i < 3 && answer.empty(); ++i) {
    held.emplace_back(admin.port());
    held.back().Send(head);
    if (!held.back().Send(std::string(400 << 10, ' '))) {
      break;
    }
    answer = i == 2 ? held.back().ReadUntil("\r\n\r\n") : "";
  }
  EXPECT_THAT(held.front().ReadUntil("\r\n\r\n"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(held.front().ReadUntil("too_busy"), HasSubstr("Retry-After"));
  held.clear();
  EXPECT_THAT(admin.Client().Get("/metrics")->body, HasSubstr("sluice_http_request_bytes_limit"));
}

// 40 MiB of blanks, compressed with the largest window, but for the last two bytes: whoever holds
// them back keeps the 16 MiB that the rest is decompressed with.
TEST(AdminBudgetTest, WhatABodyIsDecompressedWithIsOfTheBudget) {
  constexpr std::string_view kBomb(
      "\xcf\xff\xff\x7f\x00\x24\x40\xe2\xb1\x40\x72\xef\xff\xf9\xff\xff\x0f\x80\x04\x40"
      "\x1c\x16\x80\xee\xfd\x7f\xfe\xff\xff\x01\x90\x00\x88\xc3\x02\xd0\xbd",
      37);
  AdminFixture admin(
      {.request_bytes_max = size_t{200} << 20});  // of which one caller has an eighth
  admin.MakeOrg("contoso");
  auto client = admin.Client();
  const auto held = [&] {
    const std::string metrics = client.Get("/metrics")->body;
    const std::string name = "\nsluice_http_request_bytes{listener=\"admin\"} ";
    return std::atof(metrics.c_str() + metrics.find(name) + name.size());
  };
  std::vector<RawSocket> senders;
  const auto send = [&](const std::string& token) {
    senders.emplace_back(admin.port());
    senders.back().Send(
        Post("Content-Encoding: br\r\nTransfer-Encoding: chunked\r\n", "sluice.ingest" + token) +
        Chunk(kBomb));
  };
  const auto await = [&](double bytes) {
    const auto end = std::chrono::steady_clock::now() + kAdminPatience;
    while (held() < bytes) {
      ASSERT_LT(std::chrono::steady_clock::now(), end);
    }
  };
  send(" org=contoso");
  await(16 << 20);
  send(" org=contoso");
  EXPECT_THAT(senders.back().ReadUntil("too_busy"), HasSubstr("HTTP/1.1 503 "));
  send("");
  await(32 << 20);
  senders.clear();
  await(0);
}

// Real keys for what is known; a source of keys that hangs.
class HangingKeys final : public gateways::Authenticator {
 public:
  explicit HangingKeys(std::unique_ptr<gateways::Authenticator> url) : url_(std::move(url)) {}
  absl::StatusOr<std::shared_ptr<const gateways::Principal>> Authenticate(
      std::string_view header) override {
    return url_->Authenticate(header);
  }
  std::optional<absl::StatusOr<std::shared_ptr<const gateways::Principal>>> TryAuthenticate(
      std::string_view header) override {
    if (header.starts_with("Bearer sluice.")) {
      return known_.TryAuthenticate(header);
    }
    return url_->TryAuthenticate(header);
  }
  void FetchKeys() override { url_->FetchKeys(); }
  uint64_t KeyFetches() const override { return url_->KeyFetches(); }
  absl::Status Ready() const override { return absl::OkStatus(); }

 private:
  ScopeAuthenticator known_;
  const std::unique_ptr<gateways::Authenticator> url_;
};

TEST(AdminKeysTest, AnUnknownKeyWhileTheProviderHangsDelaysNobodyElse) {
  ScriptedServer provider([](ScriptedServer::Peer& peer) { peer.AwaitClose(); });
  gateways::AuthOptions auth;
  auth.jwks = "http://127.0.0.1:" + std::to_string(provider.port()) + "/jwks";
  auth.fetch_timeout = std::chrono::milliseconds(3'000);
  auth.refresh_interval = std::chrono::milliseconds(10);
  HangingKeys keys(*gateways::Authenticator::Create(auth));
  // The fetch at the start, which has failed, and the one that hangs from now on: before it, 503
  // would be the answer at once.
  while (provider.connections() < 2) {
    std::this_thread::yield();
  }
  AdminFixture admin({.threads = 1, .ingest_threads = 1}, {}, &keys);
  const std::string token =
      TestKey::Ed25519("new").Token("EdDSA", {{"sub", "u"}, {"exp", 4102444800}});
  std::vector<RawSocket> unknown;
  for (int i = 0; i < 50; ++i) {
    unknown.emplace_back(admin.port());
    unknown.back().Send("GET /v1/orgs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token +
                        "\r\nConnection: close\r\n\r\n");
  }
  auto client = admin.Client();
  EXPECT_EQ(client.Get("/v1/orgs")->status, 200);
  EXPECT_FALSE(unknown.front().Readable()) << "its key is still being asked for";
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(client.Get("/v1/orgs")->status, 200);
  }
  for (RawSocket& socket : unknown) {
    EXPECT_THAT(socket.ReadAll(), StartsWith("HTTP/1.1 503 "));
  }
}

}  // namespace
}  // namespace sluice::testing

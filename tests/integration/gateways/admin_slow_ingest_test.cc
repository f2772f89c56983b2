// Ingest while one partition's log does not answer, or one organisation's store does not come: who
// asks for others waits for none of it.
#include <gmock/gmock.h>

#include <thread>
#include <vector>

#include "tests/integration/gateways/admin_fixture.h"
#include "tests/integration/gateways/raw_socket.h"
#include "tests/support/held_log.h"

namespace sluice::testing {
namespace {

using eventlog::Topic;
using nlohmann::json;
using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr size_t kSenders = 100;  // more than there are threads for ingest
constexpr size_t kInFlight = size_t{8} << 20;

// A set that does not fit the definitions.
std::string OddLine(const std::string& id) {
  return R"({"id":")" + id + R"(","source":"crm","ops":[{"op":"upsert","entity":"account","row":)" +
         R"({"accountid":"A","odd":"x"}}]})";
}

class AdminSlowIngestTest : public ::testing::Test {
 protected:
  AdminSlowIngestTest() {
    const auto partition = PartitionOf("contoso");
    while (PartitionOf(elsewhere_) == partition) {
      elsewhere_ += "x";
    }
    while (PartitionOf(beside_) != partition) {
      beside_ += "x";
    }
    for (const std::string& org : {std::string("contoso"), elsewhere_, beside_}) {
      admin_.MakeOrg(org);
    }
    log_ = std::make_unique<HeldLog>(admin_.log(), partition);
    server_ = std::make_unique<gateways::AdminServer>(
        gateways::AdminServerOptions{.listen = "127.0.0.1:0",
                                     .ingest = {.request_in_flight_bytes_max = kInFlight,
                                                .in_flight_bytes_max = kInFlight,
                                                .append_timeout = kAdminPatience,
                                                .store_patience = kAdminPatience}},
        gateways::AdminServerDeps{.log = *log_,
                                  .directory = admin_.directory(),
                                  .authenticator = authenticator_,
                                  .clock = admin_.clock(),
                                  .stores = &admin_.stores(),
                                  .remote_applied = {},
                                  .health = {},
                                  .registry = std::make_shared<prometheus::Registry>()});
    port_ = server_->Start().value_or(0);
  }
  ~AdminSlowIngestTest() override {
    log_->Release();
    admin_.stores().SetPaused(false);
    server_->Stop();
  }

  PartitionId PartitionOf(const std::string& org) {
    return admin_.log().PartitionFor(Topic::kChanges, org);
  }
  // One more sender of one set of contoso; every other one sends JSON.
  void Send(const std::string& set) { Send(set, senders_.size() % 2 == 0); }
  void Send(const std::string& set, bool lines) {
    senders_.emplace_back(port_);
    const std::string type = lines ? kLines : "application/json";
    senders_.back().Send(
        "POST /v1/orgs/contoso/changes HTTP/1.1\r\nHost: x\r\n"
        "Authorization: Bearer sluice.ingest\r\nConnection: close\r\nContent-Type: " +
        type + "\r\nContent-Length: " + std::to_string(set.size()) + "\r\n\r\n" + set);
  }
  httplib::Client Client() const {
    httplib::Client client("127.0.0.1", port_);
    client.set_read_timeout(std::chrono::seconds(20));  // less than what anybody here waits for
    client.set_default_headers({{"Authorization", "Bearer sluice.admin sluice.ingest"}});
    return client;
  }
  // Takes a set of `org` at once, as either type.
  void ExpectTaken(const std::string& org) const {
    for (const char* type : {kLines, "application/json"}) {
      const auto answer = Client().Post("/v1/orgs/" + org + "/changes",
                                        SetLine(std::string("n ") + type, "A"), type);
      ASSERT_TRUE(answer) << org << ": " << httplib::to_string(answer.error());
      EXPECT_THAT(answer->body, HasSubstr("position")) << org;
    }
  }
  void AwaitMetric(const std::string& line) const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    auto client = Client();
    while (std::chrono::steady_clock::now() < end) {
      const auto metrics = client.Get("/metrics");
      ASSERT_TRUE(metrics);
      if (metrics->body.find("\n" + line + "\n") != std::string::npos) {
        return;
      }
    }
    FAIL() << line;
  }
  // Every sender's answer has it.
  void ExpectAnswers(const std::string& text) {
    for (RawSocket& sender : senders_) {
      const std::string answer = sender.ReadAll();
      EXPECT_THAT(answer, StartsWith("HTTP/1.1 200 "));
      EXPECT_THAT(answer, HasSubstr(text));
    }
  }

  AdminFixture admin_;
  std::string elsewhere_ = "fabrikam";  // an organisation of another partition than contoso
  std::string beside_ = "northwind";    // and one of the same
  ScopeAuthenticator authenticator_;
  std::unique_ptr<HeldLog> log_;
  std::unique_ptr<gateways::AdminServer> server_;
  int port_ = 0;
  std::vector<RawSocket> senders_;
};

TEST_F(AdminSlowIngestTest, AppendsThatDoNotEndHoldNoThread) {
  for (size_t i = 0; i < kSenders; ++i) {
    Send(SetLine(std::to_string(i), "A"));
  }
  EXPECT_TRUE(log_->AwaitHeld(kSenders)) << "some wait for a thread";
  ExpectTaken(elsewhere_);
  log_->Release();
  ExpectAnswers("\"position\":");
}

// Nor does what it has gathered, for which another request waits, wait for its sender.
TEST_F(AdminSlowIngestTest, WhatIsGatheredGoesWhileItsSenderIsSilent) {
  RawSocket silent(port_);
  silent.Send(
      "POST /v1/orgs/contoso/changes?stop_on=unavailable&wait=30s HTTP/1.1\r\nHost: x\r\n"
      "Authorization: Bearer sluice.ingest\r\nContent-Type: application/x-ndjson\r\n"
      "Content-Length: 100000\r\n\r\n" +
      SetLine("a", "A") + "\n");
  ASSERT_TRUE(log_->AwaitHeld(1));
  silent.Send(SetLine("b", "A") + "\n");  // gathered: one batch is in flight
  AwaitMetric(R"(sluice_ingest_ops_total 2)");
  log_->Release();
  // Less than the silent one has until its connection is closed.
  const auto again = Client().Post("/v1/orgs/contoso/changes", SetLine("b", "A"), kLines);
  ASSERT_TRUE(again) << httplib::to_string(again.error());
  EXPECT_THAT(again->body, HasSubstr("position"));
}

TEST_F(AdminSlowIngestTest, AStoreThatDoesNotComeHoldsNoThread) {
  log_->Release();
  admin_.stores().SetPaused(true);
  ExpectTaken("contoso");  // which the store has yet to apply
  for (size_t i = 0; i < kSenders; ++i) {
    Send(OddLine(std::to_string(i)));
  }
  EXPECT_TRUE(log_->AwaitRanges(kSenders)) << "some wait for a thread";
  ExpectTaken(elsewhere_);
  ExpectTaken(beside_);
  ExpectTaken("contoso");
  admin_.stores().SetPaused(false);
  ExpectAnswers("unknown_attribute");
}

// Large bodies fill the room of what is in flight: their own partition's.
TEST_F(AdminSlowIngestTest, LargeBodiesForAPartitionThatDoesNotAnswerLeaveRoom) {
  std::string body;
  while (body.size() < 2 * kInFlight) {
    body += SetLine(std::to_string(body.size()), std::string(500, 'A')) + "\n";
  }
  std::vector<std::thread> loads;
  for (int i = 0; i < 8; ++i) {
    loads.emplace_back([this, &body] {
      auto client = Client();
      client.set_write_timeout(kAdminPatience);
      client.set_read_timeout(kAdminPatience);
      const auto answer = client.Post("/v1/orgs/contoso/changes", body, kLines);
      ASSERT_TRUE(answer);
      EXPECT_EQ(answer->body.find("error"), std::string::npos) << answer->body.substr(0, 200);
    });
  }
  AwaitMetric("sluice_ingest_in_flight_waiting 8");
  // Larger than what a batch of the others may have left over by chance.
  const std::string large =
      R"({"id":"large","ops":[{"op":"upsert","entity":"account","row":{"accountid":"A","name":")" +
      std::string(600'000, 'n') + R"("}}]})";
  const auto taken = Client().Post("/v1/orgs/" + elsewhere_ + "/changes", large, kLines);
  EXPECT_TRUE(taken && taken->body.find("position") != std::string::npos);
  log_->Release();
  for (std::thread& load : loads) {
    load.join();
  }
}

// More of such sets than a request may gather are waited for in the middle of the body: by no more
// threads than one organisation may have.
TEST_F(AdminSlowIngestTest, WhatWaitsInItsMiddleHoldsAPartOfTheThreads) {
  log_->Release();
  admin_.stores().SetPaused(true);
  ExpectTaken("contoso");
  std::string many;
  for (int i = 0; i < 1'100; ++i) {
    many += OddLine(std::to_string(i)) + "\n";
  }
  for (size_t i = 0; i < kSenders; ++i) {
    Send(many, /*lines=*/true);
  }
  AwaitMetric("sluice_admin_ingest_waiting 92");
  ExpectTaken(elsewhere_);
  ExpectTaken(beside_);
  admin_.stores().SetPaused(false);
  ExpectAnswers("unknown_attribute");
}

// A log that never confirms: the answer says so when the time is up.
TEST(AdminUnconfirmedTest, SetsThatTheLogDoesNotConfirmAreAnsweredInTime) {
  AdminFixture admin;
  admin.MakeOrg("contoso");
  HeldLog log(admin.log(), admin.log().PartitionFor(Topic::kChanges, "contoso"));
  ScopeAuthenticator authenticator;
  gateways::AdminServer server(
      {.listen = "127.0.0.1:0", .ingest = {.append_timeout = std::chrono::milliseconds(50)}},
      {.log = log,
       .directory = admin.directory(),
       .authenticator = authenticator,
       .clock = admin.clock(),
       .stores = &admin.stores(),
       .remote_applied = {},
       .health = {},
       .registry = nullptr});
  httplib::Client client("127.0.0.1", *server.Start());
  client.set_default_headers({{"Authorization", "Bearer sluice.ingest"}});
  for (const char* type : {kLines, "application/json"}) {
    const auto answer = client.Post("/v1/orgs/contoso/changes", SetLine(type, "A"), type);
    ASSERT_TRUE(answer);
    EXPECT_EQ(json::parse(answer->body)["error"]["code"], "unavailable") << answer->body;
  }
  server.Stop();
}

}  // namespace
}  // namespace sluice::testing

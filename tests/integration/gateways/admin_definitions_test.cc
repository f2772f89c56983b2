// Organisations and definitions over real HTTP, on the embedded log.
#include <gmock/gmock.h>

#include <chrono>

#include "tests/integration/gateways/admin_fixture.h"
#include "tests/integration/gateways/raw_socket.h"

namespace sluice::testing {
namespace {

using nlohmann::json;

constexpr char kJson[] = "application/json";

class AdminTest : public ::testing::Test {
 protected:
  AdminFixture admin_;
  httplib::Client client_ = admin_.Client();
};

TEST_F(AdminTest, DefinitionsAreReadAsTheyWereWritten) {
  admin_.MakeOrg("contoso");
  const std::string base = "/v1/orgs/contoso";
  auto got = client_.Get(base + "/entities/account");
  EXPECT_EQ(json::parse(got->body), json::parse(kAccount));
  const std::string etag = got->get_header_value("ETag");
  // An answer without a body, also for clients that wait for one.
  const auto begun = std::chrono::steady_clock::now();
  const auto unchanged = client_.Get(base + "/entities/account", {{"If-None-Match", etag}});
  EXPECT_EQ(unchanged->status, 304);
  EXPECT_EQ(unchanged->get_header_value("ETag"), etag);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(10));
  RawSocket raw(admin_.port());
  raw.Send("GET " + base + "/entities/account HTTP/1.1\r\nHost: x\r\nIf-None-Match: " + etag +
           "\r\nAuthorization: Bearer sluice.admin\r\n\r\n");
  const std::string head = raw.ReadAll();
  EXPECT_THAT(head, ::testing::StartsWith("HTTP/1.1 304 "));
  EXPECT_THAT(head, ::testing::HasSubstr("\r\nConnection: close\r\n"));
  EXPECT_THAT(head, ::testing::Not(::testing::HasSubstr("Content-Length")));
  EXPECT_EQ(head.find("\r\n\r\n"), head.size() - 4);
  EXPECT_EQ(client_
                .Put(base + "/profiles/field",
                     R"({"entities":{"account":[{"kind":"user"}]},"roles":["sales"]})", kJson)
                ->status,
            200);
  const auto role = client_.Put(base + "/roles/sales?wait=30s",
                                R"({"offline":true,"entities":{"account":{"read":true}}})", kJson);
  EXPECT_EQ(role->status, 200);
  EXPECT_TRUE(json::parse(role->body)["position"].is_string());
  EXPECT_EQ(json::parse(client_.Get(base + "/entities")->body)["entities"][0]["name"], "account");
  EXPECT_EQ(json::parse(client_.Get(base + "/profiles")->body)["profiles"][0]["roles"][0], "sales");
  EXPECT_EQ(json::parse(client_.Get(base + "/roles")->body)["roles"][0]["offline"], true);
  EXPECT_EQ(client_.Delete(base + "/profiles/field?wait=30s")->status, 200);
  EXPECT_EQ(CodeOf(client_.Get(base + "/profiles/field")), "profile_not_found");
  EXPECT_EQ(CodeOf(client_.Delete(base + "/roles/other")), "role_not_found");
  EXPECT_EQ(CodeOf(client_.Delete(base + "/entities/other")), "entity_not_found");
}

TEST_F(AdminTest, WaitEndsWithoutTheApply) {
  admin_.MakeOrg("contoso");
  admin_.stores().SetPaused(true);
  const auto put = client_.Put("/v1/orgs/contoso/roles/r?wait=100ms", R"({"offline":true})", kJson);
  EXPECT_EQ(put->status, 202);
  EXPECT_TRUE(json::parse(put->body)["position"].is_string());
}

TEST_F(AdminTest, ReadinessTellsItsReasonsAndMetricsCount) {
  EXPECT_EQ(client_.Get("/readyz")->status, 200);
  admin_.set_health(Error(absl::StatusCode::kUnavailable, "log_truncated",
                          "partition 3 of acme's changes, at /var/lib/sluice"));
  const auto ready = client_.Get("/readyz");
  EXPECT_EQ(ready->status, 503);
  EXPECT_FALSE(ready->get_header_value("Retry-After").empty());
  EXPECT_EQ(json::parse(ready->body)["reasons"][0]["reason"], "log_truncated, partition 3")
      << "anybody may ask: no words, no paths";
  const std::string metrics = client_.Get("/metrics")->body;
  for (const char* name :
       {"sluice_admin_requests_total", "sluice_admin_connections_limit",
        "sluice_ingest_in_flight_bytes_limit", "sluice_ingest_remembered_sets_limit"}) {
    EXPECT_THAT(metrics, ::testing::HasSubstr(name));
  }
}

}  // namespace
}  // namespace sluice::testing

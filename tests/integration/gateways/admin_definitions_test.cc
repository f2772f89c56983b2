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

TEST_F(AdminTest, EveryRefusalHasItsCode) {
  admin_.MakeOrg("contoso");
  const std::string base = "/v1/orgs/contoso";
  const auto put = [&](const std::string& path, const std::string& body) {
    return CodeOf(client_.Put(path, body, kJson));
  };
  EXPECT_EQ(put("/v1/orgs/Not_A_Label", "{}"), "invalid_argument");
  EXPECT_EQ(put("/v1/orgs/contoso", "{"), "invalid_json");
  EXPECT_EQ(put("/v1/orgs/contoso", R"({"name":"x"})"), "invalid_argument");
  EXPECT_EQ(put("/v1/orgs/contoso?wait=soon", "{}"), "invalid_argument");
  EXPECT_EQ(put("/v1/orgs/nobody/entities/account", kAccount), "org_not_found");
  EXPECT_EQ(CodeOf(client_.Get("/v1/orgs/nobody")), "org_not_found");
  EXPECT_EQ(CodeOf(client_.Delete("/v1/orgs/nobody")), "org_not_found");
  std::string changed = kAccount;
  changed.replace(changed.find("int32"), 5, "int64");
  EXPECT_EQ(put(base + "/entities/account", changed), "incompatible_schema");
  EXPECT_EQ(put(base + "/entities/account", "[1]").substr(0, 8), "invalid_");
  EXPECT_EQ(put(base + "/profiles/p", R"({"entities":{"nope":[{"kind":"all"}]}})"),
            "unknown_entity");
  EXPECT_EQ(put(base + "/profiles/p", R"({"entities":{"account":[{"kind":"team"}]}})"),
            "invalid_argument");
  EXPECT_EQ(
      put(base + "/roles/r", R"({"entities":{"account":{"read":true,"deny_columns":["nope"]}}})"),
      "unknown_attribute");
  EXPECT_EQ(put(base + "/roles/r", "\"" + std::string(2 << 20, 'x') + "\""), "too_large");
  EXPECT_EQ(put(base + "/profiles/p", R"({"entities":{"account":[{"kind":"user"}]}})"), "");
  std::string unowned = kAccount;
  unowned.replace(unowned.find(R"(,"ownership")"), std::string::npos, "}");
  EXPECT_EQ(put(base + "/entities/account", unowned), "attribute_in_use");
  EXPECT_EQ(CodeOf(client_.Put(base + "/roles/r", {{"If-Match", "\"0\""}}, "{}", kJson)),
            "precondition_failed");
}

TEST_F(AdminTest, TokensScopesPathsAndMethods) {
  admin_.MakeOrg("contoso");
  auto nobody = admin_.Client("");
  auto ingest = admin_.Client("sluice.ingest");
  const auto missing = nobody.Get("/v1/orgs");
  EXPECT_EQ(missing->status, 401);
  EXPECT_EQ(missing->get_header_value("WWW-Authenticate"), "Bearer");
  EXPECT_EQ(missing->get_header_value("Content-Type"), "application/problem+json");
  EXPECT_EQ(admin_.Client("rubbish").Get("/v1/orgs")->status, 401);
  EXPECT_EQ(ingest.Get("/v1/orgs")->status, 403);
  EXPECT_EQ(ingest.Get("/metrics")->status, 403);
  EXPECT_EQ(admin_.Client("sluice.admin").Post("/v1/orgs/contoso/changes", "", kJson)->status, 403);
  for (const char* open : {"/healthz", "/readyz", "/openapi.json"}) {
    EXPECT_EQ(nobody.Get(open)->status, 200) << open;
  }
  EXPECT_EQ(CodeOf(client_.Get("/nowhere")), "not_found");
  const auto wrong = client_.Post("/v1/orgs/contoso", "{}", kJson);
  EXPECT_EQ(wrong->status, 405);
  EXPECT_EQ(wrong->get_header_value("Allow"), "PUT, GET, HEAD, DELETE");
  const auto head = client_.Head("/v1/orgs/contoso");
  EXPECT_EQ(head->status, 200);
  EXPECT_TRUE(head->body.empty());
  EXPECT_EQ(client_.Get("/healthz", {{"X-Request-Id", "my-id"}})->get_header_value("X-Request-Id"),
            "my-id");
  EXPECT_NE(client_.Get("/healthz", {{"X-Request-Id", "a b"}})->get_header_value("X-Request-Id"),
            "a b");
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

#include "gateways/admin/router.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "gateways/admin/openapi.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

TEST(RouterTest, FindsRoutesAndTheirNames) {
  std::string allow;
  const auto match = MatchRoute("PUT", "/v1/orgs/contoso/entities/account", &allow);
  ASSERT_TRUE(match.ok());
  EXPECT_EQ(match->info->route, AdminRoute::kPutEntity);
  EXPECT_EQ(match->org, "contoso");
  EXPECT_EQ(match->name, "account");
  EXPECT_TRUE(MatchRoute("HEAD", "/healthz", &allow).ok());
}

TEST(RouterTest, OtherPathsAndMethods) {
  std::string allow;
  for (const char* path : {"", "/", "/v1", "/v1/orgs/", "/v1/orgs//entities", "/v1/orgs/a/b",
                           "/v1/orgs/a/entities/b/c", "/healthz/", "v1/orgs"}) {
    EXPECT_EQ(ErrorCode(MatchRoute("GET", path, &allow).status()), "not_found") << path;
    EXPECT_EQ(allow, "");
  }
  EXPECT_EQ(ErrorCode(MatchRoute("POST", "/v1/orgs/a", &allow).status()), "method_not_allowed");
  EXPECT_EQ(allow, "PUT, GET, HEAD, DELETE");
  EXPECT_EQ(ErrorCode(MatchRoute("GET", "/v1/orgs/a/changes", &allow).status()),
            "method_not_allowed");
  EXPECT_EQ(allow, "POST");
}

TEST(OpenApiTest, DescribesExactlyTheRoutes) {
  const auto document = nlohmann::json::parse(OpenApiJson());
  EXPECT_EQ(document["openapi"], "3.1.0");
  std::set<std::string> described;
  for (const auto& [path, methods] : document["paths"].items()) {
    for (const auto& [method, operation] : methods.items()) {
      std::string upper = method;
      std::ranges::transform(upper, upper.begin(), ::toupper);
      described.insert(upper + " " + path + " " + operation["operationId"].get<std::string>() +
                       (operation.contains("security") ? " open" : ""));
    }
  }
  std::set<std::string> served;
  for (const RouteInfo<AdminRoute>& route : AdminRoutes()) {
    served.insert(std::string(route.method) + " " + std::string(route.pattern) + " " +
                  std::string(route.operation) + (route.scope.has_value() ? "" : " open"));
  }
  EXPECT_EQ(described, served);
}

// Every "$ref" leads somewhere.
TEST(OpenApiTest, ReferencesResolve) {
  const auto document = nlohmann::json::parse(OpenApiJson());
  size_t references = 0;
  const auto flat = document.flatten();
  for (const auto& [pointer, value] : flat.items()) {
    if (pointer.ends_with("/$ref")) {
      ++references;
      EXPECT_TRUE(
          document.contains(nlohmann::json::json_pointer(value.get<std::string>().substr(1))))
          << value;
    }
  }
  EXPECT_GT(references, 50U);
}

}  // namespace
}  // namespace sluice::gateways

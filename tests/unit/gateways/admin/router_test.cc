#include "gateways/admin/router.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "gateways/admin/openapi.h"

namespace sluice::gateways {
namespace {

TEST(RouterTest, FindsRoutesAndTheirNames) {
  const auto match = MatchRoute("PUT", "/v1/orgs/contoso/entities/account");
  ASSERT_TRUE(match.found());
  EXPECT_EQ(match.info->route, AdminRoute::kPutDefinition);
  EXPECT_EQ(match.info->operation, "putEntity");
  EXPECT_EQ(match.org, "contoso");
  EXPECT_EQ(match.name, "account");
  EXPECT_TRUE(MatchRoute("HEAD", "/healthz").found());
}

TEST(RouterTest, OtherPathsAndMethods) {
  for (const char* path : {"", "/", "/v1", "/v1/orgs/", "/v1/orgs//entities", "/v1/orgs/a/b",
                           "/v1/orgs/a/entities/b/c", "/healthz/", "v1/orgs"}) {
    const auto match = MatchRoute("GET", path);
    EXPECT_FALSE(match.found()) << path;
    EXPECT_EQ(match.allow, "") << path;
  }
  EXPECT_FALSE(MatchRoute("POST", "/v1/orgs/a").found());
  EXPECT_EQ(MatchRoute("POST", "/v1/orgs/a").allow, "PUT, GET, HEAD, DELETE");
  EXPECT_FALSE(MatchRoute("GET", "/v1/orgs/a/changes").found());
  EXPECT_EQ(MatchRoute("GET", "/v1/orgs/a/changes").allow, "POST");
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

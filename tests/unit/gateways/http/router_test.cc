#include "gateways/http/router.h"

#include <gtest/gtest.h>

namespace sluice::gateways {
namespace {

enum class Asked { kPut, kGet, kHealth };

constexpr RouteInfo<Asked> kTable[] = {
    {Asked::kPut, "PUT", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "putRole"},
    {Asked::kGet, "GET", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "getRole"},
    {Asked::kHealth, "GET", "/healthz", std::nullopt, "getHealthz"},
};

RouteMatch<Asked> Find(std::string_view method, std::string_view path) {
  return FindRoute(std::span<const RouteInfo<Asked>>(kTable), method, path);
}

TEST(FindRouteTest, ARowAndThePathsParameters) {
  const auto match = Find("HEAD", "/v1/orgs/acme/r%6fles/a%2Fb");
  ASSERT_TRUE(match.found());
  EXPECT_EQ(match.info->route, Asked::kGet);
  EXPECT_EQ(match.org, "acme");
  EXPECT_EQ(match.name, "a/b");
}

TEST(FindRouteTest, NoRow) {
  for (const char* path : {"", "/", "healthz", "/healthz/", "/health%7", "/v1/orgs//roles/a",
                           "/v1/orgs/acme/roles/", "/v1/orgs/acme%2Froles/a"}) {
    const auto match = Find("GET", path);
    EXPECT_EQ(match.info, nullptr) << path;
    EXPECT_EQ(match.allow, "") << path;
  }
}

TEST(FindRouteTest, WhatIsNotThereIsSomeOrganisationsAllTheSame) {
  EXPECT_EQ(Find("GET", "/v1/orgs/acme/nothing").org, "acme");
  EXPECT_EQ(Find("GET", "/v1/orgs/a%63me/roles/a/b/c").org, "acme");
  EXPECT_EQ(Find("GET", "/v1/orgs/acme").org, "acme");
  for (const char* path : {"", "/v1/orgs", "/v1/orgs/", "/v1/orgs//a", "/v1/orgs/%zz/a",
                           "/v2/orgs/acme/a", "v1/orgs/acme/a", "/v1/org/acme"}) {
    EXPECT_EQ(Find("GET", path).org, "") << path;
  }
}

TEST(FindRouteTest, AnotherMethodIsOfThePathAllTheSame) {
  const auto match = Find("DELETE", "/v1/orgs/acme/roles/a");
  EXPECT_FALSE(match.found());
  ASSERT_NE(match.info, nullptr);
  EXPECT_EQ(match.info->operation, "putRole");
  EXPECT_EQ(match.org, "acme");
  EXPECT_EQ(match.allow, "PUT, GET, HEAD");
}

TEST(NoRouteResponseTest, SaysWhetherThePathOrTheMethodIsWrong) {
  const HttpResponse nothing = NoRouteResponse("GET", "");
  EXPECT_EQ(nothing.status, 404);
  EXPECT_EQ(nothing.note.code, "not_found");
  EXPECT_TRUE(nothing.headers.empty());
  const HttpResponse other = NoRouteResponse("PATCH", "PUT, GET, HEAD");
  EXPECT_EQ(other.status, 405);
  EXPECT_EQ(other.note.code, "method_not_allowed");
  ASSERT_EQ(other.headers.size(), 1U);
  EXPECT_EQ(other.headers[0].first, "Allow");
  EXPECT_EQ(other.headers[0].second, "PUT, GET, HEAD");
  EXPECT_NE(other.body.find("PATCH is not possible here, but PUT, GET, HEAD"), std::string::npos);
}

}  // namespace
}  // namespace sluice::gateways

#include "gateways/auth/token.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "gateways/auth/token_cache.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;

constexpr SystemTime kNow{seconds(1'790'000'000)};

json With(const json& extra) {
  json claims = {{"exp", 1'790'000'600}};
  claims.update(extra);
  return claims;
}

absl::StatusOr<Principal> Parse(const json& claims, const ClaimRules& rules = {},
                                SystemTime now = kNow) {
  return ParseClaims(claims.dump(), rules, now);
}

std::string CodeOf(const json& claims, const ClaimRules& rules = {}, SystemTime now = kNow) {
  const auto result = Parse(claims, rules, now);
  return result.ok() ? "ok" : ErrorCode(result.status());
}

TEST(BearerTest, TheSchemeInAnyCase) {
  for (const char* header : {"Bearer abc", "bearer abc", "BEARER  abc", " Bearer abc \t"}) {
    const auto token = BearerToken(header);
    ASSERT_TRUE(token.ok()) << header;
    EXPECT_EQ(*token, "abc");
  }
  for (const char* header :
       {"", " ", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc", "Bearer\tabc"}) {
    EXPECT_EQ(ErrorCode(BearerToken(header).status()), "token_missing") << header;
  }
}

TEST(ClaimsTest, EveryClaim) {
  const auto principal = Parse(With({{"sub", "u1"},
                                     {"iss", "i"},
                                     {"org", "contoso"},
                                     {"businessunit", "west"},
                                     {"roles", {"b", "a", "b"}},
                                     {"teams", "t1"},
                                     {"scope", "sluice.sync  openid sluice.audit"},
                                     {"unknown", {{"x", 1}}}}));
  ASSERT_TRUE(principal.ok()) << principal.status();
  EXPECT_EQ(principal->subject, "u1");
  EXPECT_EQ(principal->issuer, "i");
  EXPECT_EQ(principal->org, "contoso");
  EXPECT_EQ(principal->business_unit, "west");
  EXPECT_THAT(principal->roles, ElementsAre("a", "b"));
  EXPECT_THAT(principal->teams, ElementsAre("t1"));
  EXPECT_EQ(principal->scopes, 12u);
  EXPECT_EQ(principal->expires, kNow + seconds(600));
}

TEST(ClaimsTest, ScopeAsArray) {
  const auto principal = Parse(With({{"scope", {"sluice.admin", "sluice.ingest"}}}));
  ASSERT_TRUE(principal.ok());
  EXPECT_EQ(principal->scopes, 3u);
  EXPECT_EQ(Parse(With({{"scope", "sluice.administrator xsluice.admin sluice.Admin"}}))->scopes,
            0u);
}

TEST(ClaimsTest, AbsentAndNullAreTheSame) {
  for (const json& claims : {With(json::object()), With({{"sub", nullptr},
                                                         {"org", nullptr},
                                                         {"roles", nullptr},
                                                         {"teams", nullptr},
                                                         {"businessunit", nullptr},
                                                         {"scope", nullptr},
                                                         {"aud", nullptr},
                                                         {"nbf", nullptr}})}) {
    const auto principal = Parse(claims);
    ASSERT_TRUE(principal.ok()) << principal.status();
    EXPECT_EQ(principal->subject + principal->org, "");
    EXPECT_TRUE(principal->roles.empty() && principal->teams.empty());
    EXPECT_EQ(principal->business_unit, std::nullopt);
    EXPECT_EQ(principal->scopes, 0u);
  }
}

TEST(ClaimsTest, WrongTypesAreRefused) {
  for (const char* name : {"sub", "iss", "org", "businessunit", "roles", "teams", "scope", "aud"}) {
    for (const json& value : {json(7), json(true), json::object(), json{1, 2}, json{"a", nullptr},
                              json(std::string("a\0b", 3))}) {
      EXPECT_EQ(CodeOf(With({{name, value}})), "token_invalid") << name << value;
    }
  }
  for (const char* name : {"exp", "nbf"}) {
    for (const json& value : {json("1790000600"), json(true), json::object(), json(-1), json(1e300),
                              json(1'790'000'600'000)}) {
      EXPECT_EQ(CodeOf(With({{name, value}})), "token_invalid") << name << value;
    }
  }
  EXPECT_EQ(CodeOf(json::object()), "token_invalid") << "exp is missing";
  EXPECT_EQ(CodeOf({{"exp", nullptr}}), "token_invalid");
  EXPECT_EQ(CodeOf(json::array()), "token_invalid");
  EXPECT_EQ(ErrorCode(ParseClaims(R"({"exp":1790000600,"org":"a","org":"b"})", {}, kNow).status()),
            "token_invalid");
}

TEST(ClaimsTest, ExpAndNbfHaveALeewayOfFiveSeconds) {
  const SystemTime exp = kNow + seconds(600);
  EXPECT_EQ(CodeOf(With(json::object()), {}, exp + milliseconds(4'999)), "ok");
  EXPECT_EQ(CodeOf(With(json::object()), {}, exp + seconds(5)), "token_expired");
  const json early = With({{"nbf", 1'790'000'100}});
  EXPECT_EQ(CodeOf(early, {}, kNow + seconds(95)), "ok");
  EXPECT_EQ(CodeOf(early, {}, kNow + seconds(95) - milliseconds(1)), "token_invalid");
  EXPECT_EQ(CodeOf(With({{"exp", 1790000000.5}}), {}, kNow + milliseconds(5'499)), "ok");
  EXPECT_EQ(CodeOf(With({{"exp", 1790000000.5}}), {}, kNow + milliseconds(5'500)), "token_expired");
}

TEST(ClaimsTest, IssuerAndAudienceAreCheckedWhenSet) {
  const ClaimRules rules{.issuer = "https://idp", .audience = "sluice", .leeway = seconds(5)};
  const json base = {{"iss", "https://idp"}, {"aud", "sluice"}};
  const auto changed = [&](const json& extra) {
    json claims = With(base);
    claims.update(extra);
    return CodeOf(claims, rules);
  };
  EXPECT_EQ(changed(json::object()), "ok");
  EXPECT_EQ(changed({{"aud", {"other", "sluice"}}}), "ok");
  EXPECT_EQ(changed({{"aud", {"other"}}}), "token_invalid");
  EXPECT_EQ(changed({{"aud", json::array()}}), "token_invalid");
  EXPECT_EQ(changed({{"aud", nullptr}}), "token_invalid");
  EXPECT_EQ(changed({{"aud", "sluice2"}}), "token_invalid");
  EXPECT_EQ(changed({{"iss", "https://idp/"}}), "token_invalid");
  EXPECT_EQ(changed({{"iss", nullptr}}), "token_invalid");
  EXPECT_EQ(CodeOf(With(base)), "ok") << "not checked when not set";
}

TEST(ClaimsTest, NumbersOfRolesAndTeamsAreLimited) {
  EXPECT_EQ(CodeOf(With({{"roles", std::vector<std::string>(100, "r")}})), "ok");
  EXPECT_EQ(CodeOf(With({{"roles", std::vector<std::string>(101, "r")}})), "token_invalid");
  EXPECT_EQ(CodeOf(With({{"teams", std::vector<std::string>(1000, "t")}})), "ok");
  EXPECT_EQ(CodeOf(With({{"teams", std::vector<std::string>(1001, "t")}})), "token_invalid");
}

class TokenCacheTest : public ::testing::Test {
 protected:
  static std::shared_ptr<const Principal> Somebody(std::string name) {
    auto principal = std::make_shared<Principal>();
    principal->subject = std::move(name);
    return principal;
  }
};

TEST_F(TokenCacheTest, TheLeastRecentlyUsedGoesFirst) {
  TokenCache cache(2, 1 << 20);
  EXPECT_EQ(cache.Put(Sha256("a"), 1, Somebody("a"), kNow + seconds(1)), 0u);
  EXPECT_EQ(cache.Put(Sha256("b"), 1, Somebody("b"), kNow + seconds(1)), 0u);
  EXPECT_NE(cache.Find(Sha256("a"), 1, kNow), nullptr);
  EXPECT_EQ(cache.Put(Sha256("c"), 1, Somebody("c"), kNow + seconds(1)), 1u);
  EXPECT_EQ(cache.Find(Sha256("b"), 1, kNow), nullptr);
  EXPECT_EQ(cache.Find(Sha256("a"), 1, kNow)->subject, "a");
  EXPECT_EQ(cache.Put(Sha256("c"), 1, Somebody("c2"), kNow + seconds(1)), 0u);
  EXPECT_EQ(cache.Find(Sha256("c"), 1, kNow)->subject, "c2");
  EXPECT_EQ(cache.size().entries, 2u);
}

TEST_F(TokenCacheTest, OldKeysAndOldTokensAreMisses) {
  TokenCache cache(2, 1 << 20);
  cache.Put(Sha256("a"), 1, Somebody("a"), kNow + seconds(1));
  EXPECT_EQ(cache.Find(Sha256("a"), 2, kNow), nullptr);
  EXPECT_EQ(cache.size().entries, 0u);
  EXPECT_EQ(cache.size().bytes, 0u);
  cache.Put(Sha256("a"), 1, Somebody("a"), kNow + seconds(1));
  EXPECT_EQ(cache.Find(Sha256("a"), 1, kNow + seconds(1)), nullptr);
  EXPECT_EQ(cache.size().entries, 0u);
}

TEST_F(TokenCacheTest, BytesAreBoundedToo) {
  TokenCache cache(1000, 10'000);
  for (int i = 0; i < 100; ++i) {
    const std::string name = std::to_string(i) + std::string(1000, 'x');
    cache.Put(Sha256(name), 1, Somebody(name), kNow + seconds(1));
    EXPECT_LE(cache.size().bytes, 10'000u);
  }
  EXPECT_GT(cache.size().entries, 3u);
  cache.Put(Sha256("big"), 1, Somebody(std::string(20'000, 'x')), kNow + seconds(1));
  EXPECT_EQ(cache.Find(Sha256("big"), 1, kNow), nullptr);
  TokenCache none(0, 10'000);
  none.Put(Sha256("a"), 1, Somebody("a"), kNow + seconds(1));
  EXPECT_EQ(none.size().entries, 0u);
}

}  // namespace
}  // namespace sluice::gateways

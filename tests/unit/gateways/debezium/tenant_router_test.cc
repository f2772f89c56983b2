#include "gateways/debezium/tenant_router.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

v1::TenantRule Rule(const std::string& organisation) {
  v1::TenantRule rule;
  rule.set_column("tenant");
  rule.set_organisation(organisation);
  return rule;
}

TEST(TenantRouterTest, AColumnNamesTheOrganisation) {
  EXPECT_FALSE(TenantRouter({}).is_on());
  const TenantRouter plain(Rule(""));
  EXPECT_TRUE(plain.is_on());
  EXPECT_EQ(plain.OrgOf(R"({"id":1,"tenant":"acme"})")->value(), "acme");
  const TenantRouter numbered(Rule("shop-{}-eu"));
  EXPECT_EQ(numbered.OrgOf(R"({"tenant": 12 ,"id":1})")->value(), "shop-12-eu");
}

TEST(TenantRouterTest, RowsOfNoOrganisation) {
  const TenantRouter router(Rule("t-{}"));
  for (const char* const row :
       {R"({"id":1})", R"({"tenant":null})", R"({"tenant":["a"]})", R"({"tenant":true})", "",
        R"({"tenant":"Not a label"})", R"({"tenant":"a.b"})", R"({"tenant":)", "[1]"}) {
    EXPECT_EQ(ErrorCode(router.OrgOf(row).status()), "tenant_unknown") << row;
  }
}

TEST(TenantRouterTest, Templates) {
  EXPECT_TRUE(CheckTenantRule(Rule("")).ok());
  EXPECT_TRUE(CheckTenantRule(Rule("a-{}")).ok());
  for (const char* const wrong : {"acme", "A{}", "{}.b", "-{}"}) {
    EXPECT_FALSE(CheckTenantRule(Rule(wrong)).ok()) << wrong;
  }
}

}  // namespace
}  // namespace sluice::gateways

#include "gateways/odata/odata_url.h"

#include <gtest/gtest.h>

#include "schemas/base/status.h"
#include "tests/unit/gateways/odata/shop_entities.h"

namespace sluice::gateways {
namespace {

using testing::ShopEntity;

TEST(ODataUrlTest, WhatIsAsked) {
  const auto root = ServiceRoot("https://h.example/svc");
  ASSERT_TRUE(root.ok());
  EXPECT_EQ(MetadataUrl(*root), "https://h.example/svc/$metadata");
  EXPECT_EQ(LoadUrl(*root, ShopEntity("Lines"), true, false),
            "https://h.example/svc/Lines?$select=Product,Order,At,Count&$count=true");
  EXPECT_EQ(LoadUrl(*root, ShopEntity("Named"), true, true),
            "https://h.example/svc/Named?$select=id,note&$count=true&$orderby=id");
  EXPECT_EQ(LoadUrl(*root, ShopEntity("Named"), false, false),
            "https://h.example/svc/Named?$select=id,note");
  EXPECT_EQ(KeysUrl(*root, ShopEntity("Lines"), false),
            "https://h.example/svc/Lines?$select=Order,Product,At");
  EXPECT_EQ(KeysUrl(*root, ShopEntity("Lines"), true),
            "https://h.example/svc/Lines?$select=Order,Product,At"
            "&$orderby=Order,Product,At/Value");
  EXPECT_EQ(PollUrl(*root, ShopEntity("Lines"), "changed", 1'769'853'600'000'000),
            "https://h.example/svc/Lines?$select=Product,Order,At,Count"
            "&$filter=changed%20ge%202026-01-31T10:00:00.000000Z"
            "&$orderby=changed,Order,Product,At/Value");
}

TEST(ODataUrlTest, TheRootsQueryStays) {
  const auto root = ServiceRoot("https://h.example/svc/?sap-client=100");
  ASSERT_TRUE(root.ok());
  EXPECT_EQ(MetadataUrl(*root), "https://h.example/svc/$metadata?sap-client=100");
  EXPECT_EQ(LoadUrl(*root, ShopEntity("Named"), false, false),
            "https://h.example/svc/Named?sap-client=100&$select=id,note");
}

TEST(ODataUrlTest, NamesAreEncoded) {
  MappedEntity entity = ShopEntity("Named");
  entity.set =
      "Gr\xc3\xb6\xc3\x9f"
      "e&x";
  entity.select = {"a b", "c"};
  EXPECT_EQ(LoadUrl(*ServiceRoot("https://h.example/"), entity, false, false),
            "https://h.example/Gr%C3%B6%C3%9Fe%26x?$select=a%20b,c");
}

class LinkRuleTest : public ::testing::Test {
 protected:
  std::string Follow(std::string_view link) {
    const auto url = rule_.Follow(from_, link);
    return url.ok() ? url->ToString() : ErrorCode(url.status());
  }

  const Url from_ = *Url::Parse("https://h.example/svc/Items?$select=ID");
  LinkRule rule_{*ServiceRoot("https://h.example/svc/"), {"pages.example"}};
};

TEST_F(LinkRuleTest, RelativeAndAbsoluteLinks) {
  EXPECT_EQ(Follow("Items?$skiptoken=1"), "https://h.example/svc/Items?$skiptoken=1");
  EXPECT_EQ(Follow("Items?%24skiptoken=2"), "https://h.example/svc/Items?%24skiptoken=2");
  EXPECT_EQ(Follow("/svc/Items?$skiptoken=3"), "https://h.example/svc/Items?$skiptoken=3");
  EXPECT_EQ(Follow("https://H.example:443/svc/Items?$skiptoken='a b'"),
            "https://h.example/svc/Items?$skiptoken='a%20b'");
  EXPECT_EQ(Follow("https://pages.example/p?1"), "https://pages.example/p?1");
}

TEST_F(LinkRuleTest, LinksElsewhere) {
  for (const char* link : {"https://other.example/svc/Items?1", "//other.example/x",
                           "https://h.example:8443/svc/Items?1", "http://h.example/svc/Items?1",
                           "http://pages.example/p", "https://pages.example:8443/p",
                           "https://169.254.169.254/latest"}) {
    EXPECT_EQ(Follow(link), "link_elsewhere") << link;
  }
  EXPECT_EQ(Follow("https://user@h.example/"), "source_answer_invalid");
  EXPECT_EQ(Follow("file:///etc/passwd"), "source_answer_invalid");
}

TEST_F(LinkRuleTest, LinksThatComeAgain) {
  EXPECT_EQ(Follow("?a"), "https://h.example/svc/Items?a");
  EXPECT_EQ(Follow("?b"), "https://h.example/svc/Items?b");
  EXPECT_EQ(Follow("https://h.example/svc/Items?a"), "link_loop") << "however it is written";
}

}  // namespace
}  // namespace sluice::gateways

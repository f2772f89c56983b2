#include "gateways/odata/key_predicate.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "schemas/base/status.h"
#include "tests/unit/gateways/odata/shop_entities.h"

namespace sluice::gateways {
namespace {

using testing::ShopEntity;

std::string Key(const std::string& set, std::string_view id) {
  const auto key = KeyFromId(ShopEntity(set), id);
  return key.ok() ? *key : ErrorCode(key.status());
}

TEST(KeyPredicateTest, OnePart) {
  for (const char* id : {"Items(6)", "Items(ID=6)", "https://h.example/svc/Items(6)",
                         "https://h.example/svc('x')/Items(6)?$format=json", "/svc/Items(6)",
                         "Items/6", "https://h.example/svc/Items/6", "6"}) {
    EXPECT_EQ(Key("Items", id), "6") << id;
  }
  EXPECT_EQ(Key("Items", "Items(06)"), "invalid_key") << "no number as JSON has it";
  for (const char* id : {"", "Items", "Items()", "Items('6')x", "Items(x)", "Items(Name=6)",
                         "Items(6,7)", "Items(9223372036854775808)", "Items(ID=)"}) {
    EXPECT_EQ(Key("Items", id), "invalid_key") << id;
  }
}

TEST(KeyPredicateTest, Strings) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"Named('a')", "a"},
      {"Named('O''Neil')", "O'Neil"},
      {"Named('O%27%27Neil')", "O'Neil"},
      {"Named(%27a%20b%27)", "a b"},
      {"Named('a/b')", "a/b"},
      {"Named('a%2Fb(c)')", "a/b(c)"},
      {"Named('a,b=c')", "a,b=c"},
      {"Named('?x')", "?x"},
      {"Named(id='%C3%A4')", "\xc3\xa4"},
      {"Named('100%')", "100%"},
      {"Named('''')", "'"},
      {"Named/a%20b", "a b"},
      {"Named/a%2Fb", "a/b"},
      {"https://h.example/svc/Named/what%3F%28x", "what?(x"},
      {"Named('a%2Fb%3Fc')", "a/b?c"},
      {"Named(%27a/b?c%27)", "a/b?c"},
      {"Named('%2527')", "%27"},
      {"https://h.example/svc/Named('a')?x='('", "a"},
  };
  for (const auto& [id, key] : cases) {
    EXPECT_EQ(Key("Named", id), key) << id;
  }
  for (const char* id : {"Named(a)", "Named('a)", "Named('a'b')", "Named('')", "Named(x'a')",
                         "Named('%00')", "Named('%ff')"}) {
    EXPECT_EQ(Key("Named", id), "invalid_key") << id;
  }
  EXPECT_EQ(Key("Named", "Named('" + std::string(513, 'x') + "')"), "invalid_key");
  EXPECT_EQ(Key("Named", std::string(100'000, '(')), "invalid_key");
}

TEST(KeyPredicateTest, DataverseHasTheBareKey) {
  constexpr char kGuid[] = "8c9e6679-7425-40de-944b-e07fc1f90ae7";
  EXPECT_EQ(Key("contacts", "8C9E6679-7425-40DE-944B-E07FC1F90AE7"), kGuid);
  EXPECT_EQ(Key("contacts", std::string("https://h.example/api/data/v9.2/contacts(") + kGuid + ")"),
            kGuid);
  EXPECT_EQ(Key("contacts", std::string("contacts(guid'") + kGuid + "')"), kGuid)
      << "as before 4.0, with the type's name";
}

TEST(KeyPredicateTest, SeveralParts) {
  EXPECT_EQ(Key("Lines", "Lines(Order=1,Product='a',When=2026-01-31)"), "1,a,2026-01-31");
  EXPECT_EQ(Key("Lines", "Lines(When=2026-01-31,Product='a,b~c',Order=1)"), "1,a~1b~0c,2026-01-31")
      << "in the key's order, and so that no two keys have one text";
  for (const char* id :
       {"Lines(Order=1,Product='a')", "Lines(1,'a',2026-01-31)", "Lines/1", "1",
        "Lines(Order=1,Order=2,Product='a')", "Lines(Order=1,Product='a',At/Value=2026-01-31)",
        "Lines(Order=1,Product='a',When=2026-01-31,Count=1)"}) {
    EXPECT_EQ(Key("Lines", id), "invalid_key") << id;
  }
}

}  // namespace
}  // namespace sluice::gateways

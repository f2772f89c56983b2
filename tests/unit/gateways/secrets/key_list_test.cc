#include "gateways/secrets/key_list.h"

#include <gmock/gmock.h>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(KeyListTest, HasEachKindInOrder) {
  const auto keys = ParseKeyList(
      "k2=file:/etc/sluice/k2, k1=env:SLUICE_K1,h=pkcs11:token=sluice;object=kek%2C1 ");
  ASSERT_TRUE(keys.ok()) << keys.status();
  ASSERT_EQ(keys->size(), 3U);
  EXPECT_EQ((*keys)[0].id, "k2");
  EXPECT_EQ((*keys)[0].kind, KeySetting::Kind::kFile);
  EXPECT_EQ((*keys)[0].where, "/etc/sluice/k2");
  EXPECT_EQ((*keys)[1].kind, KeySetting::Kind::kEnvironment);
  EXPECT_EQ((*keys)[1].where, "SLUICE_K1");
  EXPECT_EQ((*keys)[2].kind, KeySetting::Kind::kPkcs11);
  EXPECT_EQ((*keys)[2].where, "pkcs11:token=sluice;object=kek%2C1");
}

TEST(KeyListTest, MayBeEmpty) {
  EXPECT_TRUE(ParseKeyList("")->empty());
  EXPECT_TRUE(ParseKeyList("  ")->empty());
}

TEST(KeyListTest, RefusesWhatIsNoKey) {
  for (const char* const text :
       {"k1", "k1=", "=file:/k", "k1=/etc/k1", "k1=file:", "k1=env:", "k1=pkcs11:", "k 1=file:/k",
        "k1=file:/k,", ",", "k1=file:/k,,k2=env:K", "k1=FILE:/k",
        "k12345678901234567890123456789012=file:/k"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(ParseKeyList(text).status())) << text;
  }
  EXPECT_FALSE(ParseKeyList(std::string("k1=file:/k\0k", 12)).ok());
}

TEST(KeyListTest, RefusesAnIdTwiceAndTooManyKeys) {
  EXPECT_THAT(Message(ParseKeyList("k1=file:/a,k1=file:/b").status()), HasSubstr("k1 twice"));
  std::string many = "k0=env:K";
  for (size_t i = 1; i < kSealingKeysMax; ++i) {
    many += ",k" + std::to_string(i) + "=env:K";
  }
  EXPECT_TRUE(ParseKeyList(many).ok());
  EXPECT_FALSE(ParseKeyList(many + ",last=env:K").ok());
}

TEST(KeyListTest, DoesNotRepeatAKeyThatSomebodyWroteThere) {
  const auto keys = ParseKeyList("k1=VGhpcyBpcyBub3QgYSBrZXksIGJ1dCBjb3VsZCBiZSE=");
  ASSERT_FALSE(keys.ok());
  EXPECT_THAT(Message(keys.status()), Not(HasSubstr("VGhpcy")));
}

}  // namespace
}  // namespace sluice::gateways

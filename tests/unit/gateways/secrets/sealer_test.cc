#include "gateways/secrets/sealer.h"

#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>
#include <utility>

#include "gateways/secrets/memory_key.h"
#include "schemas/base/status.h"
#include "tests/support/gateways/gcm_vector.h"
#include "tests/support/temp_dir.h"

namespace sluice::gateways {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file.good()) << path;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

// The key that the page's example is sealed with: the bytes 0 to 31.
std::string ExampleKey() {
  std::string bytes;
  for (size_t i = 0; i < kSealingKeyBytes; ++i) {
    bytes.push_back(static_cast<char>(i));
  }
  return bytes;
}

// A ring of keys in memory: id and the character that fills the key.
Sealer MakeRing(const std::vector<std::pair<std::string, char>>& keys) {
  std::vector<Sealer::Key> ring;
  for (const auto& [id, fill] : keys) {
    ring.push_back({id, *MakeMemoryKey(SecretText(std::string(kSealingKeyBytes, fill)))});
  }
  return Sealer(std::move(ring));
}

SecretText Secret() { return SecretText(std::string("s3cret, of the shop")); }
const SecretPlace kPlace = {"acme", "crm", "client_secret"};

TEST(SealerTest, OpensWhatItSealed) {
  Sealer ring = MakeRing({{"k1", 'a'}});
  const auto sealed = ring.Seal(kPlace, Secret());
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(sealed->name(), "client_secret");
  EXPECT_EQ(sealed->key_id(), "k1");
  EXPECT_THAT(sealed->SerializeAsString(), Not(HasSubstr("s3cret")));
  EXPECT_EQ(ring.Open(kPlace, *sealed)->Reveal(), "s3cret, of the shop");
}

TEST(SealerTest, NeverSealsWithOneNonceTwice) {
  Sealer ring = MakeRing({{"k1", 'a'}});
  std::set<std::string> nonces;
  for (int i = 0; i < 1'000; ++i) {
    nonces.insert(ring.Seal(kPlace, Secret())->nonce());
  }
  EXPECT_EQ(nonces.size(), 1'000U);
}

TEST(SealerTest, MovedSecretDoesNotOpen) {
  // Two keys of the same bytes: what is bound to one id does not open under the other.
  Sealer ring = MakeRing({{"k1", 'a'}, {"k2", 'a'}});
  const v1::SealedSecret sealed = *ring.Seal(kPlace, Secret());
  for (const SecretPlace& other :
       {SecretPlace{"acme2", "crm", "client_secret"}, SecretPlace{"acme", "crm2", "client_secret"},
        SecretPlace{"acme", "crm", "password"}, SecretPlace{"acm", "ecrm", "client_secret"}}) {
    EXPECT_EQ(ErrorCode(ring.Open(other, sealed).status()), "secret_unreadable");
  }
  v1::SealedSecret renamed = sealed;
  renamed.set_key_id("k2");
  EXPECT_EQ(ErrorCode(ring.Open(kPlace, renamed).status()), "secret_unreadable");
  v1::SealedSecret later = sealed;
  later.set_format(2);
  EXPECT_EQ(ErrorCode(ring.Open(kPlace, later).status()), "secret_unreadable");
}

TEST(SealerTest, RotationKeepsOldSecretsReadable) {
  const v1::SealedSecret old = *MakeRing({{"k1", 'a'}}).Seal(kPlace, Secret());
  Sealer both = MakeRing({{"k2", 'b'}, {"k1", 'a'}});
  EXPECT_EQ(both.key_id(), "k2");
  const v1::SealedSecret again = *both.Seal(kPlace, *both.Open(kPlace, old));
  EXPECT_EQ(again.key_id(), "k2");
  Sealer only_new = MakeRing({{"k2", 'b'}});
  EXPECT_EQ(only_new.Open(kPlace, again)->Reveal(), "s3cret, of the shop");
  const absl::Status gone = only_new.Open(kPlace, old).status();
  EXPECT_EQ(ErrorCode(gone), "secrets_key_missing");
  EXPECT_THAT(Message(gone), HasSubstr("\"k1\""));
}

TEST(SealerTest, RefusesWhatIsNoSecret) {
  Sealer ring = MakeRing({{"k1", 'a'}});
  EXPECT_FALSE(ring.Seal(kPlace, SecretText()).ok());
  EXPECT_TRUE(ring.Seal(kPlace, SecretText(std::string(kSecretBytesMax, 's'))).ok());
  EXPECT_FALSE(ring.Seal(kPlace, SecretText(std::string(kSecretBytesMax + 1, 's'))).ok());
  EXPECT_FALSE(ring.Seal({"acme", std::string("c\0m", 3), "n"}, Secret()).ok());
}

TEST(SealerTest, WithoutKeysRefuses) {
  const auto ring = Sealer::Create({});
  ASSERT_TRUE(ring.ok());
  EXPECT_EQ((*ring)->key_id(), "");
  const absl::Status refused = (*ring)->Seal(kPlace, Secret()).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_EQ(ErrorCode(refused), "secrets_key_missing");
}

TEST(SealerTest, IsMadeFromSettings) {
  const testing::TempDir folder;
  const std::string path = folder / "k2";
  std::ofstream(path) << "YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE=\n";
  ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  ASSERT_EQ(::setenv("SLUICE_TEST_K1", "YmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmJiYmI=", 1), 0);
  const auto ring = Sealer::Create({"k2=file:" + path + ",k1=env:SLUICE_TEST_K1", "", ""});
  ASSERT_TRUE(ring.ok()) << ring.status();
  EXPECT_EQ((*ring)->key_id(), "k2");
  EXPECT_TRUE(MakeRing({{"k2", 'a'}}).Open(kPlace, *(*ring)->Seal(kPlace, Secret())).ok());
  EXPECT_TRUE((*ring)->Open(kPlace, *MakeRing({{"k1", 'b'}}).Seal(kPlace, Secret())).ok());
  ASSERT_EQ(::unsetenv("SLUICE_TEST_K1"), 0);
  EXPECT_THAT(Message(Sealer::Create({"k1=env:SLUICE_TEST_K1", "", ""}).status()),
              HasSubstr("key k1 of secrets.keys"));
  for (const char* const uri : {"pkcs11:token=t;object=o", "pkcs11:token=t", "pkcs11:%"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(
        Sealer::Create({std::string("h=") + uri, "", folder / "pin"}).status()))
        << uri;
  }
}

// The worked example of gateways/docs/secrets.md is the golden message, and says what it holds.
TEST(SealerTest, TheDocumentedExampleIsTheGoldenMessage) {
  const std::string golden = testing::FromHex(Read(SLUICE_GOLDEN "/messages/SealedSecret.hex"));
  std::istringstream page(Read(SLUICE_DOCS "/secrets.md"));
  std::string bytes;
  for (std::string line; std::getline(page, line);) {
    if (line.rfind("    | ", 0) == 0) {
      bytes += testing::FromHex(line.substr(6, line.find('|', 6) - 6));
    }
  }
  EXPECT_EQ(bytes, golden);
  v1::SealedSecret sealed;
  ASSERT_TRUE(sealed.ParseFromString(golden));
  std::vector<Sealer::Key> ring;
  ring.push_back({"k1", *MakeMemoryKey(SecretText(ExampleKey()))});
  EXPECT_EQ(Sealer(std::move(ring)).Open(kPlace, sealed)->Reveal(), "s3cret, of the shop");
}

}  // namespace
}  // namespace sluice::gateways

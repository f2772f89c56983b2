#include <gmock/gmock.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "gateways/secrets/memory_key.h"
#include "gateways/secrets/pkcs11_key.h"
#include "gateways/secrets/sealer.h"
#include "schemas/base/status.h"
#include "tests/support/gateways/gcm_vector.h"
#include "tests/support/temp_dir.h"

// A token of SoftHSM2 in a temporary folder, made as gateways/docs/secrets.md says: a key that was
// made there and cannot leave it, and the key of the published test vector.
namespace sluice::gateways {
namespace {

using sluice::testing::FromHex;
using sluice::testing::kGcmVector;
using ::testing::HasSubstr;

constexpr char kModule[] = "/usr/lib/softhsm/libsofthsm2.so";

class Pkcs11SealerTest : public ::testing::Test {
 protected:
  // One token for all cases: the library reads SOFTHSM2_CONF when it is loaded first.
  static void SetUpTestSuite() {
    folder_ = new sluice::testing::TempDir();
    std::filesystem::create_directory(*folder_ / "tokens");
    Write("softhsm2.conf", "directories.tokendir = " + (*folder_ / "tokens") +
                               "\nobjectstore.backend = file\nlog.level = ERROR\n");
    ASSERT_EQ(::setenv("SOFTHSM2_CONF", (*folder_ / "softhsm2.conf").c_str(), 1), 0);
    Write("pin", "5678\n");
    Write("vector", FromHex(kGcmVector.key));
    Write("short", std::string(16, 's'));
    Run("softhsm2-util --init-token --free --label sluice --so-pin 1234 --pin 5678");
    Tool("--keygen --key-type AES:32 --label kek --id 01 --sensitive");
    Tool("--write-object " + (*folder_ / "vector") +
         " --type secrkey --key-type AES:32 --label vector --id 02");
    Tool("--keygen --key-type AES:16 --label short --id 03 --sensitive");
    Tool("--keygen --key-type AES:32 --label twice --id 04 --sensitive");
    Tool("--keygen --key-type AES:32 --label twice --id 05 --sensitive");
  }
  static void TearDownTestSuite() { delete folder_; }

  static void Write(const std::string& name, const std::string& content) {
    const std::string path = *folder_ / name;
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    ASSERT_EQ(::chmod(path.c_str(), 0600), 0);
  }
  static void Run(const std::string& command) {
    ASSERT_EQ(std::system((command + " >" + (*folder_ / "output") + " 2>&1").c_str()), 0)
        << command << "\n"
        << std::ifstream(*folder_ / "output").rdbuf();
  }
  static void Tool(const std::string& rest) {
    Run(std::string("pkcs11-tool --module ") + kModule +
        " --token-label sluice --login --pin 5678 " + rest);
  }

  static absl::StatusOr<std::unique_ptr<SealingKey>> OpenKey(const std::string& uri) {
    return OpenPkcs11Key({kModule, "pkcs11:" + uri, *folder_ / "pin"});
  }

  static sluice::testing::TempDir* folder_;
};

sluice::testing::TempDir* Pkcs11SealerTest::folder_ = nullptr;

const SecretPlace kPlace = {"acme", "crm", "client_secret"};

TEST_F(Pkcs11SealerTest, MakesTheBytesOfThePublishedVectorAndOfAKeyInMemory) {
  const auto token = OpenKey("token=sluice;object=vector");
  ASSERT_TRUE(token.ok()) << token.status();
  const std::string nonce = FromHex(kGcmVector.nonce);
  const std::string aad = FromHex(kGcmVector.aad);
  const auto sealed = (*token)->Seal(nonce, aad, FromHex(kGcmVector.text));
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(*sealed, FromHex(kGcmVector.sealed));
  const auto memory = MakeMemoryKey(SecretText(FromHex(kGcmVector.key)));
  for (const size_t size : {1, 15, 16, 17, 1'000, 65'536}) {
    const std::string text(size, 'x');
    const auto there = (*token)->Seal(nonce, aad, text);
    ASSERT_TRUE(there.ok()) << there.status();
    EXPECT_EQ(*there, *(*memory)->Seal(nonce, aad, text));
    const auto back = (*token)->Open(nonce, aad, *there);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->Reveal(), text);
  }
}

TEST_F(Pkcs11SealerTest, SealsInTheRingAndOpensOnlyInItsPlace) {
  const std::string keys = "h=pkcs11:token=sluice;object=kek;type=secret-key,v=pkcs11:id=%02";
  const auto ring = Sealer::Create({keys, kModule, *folder_ / "pin"});
  ASSERT_TRUE(ring.ok()) << ring.status();
  const auto sealed = (*ring)->Seal(kPlace, SecretText(std::string("s3cret")));
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(sealed->key_id(), "h");
  EXPECT_EQ((*ring)->Open(kPlace, *sealed)->Reveal(), "s3cret");
  for (const SecretPlace& other :
       {SecretPlace{"acme", "crm", "password"}, SecretPlace{"a", "b", ""}}) {
    EXPECT_EQ(ErrorCode((*ring)->Open(other, *sealed).status()), "secret_unreadable");
  }
  for (size_t i = 0; i < sealed->sealed().size(); ++i) {
    v1::SealedSecret changed = *sealed;
    (*changed.mutable_sealed())[i] = static_cast<char>(changed.sealed()[i] ^ 1);
    EXPECT_EQ(ErrorCode((*ring)->Open(kPlace, changed).status()), "secret_unreadable");
    changed.mutable_sealed()->resize(i);
    EXPECT_EQ(ErrorCode((*ring)->Open(kPlace, changed).status()), "secret_unreadable");
  }
  EXPECT_EQ((*ring)->Open(kPlace, *sealed)->Reveal(), "s3cret");  // and the token goes on
}

TEST_F(Pkcs11SealerTest, AnotherProcessOpensWhatThisOneSealed) {
  const SealerOptions options = {"h=pkcs11:token=sluice;object=kek", kModule, *folder_ / "pin"};
  v1::SealedSecret sealed;
  {
    const auto ring = Sealer::Create(options);
    ASSERT_TRUE(ring.ok()) << ring.status();
    sealed = *(*ring)->Seal(kPlace, SecretText(std::string("s3cret")));
  }
  // The module was finalised with the ring: this is a new start.
  EXPECT_EQ((*Sealer::Create(options))->Open(kPlace, sealed)->Reveal(), "s3cret");
}

TEST_F(Pkcs11SealerTest, IsUsedFromManyThreads) {
  const auto key = OpenKey("token=sluice;object=kek");
  ASSERT_TRUE(key.ok()) << key.status();
  std::vector<std::thread> threads;
  for (char name = 'a'; name < 'e'; ++name) {
    threads.emplace_back([&key, name] {
      const std::string nonce(kSealingNonceBytes, name);
      for (int i = 0; i < 50; ++i) {
        const auto sealed = (*key)->Seal(nonce, "aad", std::string(100, name));
        EXPECT_TRUE(sealed.ok() &&
                    (*key)->Open(nonce, "aad", *sealed)->Reveal() == std::string(100, name));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

TEST_F(Pkcs11SealerTest, NamesExactlyOneKeyOfTheRightKind) {
  EXPECT_TRUE(absl::IsNotFound(OpenKey("token=other;object=kek").status()));
  EXPECT_TRUE(absl::IsNotFound(OpenKey("token=sluice;object=other").status()));
  EXPECT_THAT(Message(OpenKey("token=sluice;object=twice").status()), HasSubstr("more than one"));
  EXPECT_TRUE(OpenKey("token=sluice;object=twice;id=%05").ok());
  EXPECT_THAT(Message(OpenKey("token=sluice;object=short").status()), HasSubstr("128 bits"));
}

TEST_F(Pkcs11SealerTest, SettingsThatCannotBeRight) {
  for (const char* const uri :
       {"token=sluice", "token=sluice;object=kek?pin-value=5678", "object=%zz",
        "token=sluice;object=kek?module-path=/tmp/x.so", "token=sluice;object=kek;colour=red",
        "token=sluice;object=kek?pin-source=/tmp/pin"}) {
    EXPECT_TRUE(absl::IsInvalidArgument(OpenKey(uri).status())) << uri;
  }
  const std::string uri = "pkcs11:token=sluice;object=kek";
  EXPECT_TRUE(absl::IsInvalidArgument(OpenPkcs11Key({"", uri, *folder_ / "pin"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenPkcs11Key({"/none.so", uri, *folder_ / "pin"}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(OpenPkcs11Key({kModule, uri, ""}).status()));
  EXPECT_TRUE(absl::IsNotFound(OpenPkcs11Key({kModule, uri, *folder_ / "none"}).status()));
}

TEST_F(Pkcs11SealerTest, ARefusedPinIsToldAndNeverShown) {
  Write("wrong", "98765");
  const absl::Status refused =
      OpenPkcs11Key({kModule, "pkcs11:token=sluice;object=kek", *folder_ / "wrong"}).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(refused)) << refused;
  EXPECT_EQ(Message(refused).find("98765"), std::string_view::npos);
}

}  // namespace
}  // namespace sluice::gateways

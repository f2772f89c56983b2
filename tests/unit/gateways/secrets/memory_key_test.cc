#include "gateways/secrets/memory_key.h"

#include <gmock/gmock.h>

#include <utility>

#include "schemas/base/status.h"
#include "tests/support/gateways/gcm_vector.h"

namespace sluice::gateways {
namespace {

using testing::kGcmVector;

std::unique_ptr<SealingKey> MakeKey(std::string bytes) {
  return *MakeMemoryKey(SecretText(std::move(bytes)));
}

TEST(MemoryKeyTest, SealsAsThePublishedVector) {
  const auto key = MakeKey(testing::FromHex(kGcmVector.key));
  const std::string nonce = testing::FromHex(kGcmVector.nonce);
  const std::string aad = testing::FromHex(kGcmVector.aad);
  const auto sealed = key->Seal(nonce, aad, testing::FromHex(kGcmVector.text));
  ASSERT_TRUE(sealed.ok()) << sealed.status();
  EXPECT_EQ(*sealed, testing::FromHex(kGcmVector.sealed));
  EXPECT_EQ(key->Open(nonce, aad, *sealed)->Reveal(), testing::FromHex(kGcmVector.text));
}

TEST(MemoryKeyTest, OpensNothingThatIsChangedAnywhere) {
  const auto key = MakeKey(std::string(kSealingKeyBytes, 'k'));
  const std::string nonce(kSealingNonceBytes, 'n');
  const std::string sealed = *key->Seal(nonce, "place", "secret");
  const auto refuses = [](const absl::StatusOr<SecretText>& opened) {
    return absl::IsFailedPrecondition(opened.status()) &&
           ErrorCode(opened.status()) == "secret_unreadable";
  };
  for (size_t bit = 0; bit < 8 * sealed.size(); ++bit) {
    std::string changed = sealed;
    changed[bit / 8] = static_cast<char>(changed[bit / 8] ^ 1 << bit % 8);
    EXPECT_TRUE(refuses(key->Open(nonce, "place", changed))) << bit;
  }
  for (size_t size = 0; size < sealed.size(); ++size) {
    EXPECT_TRUE(refuses(key->Open(nonce, "place", sealed.substr(0, size)))) << size;
  }
  EXPECT_TRUE(refuses(key->Open(nonce, "place", sealed + '\0')));
  EXPECT_TRUE(refuses(key->Open(nonce, "Place", sealed)));
  EXPECT_TRUE(refuses(key->Open(std::string(kSealingNonceBytes, 'm'), "place", sealed)));
  EXPECT_TRUE(refuses(key->Open(nonce.substr(1), "place", sealed)));
  EXPECT_TRUE(refuses(MakeKey(std::string(kSealingKeyBytes, 'K'))->Open(nonce, "place", sealed)));
  EXPECT_EQ(key->Open(nonce, "place", sealed)->Reveal(), "secret");
}

TEST(MemoryKeyTest, HasTwoHundredAndFiftySixBits) {
  for (const size_t size : {0, 16, 31, 33}) {
    EXPECT_TRUE(
        absl::IsInvalidArgument(MakeMemoryKey(SecretText(std::string(size, 'k'))).status()));
  }
}

}  // namespace
}  // namespace sluice::gateways

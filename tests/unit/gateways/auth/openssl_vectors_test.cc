#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>

#include "gateways/auth/authenticator.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"

namespace sluice::gateways {
namespace {

// Keys and tokens made once with the openssl command (genpkey, dgst -sign, pkeyutl -sign); the
// EdDSA key is that of RFC 8037, appendix A.1, and its token the example of gateways/docs/auth.md.
TEST(OpensslVectorsTest, AreTakenWithEveryAlgorithmAndRefusedWhenExpired) {
  std::ifstream file(SLUICE_TEST_DATA "/openssl_vectors.json");
  const nlohmann::json vectors = nlohmann::json::parse(file);
  const testing::TempDir dir;
  std::ofstream(dir / "jwks.json") << vectors["jwks"].dump();
  AuthOptions options;
  options.jwks = dir / "jwks.json";
  auto clock = std::make_shared<testing::FakeClock>(std::chrono::seconds(1'790'000'000));
  options.clock = clock;
  const auto authenticator = Authenticator::Create(options);
  ASSERT_TRUE(authenticator.ok()) << authenticator.status();
  ASSERT_EQ(vectors["tokens"].size(), 4u);
  for (const auto& [alg, token] : vectors["tokens"].items()) {
    const auto principal = (*authenticator)->Authenticate("Bearer " + token.get<std::string>());
    ASSERT_TRUE(principal.ok()) << alg << principal.status();
    EXPECT_EQ((*principal)->subject, "u1");
  }
  clock->Advance(std::chrono::seconds(605));
  for (const auto& [alg, token] : vectors["tokens"].items()) {
    const auto principal = (*authenticator)->Authenticate("Bearer " + token.get<std::string>());
    EXPECT_EQ(ErrorCode(principal.status()), "token_expired") << alg;
  }
}

}  // namespace
}  // namespace sluice::gateways

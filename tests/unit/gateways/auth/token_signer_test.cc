#include "gateways/auth/token_signer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "gateways/auth/authenticator.h"
#include "gateways/auth/dev_key.h"
#include "gateways/auth/key_set.h"
#include "schemas/base/files.h"
#include "schemas/base/status.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"

namespace sluice::gateways {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class TokenSignerTest : public ::testing::Test {
 protected:
  AuthOptions Options() const {
    AuthOptions options;
    options.data_dir = dir_.path().string();
    options.clock = clock_;
    return options;
  }

  testing::TempDir dir_;
  std::shared_ptr<testing::FakeClock> clock_ = std::make_shared<testing::FakeClock>();
};

TEST_F(TokenSignerTest, TheDevelopmentKeySignsWhatTheAuthenticatorTakes) {
  auto authenticator = Authenticator::Create(Options());
  ASSERT_TRUE(authenticator.ok()) << authenticator.status();
  const auto key = ReadPrivateJwk(dir_ / kDevKeyFile);
  ASSERT_TRUE(key.ok()) << key.status();
  TokenSpec spec{.subject = "u1",
                 .scope = "sluice.sync sluice.admin openid",
                 .org = "contoso",
                 .roles = {"field-sales"},
                 .teams = {"t2", "t1"},
                 .business_unit = "west",
                 .issuer = kDevIssuer,
                 .audience = "",
                 .lifetime = std::chrono::minutes(5)};
  const auto token = SignToken(spec, *key, clock_->Now());
  ASSERT_TRUE(token.ok()) << token.status();
  const auto principal = (*authenticator)->Authenticate("Bearer " + *token);
  ASSERT_TRUE(principal.ok()) << principal.status();
  EXPECT_EQ((*principal)->subject, "u1");
  EXPECT_EQ((*principal)->issuer, "sluice-dev");
  EXPECT_EQ((*principal)->org, "contoso");
  EXPECT_THAT((*principal)->roles, ElementsAre("field-sales"));
  EXPECT_THAT((*principal)->teams, ElementsAre("t1", "t2"));
  EXPECT_EQ((*principal)->business_unit, "west");
  EXPECT_TRUE((*principal)->Has(Scope::kSync));
  EXPECT_TRUE((*principal)->Has(Scope::kAdmin));
  EXPECT_FALSE((*principal)->Has(Scope::kIngest));
  EXPECT_EQ((*principal)->expires, clock_->Now() + std::chrono::minutes(5));
}

TEST_F(TokenSignerTest, EmptyMembersAreAbsentClaims) {
  auto authenticator = Authenticator::Create(Options());
  ASSERT_TRUE(authenticator.ok()) << authenticator.status();
  const auto key = LoadOrCreateDevKey(dir_.path().string());
  ASSERT_TRUE(key.ok());
  const auto token = SignToken({}, *key, clock_->Now());
  ASSERT_TRUE(token.ok()) << token.status();
  const auto principal = (*authenticator)->Authenticate("Bearer " + *token);
  ASSERT_TRUE(principal.ok()) << principal.status();
  EXPECT_EQ((*principal)->org, "");
  EXPECT_EQ((*principal)->business_unit, std::nullopt);
  EXPECT_EQ((*principal)->scopes, 0u);
}

TEST_F(TokenSignerTest, TheKeyFileIsPrivateAndKept) {
  const auto key = LoadOrCreateDevKey(dir_.path().string());
  ASSERT_TRUE(key.ok()) << key.status();
  struct stat info {};
  ASSERT_EQ(::stat((dir_ / kDevKeyFile).c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  EXPECT_EQ(*LoadOrCreateDevKey(dir_.path().string()), *key);
  size_t files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
    files += entry.is_regular_file() ? 1 : 0;
  }
  EXPECT_EQ(files, 2u) << "temporary files are left";
}

TEST_F(TokenSignerTest, ThePublicSetHoldsNothingPrivate) {
  ASSERT_TRUE(LoadOrCreateDevKey(dir_.path().string()).ok());
  const auto jwks = ReadSmallFile(dir_ / kDevJwksFile, kJwksBytesMax);
  ASSERT_TRUE(jwks.ok());
  EXPECT_THAT(*jwks, Not(HasSubstr("\"d\"")));
  const auto keys = KeySet::Parse(*jwks);
  ASSERT_TRUE(keys.ok()) << keys.status();
  EXPECT_EQ(keys->size(), 1u);
}

TEST_F(TokenSignerTest, ProcessesThatStartAtOnceAgreeOnOneKey) {
  std::vector<std::string> keys(8);
  std::vector<std::thread> threads;
  for (std::string& key : keys) {
    threads.emplace_back(
        [&] { key = LoadOrCreateDevKey(dir_.path().string()).value_or("failed"); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_THAT(keys, ::testing::Each(keys.front()));
  EXPECT_THAT(keys.front(), HasSubstr("Ed25519"));
}

TEST_F(TokenSignerTest, RefusesWhatWouldNotBeTaken) {
  const auto key = LoadOrCreateDevKey(dir_.path().string());
  ASSERT_TRUE(key.ok());
  const SystemTime now = clock_->Now();
  const auto kind = [&](const TokenSpec& spec, const std::string& jwk) {
    return SignToken(spec, jwk, now).status().code();
  };
  EXPECT_EQ(kind({.lifetime = std::chrono::seconds(0)}, *key), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(kind({.subject = "\xff"}, *key), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(kind({.subject = std::string(20'000, 'x')}, *key), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(kind({.roles = std::vector<std::string>(101, "r")}, *key),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(kind({}, "{}"), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(kind({}, R"({"kty":"oct","k":"c2VjcmV0"})"), absl::StatusCode::kInvalidArgument);
  // The public half cannot sign.
  const auto jwks = PublicJwks(*key);
  ASSERT_TRUE(jwks.ok());
  const std::string jwk = jwks->substr(9, jwks->size() - 11);
  EXPECT_EQ(kind({}, jwk), absl::StatusCode::kInvalidArgument);
}

TEST_F(TokenSignerTest, ADamagedKeyFileIsAnErrorThatNamesThePath) {
  std::ofstream(dir_ / kDevKeyFile) << "{\"kty\":\"OKP\",\"d\":\"secret-part\"";
  const auto authenticator = Authenticator::Create(Options());
  ASSERT_FALSE(authenticator.ok());
  EXPECT_THAT(std::string(Message(authenticator.status())), HasSubstr("dev-key.jwk"));
  EXPECT_THAT(std::string(Message(authenticator.status())), Not(HasSubstr("secret-part")));
}

}  // namespace
}  // namespace sluice::gateways

#include "gateways/auth/authenticator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <filesystem>
#include <fstream>
#include <thread>

#include "schemas/base/files.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "tests/support/fake_clock.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/gateways/auth/test_keys.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using testing::HmacSha256;
using testing::Jwks;
using ::testing::Not;
using testing::TestKey;

// Making RSA keys is slow; all tests share these.
const TestKey& RsaKey() {
  static const TestKey kKey = TestKey::Rsa("rsa");
  return kKey;
}
const TestKey& EcKey() {
  static const TestKey kKey = TestKey::P256("ec");
  return kKey;
}
const TestKey& EdKey() {
  static const TestKey kKey = TestKey::Ed25519("ed");
  return kKey;
}

class AuthenticatorTest : public ::testing::Test {
 protected:
  void SetUp() override { WriteKeys(Jwks({RsaKey().Jwk(), EcKey().Jwk(), EdKey().Jwk()})); }

  void WriteKeys(const std::string& jwks) const {
    ASSERT_TRUE(WriteFileAtomically(path_, jwks, 0644, IfExists::kReplace).ok());
  }

  AuthOptions Options() const {
    AuthOptions options;
    options.jwks = path_;
    options.clock = clock_;
    options.registry = registry_;
    return options;
  }

  void Start() { Start(Options()); }
  void Start(const AuthOptions& options) {
    auto created = Authenticator::Create(options);
    ASSERT_TRUE(created.ok()) << created.status();
    authenticator_ = *std::move(created);
  }

  json Claims() const {
    return {{"sub", "u1"}, {"org", "contoso"}, {"scope", "sluice.sync"}, {"exp", Now() + 600}};
  }
  int64_t Now() const {
    return std::chrono::floor<std::chrono::seconds>(clock_->Now()).time_since_epoch().count();
  }

  // "ok" or the stable code.
  std::string Check(const std::string& token) {
    const auto result = authenticator_->Authenticate("Bearer " + token);
    return result.ok() ? "ok" : ErrorCode(result.status());
  }

  std::string Metrics() const {
    return prometheus::TextSerializer().Serialize(registry_->Collect());
  }

  testing::TempDir dir_;
  std::string path_ = dir_ / "jwks.json";
  std::shared_ptr<testing::FakeClock> clock_ = std::make_shared<testing::FakeClock>();
  std::shared_ptr<prometheus::Registry> registry_ = std::make_shared<prometheus::Registry>();
  std::unique_ptr<Authenticator> authenticator_;
};

std::string Unsigned(const json& header, const json& claims) {
  return EncodeBase64Url(header.dump()) + "." + EncodeBase64Url(claims.dump()) + ".";
}

TEST_F(AuthenticatorTest, TakesEveryAlgorithm) {
  Start();
  EXPECT_EQ(Check(RsaKey().Token("RS256", Claims())), "ok");
  EXPECT_EQ(Check(RsaKey().Token("PS256", Claims())), "ok");
  EXPECT_EQ(Check(EcKey().Token("ES256", Claims())), "ok");
  EXPECT_EQ(Check(EdKey().Token("EdDSA", Claims())), "ok");
}

TEST_F(AuthenticatorTest, RefusesEverySingleChangedByte) {
  Start();
  for (const std::string& token :
       {EdKey().Token("EdDSA", Claims()), EcKey().Token("ES256", Claims())}) {
    ASSERT_EQ(Check(token), "ok");
    for (size_t i = 0; i < token.size(); ++i) {
      std::string changed = token;
      changed[i] = changed[i] == 'A' ? 'B' : 'A';
      EXPECT_EQ(Check(changed), "token_invalid") << i;
      EXPECT_EQ(Check(token.substr(0, i)), i == 0 ? "token_missing" : "token_invalid") << i;
    }
  }
}

TEST_F(AuthenticatorTest, RefusesAlgNoneInAnySpelling) {
  Start();
  for (const char* none : {"none", "None", "NONE", "nOnE", ""}) {
    EXPECT_EQ(Check(Unsigned({{"alg", none}}, Claims())), "token_invalid");
    EXPECT_EQ(Check(Unsigned({{"alg", none}, {"kid", "ed"}}, Claims()) +
                    EncodeBase64Url(std::string(64, 'x'))),
              "token_invalid");
  }
  EXPECT_EQ(Check(Unsigned({{"kid", "ed"}}, Claims())), "token_invalid");
  EXPECT_EQ(Check(Unsigned({{"alg", "EdDSA"}, {"kid", "ed"}}, Claims())), "token_invalid");
}

TEST_F(AuthenticatorTest, RefusesAPublicKeyUsedAsHmacSecret) {
  Start();
  for (const char* alg : {"HS256", "HS384", "HS512"}) {
    const std::string input = EncodeBase64Url(json{{"alg", alg}, {"kid", "rsa"}}.dump()) + "." +
                              EncodeBase64Url(Claims().dump());
    for (const std::string& secret :
         {RsaKey().Pem(), RsaKey().Jwk().dump(), RsaKey().Jwk()["n"].get<std::string>()}) {
      EXPECT_EQ(Check(input + "." + EncodeBase64Url(HmacSha256(secret, input))), "token_invalid");
    }
  }
}

TEST_F(AuthenticatorTest, AnHmacKeyInTheSetIsPassedOver) {
  const std::string secret(32, 's');
  WriteKeys(Jwks({EdKey().Jwk(), {{"kty", "oct"}, {"kid", "h"}, {"k", EncodeBase64Url(secret)}}}));
  Start();
  const std::string input = EncodeBase64Url(json{{"alg", "HS256"}, {"kid", "h"}}.dump()) + "." +
                            EncodeBase64Url(Claims().dump());
  EXPECT_EQ(Check(input + "." + EncodeBase64Url(HmacSha256(secret, input))), "token_invalid");
}

TEST_F(AuthenticatorTest, RefusesAnAlgorithmOfAnotherKeyType) {
  Start();
  const std::string payload = Claims().dump();
  EXPECT_EQ(Check(RsaKey().Sign("RS256", {{"alg", "RS256"}, {"kid", "ec"}}, payload)),
            "token_invalid");
  EXPECT_EQ(Check(RsaKey().Sign("RS256", {{"alg", "ES256"}, {"kid", "rsa"}}, payload)),
            "token_invalid");
  EXPECT_EQ(Check(RsaKey().Sign("RS256", {{"alg", "PS256"}, {"kid", "rsa"}}, payload)),
            "token_invalid");
  EXPECT_EQ(Check(EdKey().Sign("EdDSA", {{"alg", "ES256"}, {"kid", "ed"}}, payload)),
            "token_invalid");
  EXPECT_EQ(Check(EdKey().Sign("EdDSA", {{"alg", "ES256"}, {"kid", "ec"}}, payload)),
            "token_invalid");
  EXPECT_EQ(Check(RsaKey().Sign("RS256", {{"alg", "RS512"}, {"kid", "rsa"}}, payload)),
            "token_invalid");
}

TEST_F(AuthenticatorTest, KeysInTheHeaderAreNotUsed) {
  Start();
  const TestKey attacker = TestKey::Ed25519("ed");
  json jwk = attacker.Jwk();
  for (const json& extra : {json{{"jwk", jwk}}, json{{"jku", "http://127.0.0.1:1/jwks"}},
                            json{{"x5u", "http://127.0.0.1:1/cert"}}, json{{"x5c", {"MIIB"}}}}) {
    json header = {{"alg", "EdDSA"}, {"kid", "ed"}};
    header.update(extra);
    EXPECT_EQ(Check(attacker.Sign("EdDSA", header, Claims().dump())), "token_invalid") << extra;
    header.erase("kid");
    EXPECT_EQ(Check(attacker.Sign("EdDSA", header, Claims().dump())), "token_invalid") << extra;
    // They are not looked at, so they do no harm to a good token either.
    EXPECT_EQ(Check(EdKey().Sign("EdDSA", header, Claims().dump())), "ok") << extra;
  }
}

TEST_F(AuthenticatorTest, RefusesHeadersThatChangeTheMeaning) {
  Start();
  for (const json& extra :
       {json{{"crit", {"exp"}}}, json{{"crit", json::array()}}, json{{"zip", "DEF"}},
        json{{"b64", false}}, json{{"typ", "logout+jwt"}}, json{{"typ", 7}}, json{{"kid", 7}},
        json{{"kid", std::string("ed\0x", 4)}}, json{{"alg", {"EdDSA"}}}}) {
    json header = {{"alg", "EdDSA"}, {"kid", "ed"}};
    header.update(extra);
    EXPECT_EQ(Check(EdKey().Sign("EdDSA", header, Claims().dump())), "token_invalid") << extra;
  }
  for (const char* typ : {"JWT", "jwt", "at+jwt", "application/at+JWT"}) {
    const json header = {{"alg", "EdDSA"}, {"kid", "ed"}, {"typ", typ}};
    EXPECT_EQ(Check(EdKey().Sign("EdDSA", header, Claims().dump())), "ok") << typ;
  }
}

TEST_F(AuthenticatorTest, RespectsAlgUseAndKeyOpsOfTheSet) {
  const auto with = [](json jwk, const json& extra) {
    jwk.update(extra);
    return jwk;
  };
  WriteKeys(Jwks({with(RsaKey().Jwk(), {{"alg", "PS256"}, {"use", "sig"}}),
                  with(EcKey().Jwk(), {{"use", "enc"}}),
                  with(EdKey().Jwk(), {{"key_ops", {"verify"}}})}));
  Start();
  EXPECT_EQ(Check(RsaKey().Token("PS256", Claims())), "ok");
  EXPECT_EQ(Check(RsaKey().Token("RS256", Claims())), "token_invalid");
  EXPECT_EQ(Check(EcKey().Token("ES256", Claims())), "token_invalid");
  EXPECT_EQ(Check(EdKey().Token("EdDSA", Claims())), "ok");
}

TEST_F(AuthenticatorTest, PassesOverWeakAndForeignKeys) {
  const TestKey weak = TestKey::Rsa("weak", 1024);
  const TestKey p384 = TestKey::Ec("p384", "P-384");
  json encrypting = EdKey().Jwk();
  encrypting["key_ops"] = {"sign"};
  encrypting["kid"] = "ops";
  json off_curve = EcKey().Jwk();
  off_curve["y"] = off_curve["x"];
  off_curve["kid"] = "off";
  WriteKeys(Jwks({weak.Jwk(), p384.Jwk(), encrypting, EdKey().Jwk(), off_curve, json(7)}));
  Start();
  EXPECT_EQ(Check(weak.Token("RS256", Claims())), "token_invalid");
  EXPECT_EQ(Check(EdKey().Token("EdDSA", Claims())), "ok");
  // A point that is not on the curve is only found out when it is used.
  const json header = {{"alg", "ES256"}, {"kid", "off"}};
  EXPECT_EQ(Check(EcKey().Sign("ES256", header, Claims().dump())), "token_invalid");
  EXPECT_THAT(Metrics(), HasSubstr("sluice_auth_keys 2"));
}

TEST_F(AuthenticatorTest, WithoutKidExactlyOneKeyMustFit) {
  const TestKey anonymous = TestKey::Ed25519("");
  Start();
  EXPECT_EQ(Check(EdKey().Sign("EdDSA", {{"alg", "EdDSA"}}, Claims().dump())), "ok");
  json other = TestKey::Ed25519("other").Jwk();
  WriteKeys(Jwks({EdKey().Jwk(), other}));
  Start();
  EXPECT_EQ(Check(EdKey().Sign("EdDSA", {{"alg", "EdDSA"}}, Claims().dump())), "token_invalid");
  EXPECT_EQ(Check(EdKey().Token("EdDSA", Claims())), "ok");
}

TEST_F(AuthenticatorTest, RefusesUnusableKeyFiles) {
  const auto kind = [&](const std::string& text) {
    WriteKeys(text);
    return Authenticator::Create(Options()).status().code();
  };
  const auto invalid = absl::StatusCode::kInvalidArgument;
  EXPECT_EQ(kind(""), invalid);
  EXPECT_EQ(kind("[]"), invalid);
  EXPECT_EQ(kind("{\"keys\":{}}"), invalid);
  EXPECT_EQ(kind("{\"keys\":[]}"), invalid);
  EXPECT_EQ(kind(Jwks({EdKey().Jwk(), EdKey().Jwk()})), invalid);
  EXPECT_EQ(kind(Jwks(std::vector<json>(101, json::object()))), invalid);
  EXPECT_EQ(kind(std::string(300'000, ' ') + Jwks({EdKey().Jwk()})), invalid);
  EXPECT_EQ(kind(Jwks({EdKey().Jwk()})), absl::StatusCode::kOk);
  std::filesystem::remove(path_);
  EXPECT_EQ(Authenticator::Create(Options()).status().code(), absl::StatusCode::kNotFound);
  AuthOptions nothing;
  EXPECT_EQ(Authenticator::Create(nothing).status().code(), invalid);
}

TEST_F(AuthenticatorTest, HugeTokensAreRefused) {
  Start();
  json claims = Claims();
  claims["x"] = std::string(12'000, 'x');
  EXPECT_EQ(Check(EdKey().Token("EdDSA", claims)), "ok");
  claims["x"] = std::string(13'000, 'x');
  EXPECT_EQ(Check(EdKey().Token("EdDSA", claims)), "token_invalid");
}

TEST_F(AuthenticatorTest, AnUnknownKidReadsTheFileAgain) {
  Start();
  const TestKey fresh = TestKey::Ed25519("fresh");
  EXPECT_EQ(Check(fresh.Token("EdDSA", Claims())), "token_invalid");
  WriteKeys(Jwks({EdKey().Jwk(), fresh.Jwk()}));
  EXPECT_EQ(Check(fresh.Token("EdDSA", Claims())), "ok");
  const auto tried = authenticator_->TryAuthenticate("Bearer " + fresh.Token("EdDSA", Claims()));
  ASSERT_TRUE(tried.has_value()) << "a file needs no waiting";
  EXPECT_TRUE(tried->ok());
}

TEST_F(AuthenticatorTest, ABrokenFileLeavesTheOldKeys) {
  Start();
  WriteKeys("{");
  EXPECT_EQ(Check(TestKey::Ed25519("fresh").Token("EdDSA", Claims())), "keys_unavailable")
      << "the file may have been meant to have it";
  EXPECT_EQ(Check(EdKey().Token("EdDSA", Claims())), "ok");
  EXPECT_TRUE(authenticator_->Ready().ok());
  EXPECT_THAT(Metrics(), HasSubstr("sluice_auth_key_loads_total{result=\"failed\"} 1"));
}

TEST_F(AuthenticatorTest, ARemovedKeyEndsItsTokensWithinTheInterval) {
  Start();
  const std::string token = EdKey().Token("EdDSA", Claims());
  EXPECT_EQ(Check(token), "ok");
  WriteKeys(Jwks({EcKey().Jwk()}));
  clock_->Advance(std::chrono::milliseconds(4'999));
  EXPECT_EQ(Check(token), "ok");
  clock_->Advance(std::chrono::milliseconds(1));
  EXPECT_EQ(Check(token), "token_invalid");
}

TEST_F(AuthenticatorTest, ACachedTokenIsTheSamePrincipalUntilItExpires) {
  Start();
  const std::string header = "Bearer " + EdKey().Token("EdDSA", Claims());
  const auto first = authenticator_->Authenticate(header);
  const auto second = authenticator_->Authenticate(header);
  ASSERT_TRUE(first.ok() && second.ok());
  EXPECT_EQ(first->get(), second->get());
  EXPECT_THAT(Metrics(), HasSubstr("sluice_auth_requests_total{result=\"cached\"} 1"));
  EXPECT_THAT(Metrics(), HasSubstr("sluice_auth_cache_tokens 1"));
  clock_->Advance(std::chrono::seconds(604));
  EXPECT_TRUE(authenticator_->Authenticate(header).ok());
  clock_->Advance(std::chrono::seconds(1));
  EXPECT_EQ(ErrorCode(authenticator_->Authenticate(header).status()), "token_expired");
}

TEST_F(AuthenticatorTest, TheCacheIsBounded) {
  AuthOptions options = Options();
  options.cached_tokens_max = 2;
  Start(options);
  for (int i = 0; i < 5; ++i) {
    json claims = Claims();
    claims["sub"] = std::to_string(i);
    EXPECT_EQ(Check(EdKey().Token("EdDSA", claims)), "ok");
  }
  EXPECT_THAT(Metrics(), HasSubstr("sluice_auth_cache_tokens 2"));
  EXPECT_THAT(Metrics(), HasSubstr("sluice_auth_cache_evictions_total 3"));
}

TEST_F(AuthenticatorTest, MessagesDoNotRepeatTheToken) {
  Start();
  json claims = Claims();
  claims["sub"] = 7;
  for (const std::string& token :
       {EdKey().Token("EdDSA", claims), TestKey::Ed25519("unheard").Token("EdDSA", Claims()),
        Unsigned({{"alg", "evil"}}, Claims())}) {
    const auto result = authenticator_->Authenticate("Bearer " + token);
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), absl::StatusCode::kUnauthenticated);
    const std::string message(Message(result.status()));
    EXPECT_THAT(message, Not(HasSubstr("unheard")));
    EXPECT_THAT(message, Not(HasSubstr("evil")));
    EXPECT_THAT(message, Not(HasSubstr(token.substr(0, 20))));
  }
}

TEST_F(AuthenticatorTest, ManyThreadsWhileKeysChange) {
  Start();
  const TestKey fresh = TestKey::Ed25519("fresh");
  const std::string old_token = EdKey().Token("EdDSA", Claims());
  const std::string new_token = fresh.Token("EdDSA", Claims());
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 200; ++i) {
        wrong += Check(old_token) == "ok" ? 0 : 1;
        const std::string outcome = Check(new_token);
        wrong += outcome == "ok" || outcome == "token_invalid" ? 0 : 1;
        clock_->Advance(std::chrono::milliseconds(10));
      }
    });
  }
  WriteKeys(Jwks({EdKey().Jwk(), fresh.Jwk()}));
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(Check(new_token), "ok");
}

TEST(PrincipalTest, ScopesAndOrganisations) {
  Principal principal;
  EXPECT_EQ(ErrorCode(RequireOrg(principal, "")), "forbidden") << "absent matches nothing";
  EXPECT_EQ(ErrorCode(RequireOrg(principal, "contoso")), "forbidden");
  principal.org = "contoso";
  EXPECT_TRUE(RequireOrg(principal, "contoso").ok());
  EXPECT_EQ(ErrorCode(RequireOrg(principal, "contoso2")), "forbidden");
  for (const Scope scope : {Scope::kAdmin, Scope::kIngest, Scope::kAudit, Scope::kSync}) {
    EXPECT_EQ(RequireScope(principal, scope).code(), absl::StatusCode::kPermissionDenied);
  }
  principal.scopes = static_cast<uint32_t>(Scope::kSync);
  EXPECT_TRUE(RequireScope(principal, Scope::kSync).ok());
  EXPECT_EQ(ErrorCode(RequireScope(principal, Scope::kAdmin)), "forbidden");
}

}  // namespace
}  // namespace sluice::gateways

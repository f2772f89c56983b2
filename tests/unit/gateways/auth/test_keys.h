#pragma once

#include <openssl/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace sluice::testing {

// A key made and used with OpenSSL, so that the tokens that tests make share no code with the
// library that checks them.
class TestKey {
 public:
  static TestKey Rsa(std::string kid, unsigned bits = 2048);
  static TestKey P256(std::string kid) { return Ec(std::move(kid), "P-256"); }
  static TestKey Ec(std::string kid, const char* curve);
  static TestKey Ed25519(std::string kid);

  // The public JWK with `kid` (left out when empty) and neither `alg` nor `use`.
  nlohmann::json Jwk() const;
  // The public key as PEM.
  std::string Pem() const;

  // The token with `header` over `payload`, signed as `alg` says: RS256, PS256, ES256, EdDSA.
  std::string Sign(std::string_view alg, const nlohmann::json& header,
                   std::string_view payload) const;
  // The same with the header {"alg","kid","typ":"JWT"}.
  std::string Token(std::string_view alg, const nlohmann::json& claims) const;

  // The signature of `input`, as a JWS has it.
  std::string Signature(std::string_view alg, std::string_view input) const;

 private:
  TestKey(std::string kid, EVP_PKEY* key);

  std::string kid_;
  std::shared_ptr<EVP_PKEY> key_;
};

// {"keys":[...]} of public JWKs.
std::string Jwks(const std::vector<nlohmann::json>& keys);

// HMAC-SHA256, for tokens that try to pass with it.
std::string HmacSha256(std::string_view key, std::string_view input);

}  // namespace sluice::testing

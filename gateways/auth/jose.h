#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// Signatures of JWS compact tokens. The only place that knows the JOSE library (rhonabwy), which is
// handed nothing but a key that key_set.cc has rebuilt and a token that token.cc has taken apart.
namespace sluice::gateways {

// The signature algorithms that are taken (RFC 7518, RFC 8037); a bit each.
enum class JoseAlg : uint32_t { kRs256 = 1, kPs256 = 2, kEs256 = 4, kEdDsa = 8 };

// "RS256" and so on; nullopt for every other name, among them "none" and the HMAC ones.
std::optional<JoseAlg> ParseJoseAlg(std::string_view name);

// A public key, ready to verify with. Copies share the key. Thread-safe.
class PublicKey {
 public:
  // `jwk`: a JSON object with the public members of one RSA, P-256 or Ed25519 key and nothing else.
  [[nodiscard]] static absl::StatusOr<PublicKey> FromJwk(const std::string& jwk);

  // The algorithms that this type of key can be used with, a union of JoseAlg.
  uint32_t algs() const { return algs_; }

  // Whether the compact `token`, whose header says `alg`, is signed by this key. False for any
  // failure. Never looks at keys or addresses that the token's header holds.
  bool Verify(JoseAlg alg, std::string_view token) const;

 private:
  struct Impl;
  PublicKey(std::shared_ptr<const Impl> impl, uint32_t algs);

  std::shared_ptr<const Impl> impl_;
  uint32_t algs_;
};

// No file of a private key is larger.
inline constexpr size_t kPrivateKeyBytesMax = 16 * 1024;

// A compact token with the header {"alg","typ":"JWT","kid"} over `payload`, signed by `private_jwk`
// (an RSA, P-256 or Ed25519 key as JWK). kInvalidArgument when it is no such key; the message never
// holds any of it.
[[nodiscard]] absl::StatusOr<std::string> SignCompact(const std::string& private_jwk,
                                                      std::string_view payload);

// A new Ed25519 key as JWK, with its RFC 7638 thumbprint as `kid`.
[[nodiscard]] absl::StatusOr<std::string> GenerateEd25519Jwk();

}  // namespace sluice::gateways

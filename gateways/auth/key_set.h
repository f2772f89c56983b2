#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/auth/jose.h"

namespace sluice::gateways {

inline constexpr size_t kJwksBytesMax = 256 * 1024;
inline constexpr size_t kJwksKeysMax = 100;

// The usable keys of one JWK set (RFC 7517). Immutable, thread-safe.
class KeySet {
 public:
  struct Key {
    std::optional<std::string> kid;
    uint32_t algs;  // union of JoseAlg: what the key's type allows, narrowed by its `alg`
    PublicKey key;
  };

  // Takes the keys that can verify one of our algorithms; others (`use` other than "sig", `key_ops`
  // without "verify", another type, curve or `alg`, symmetric ones) are passed over and counted.
  // Private members are dropped. kInvalidArgument when it is no JWK set, too large, or two keys
  // that fit one algorithm have the same `kid`.
  [[nodiscard]] static absl::StatusOr<KeySet> Parse(std::string_view jwks);

  // The one key to check a token with: the key of that `kid` when `alg` is allowed for it; without
  // `kid`, the only key that `alg` is allowed for. nullptr when there is none.
  const Key* Find(JoseAlg alg, const std::optional<std::string>& kid) const;

  bool Knows(std::string_view kid) const;
  size_t size() const { return keys_.size(); }
  size_t passed_over() const { return passed_over_; }

 private:
  std::vector<Key> keys_;
  size_t passed_over_ = 0;
};

// The JWK set that holds the public half of `private_jwk`, for other verifiers.
[[nodiscard]] absl::StatusOr<std::string> PublicJwks(const std::string& private_jwk);

}  // namespace sluice::gateways

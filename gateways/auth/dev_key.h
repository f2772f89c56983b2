#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace sluice::gateways {

inline constexpr char kDevKeyFile[] = "dev-key.jwk";
inline constexpr char kDevJwksFile[] = "dev-jwks.json";
inline constexpr char kDevIssuer[] = "sluice-dev";

// The development key of `data_dir`: the private Ed25519 JWK in dev-key.jwk (mode 0600), made when
// there is none, with its public half for other verifiers in dev-jwks.json. Several processes that
// start at once agree on one key. Logs the path, never the key.
[[nodiscard]] absl::StatusOr<std::string> LoadOrCreateDevKey(const std::string& data_dir);

}  // namespace sluice::gateways

#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// What a token is to say; empty members and nullopt are left out of it.
struct TokenSpec {
  std::string subject{};  // `sub`
  std::string scope{};    // `scope`, separated by spaces: "sluice.sync sluice.audit"
  std::string org{};      // `org`
  std::vector<std::string> roles{};
  std::vector<std::string> teams{};
  std::optional<std::string> business_unit{};  // `businessunit`
  std::string issuer{};                        // `iss`; kDevIssuer where nothing else is configured
  std::string audience{};                      // `aud`
  std::chrono::seconds lifetime{3600};         // `exp` is `now` plus this
};

// A token for `spec`, issued at `now`, signed with `private_jwk` (an RSA, P-256 or Ed25519 key in
// JWK form). kInvalidArgument for another key, a lifetime that is not positive, text that is not
// UTF-8, or a token that would be too long to be taken. Neither key nor token is logged.
[[nodiscard]] absl::StatusOr<std::string> SignToken(const TokenSpec& spec,
                                                    const std::string& private_jwk, SystemTime now);

// The text of a file with a private JWK, for SignToken.
[[nodiscard]] absl::StatusOr<std::string> ReadPrivateJwk(const std::string& path);

}  // namespace sluice::gateways

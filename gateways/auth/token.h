#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/auth/authenticator.h"
#include "gateways/auth/jose.h"

// The pure half of checking a token: its form and its claims. Keys and caching are elsewhere.
namespace sluice::gateways {

inline constexpr size_t kTokenBytesMax = 16 * 1024;
inline constexpr size_t kTeamsMax = 1000;
inline constexpr size_t kRolesMax = 100;

// kUnauthenticated "token_invalid".
absl::Status TokenInvalid(std::string_view why);

// The token in an Authorization header's value, "Bearer <token>" (the scheme in any case); without
// one kUnauthenticated "token_missing", longer than kTokenBytesMax "token_invalid".
[[nodiscard]] absl::StatusOr<std::string_view> BearerToken(std::string_view authorization_header);

// A token taken apart, nothing verified yet.
struct UnverifiedToken {
  JoseAlg alg;
  std::optional<std::string> kid;
  std::string payload;  // JSON text
};

// Takes a JWS compact token apart. "token_invalid" for any form, algorithm, `typ`, `crit` or `zip`
// that is not taken. Keys and addresses in the header (jwk, jku, x5c, x5u) are not looked at.
[[nodiscard]] absl::StatusOr<UnverifiedToken> ParseToken(std::string_view token);

// What the claims are checked against.
struct ClaimRules {
  std::string issuer;
  std::string audience;
  std::chrono::seconds leeway{5};
};

// The principal of a payload whose signature was verified. "token_expired" or "token_invalid".
[[nodiscard]] absl::StatusOr<Principal> ParseClaims(std::string_view payload,
                                                    const ClaimRules& rules, SystemTime now);

}  // namespace sluice::gateways

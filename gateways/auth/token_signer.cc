#include "gateways/auth/token_signer.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "gateways/auth/jose.h"
#include "gateways/auth/token.h"
#include "schemas/base/files.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"

namespace sluice::gateways {
namespace {

using nlohmann::ordered_json;

ordered_json ClaimsOf(const TokenSpec& spec, SystemTime now) {
  ordered_json claims;
  const auto add_text = [&claims](const char* name, const std::string& value) {
    if (!value.empty()) {
      claims[name] = value;
    }
  };
  add_text("iss", spec.issuer);
  add_text("aud", spec.audience);
  add_text("sub", spec.subject);
  add_text("scope", spec.scope);
  add_text("org", spec.org);
  if (!spec.roles.empty()) {
    claims["roles"] = spec.roles;
  }
  if (!spec.teams.empty()) {
    claims["teams"] = spec.teams;
  }
  if (spec.business_unit) {
    claims["businessunit"] = *spec.business_unit;
  }
  const auto issued = std::chrono::floor<std::chrono::seconds>(now).time_since_epoch();
  claims["iat"] = issued.count();
  claims["exp"] = (issued + spec.lifetime).count();
  return claims;
}

}  // namespace

absl::StatusOr<std::string> SignToken(const TokenSpec& spec, const std::string& private_jwk,
                                      SystemTime now) {
  if (spec.lifetime <= std::chrono::seconds(0)) {
    return absl::InvalidArgumentError("the token's lifetime must be positive");
  }
  std::string payload;
  try {
    payload = ClaimsOf(spec, now).dump();
  } catch (const ordered_json::exception&) {
    return absl::InvalidArgumentError("a claim is not valid UTF-8");
  }
  // What would not be taken is not signed: the one who asks hears it now, and why.
  if (const auto claims = ParseClaims(payload, {}, now); !claims.ok()) {
    return absl::InvalidArgumentError(claims.status().message());
  }
  ASSIGN_OR_RETURN(std::string token, SignCompact(private_jwk, payload));
  if (token.size() > kTokenBytesMax) {
    return absl::InvalidArgumentError(
        fmt::format("the token would have {} bytes, more than the {} that are taken", token.size(),
                    kTokenBytesMax));
  }
  return token;
}

absl::StatusOr<std::string> ReadPrivateJwk(const std::string& path) {
  ASSIGN_OR_RETURN(std::string jwk, ReadSmallFile(path, kPrivateKeyBytesMax));
  if (!ParseStrictObject(jwk).ok()) {
    return absl::InvalidArgumentError(fmt::format("{} is not a JWK", path));
  }
  return jwk;
}

}  // namespace sluice::gateways

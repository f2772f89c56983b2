#include "gateways/auth/token.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;

// The last second of the year 9999. Seen in practice: milliseconds where seconds belong, which
// would make a token valid for thousands of years.
constexpr double kNumericDateMax = 253402300799.0;

// Types of tokens that grant access; others (logout or DPoP proofs, say) must not pass for one
// (RFC 8725, section 3.11).
bool IsAccessTokenType(std::string_view typ) {
  constexpr std::array<std::string_view, 4> kTypes = {"JWT", "at+jwt", "application/jwt",
                                                      "application/at+jwt"};
  return std::ranges::any_of(kTypes, [&](auto t) { return EqualsIgnoringCase(typ, t); });
}

// A member; nullptr when it is absent or null, which are the same to us.
const json* Claim(const json& claims, const char* name) {
  const auto it = claims.find(name);
  return it == claims.end() || it->is_null() ? nullptr : &*it;
}

absl::Status WrongType(const char* name, std::string_view wanted) {
  return TokenInvalid(fmt::format("the claim \"{}\" is not {}", name, wanted));
}

// U+0000 separates parts of names further on, so that no claim may hold one.
bool IsText(const json& value) {
  return value.is_string() && value.get_ref<const std::string&>().find('\0') == std::string::npos;
}

absl::StatusOr<std::optional<std::string>> TextClaim(const json& claims, const char* name) {
  const json* value = Claim(claims, name);
  if (value == nullptr) {
    return std::nullopt;
  }
  if (!IsText(*value)) {
    return WrongType(name, "a string without U+0000");
  }
  return value->get<std::string>();
}

absl::StatusOr<std::optional<SystemTime>> TimeClaim(const json& claims, const char* name) {
  const json* value = Claim(claims, name);
  if (value == nullptr) {
    return std::nullopt;
  }
  const double seconds = value->is_number() ? value->get<double>() : -1;
  if (!(seconds >= 0 && seconds <= kNumericDateMax)) {
    return WrongType(name, "a time in seconds since 1970");
  }
  const auto micros = static_cast<int64_t>(std::floor(seconds * 1e6));
  return SystemTime(std::chrono::microseconds(micros));
}

// An array of strings, or one string as an array of one.
absl::StatusOr<std::vector<std::string>> ListClaim(const json& claims, const char* name,
                                                   size_t count_max) {
  std::vector<std::string> list;
  const json* value = Claim(claims, name);
  if (value == nullptr) {
    return list;
  }
  if (IsText(*value)) {
    list.push_back(value->get<std::string>());
    return list;
  }
  if (!value->is_array() || !std::ranges::all_of(*value, IsText)) {
    return WrongType(name, "a string or an array of strings");
  }
  if (value->size() > count_max) {
    return TokenInvalid(fmt::format("the claim \"{}\" has {} values, more than the limit of {}",
                                    name, value->size(), count_max));
  }
  for (const json& element : *value) {
    list.push_back(element.get<std::string>());
  }
  std::ranges::sort(list);
  list.erase(std::unique(list.begin(), list.end()), list.end());
  return list;
}

// `scope` is a space-separated string (RFC 8693, section 4.2) or, as some providers send it, an
// array.
absl::StatusOr<uint32_t> ScopeClaim(const json& claims) {
  ASSIGN_OR_RETURN(const std::vector<std::string> parts,
                   ListClaim(claims, "scope", kTokenBytesMax));
  uint32_t scopes = 0;
  for (std::string_view part : parts) {
    while (!part.empty()) {
      const size_t end = std::min(part.find(' '), part.size());
      const std::optional<Scope> scope = ParseScope(part.substr(0, end));
      scopes |= scope ? static_cast<uint32_t>(*scope) : 0;
      part.remove_prefix(std::min(end + 1, part.size()));
    }
  }
  return scopes;
}

absl::Status CheckTimes(const json& claims, std::chrono::seconds leeway, SystemTime now,
                        Principal& principal) {
  ASSIGN_OR_RETURN(const std::optional<SystemTime> expires, TimeClaim(claims, "exp"));
  ASSIGN_OR_RETURN(const std::optional<SystemTime> not_before, TimeClaim(claims, "nbf"));
  if (!expires) {
    return TokenInvalid("the claim \"exp\" is missing");
  }
  if (now >= *expires + leeway) {
    return Error(absl::StatusCode::kUnauthenticated, "token_expired", "the token has expired");
  }
  if (not_before && now + leeway < *not_before) {
    return TokenInvalid("the token is not valid yet (\"nbf\")");
  }
  principal.expires = *expires;
  principal.good_until = *expires + leeway;
  return absl::OkStatus();
}

absl::Status CheckAudience(const json& claims, const std::string& audience) {
  ASSIGN_OR_RETURN(const std::vector<std::string> audiences,
                   ListClaim(claims, "aud", kTokenBytesMax));
  if (!audience.empty() && std::ranges::find(audiences, audience) == audiences.end()) {
    return TokenInvalid("the token is for another audience (\"aud\")");
  }
  return absl::OkStatus();
}

absl::StatusOr<UnverifiedToken> ParseHeader(const json& header) {
  const json* alg = Claim(header, "alg");
  const std::optional<JoseAlg> parsed = alg != nullptr && alg->is_string()
                                            ? ParseJoseAlg(alg->get_ref<const std::string&>())
                                            : std::nullopt;
  if (!parsed) {
    return TokenInvalid("its algorithm is not one of RS256, PS256, ES256, EdDSA");
  }
  // No extension is understood, so none may be critical; a compressed payload could be a bomb, and
  // "b64" changes what is signed.
  for (const char* refused : {"crit", "zip", "b64"}) {
    if (header.contains(refused)) {
      return TokenInvalid(fmt::format("its header has \"{}\", which is not taken", refused));
    }
  }
  const json* typ = Claim(header, "typ");
  if (typ != nullptr &&
      !(typ->is_string() && IsAccessTokenType(typ->get_ref<const std::string&>()))) {
    return TokenInvalid("its \"typ\" is not that of an access token");
  }
  ASSIGN_OR_RETURN(std::optional<std::string> kid, TextClaim(header, "kid"));
  return UnverifiedToken{*parsed, std::move(kid), ""};
}

}  // namespace

absl::Status TokenInvalid(std::string_view why) {
  return Error(absl::StatusCode::kUnauthenticated, "token_invalid",
               fmt::format("the token is not valid: {}", why));
}

absl::StatusOr<std::string_view> BearerToken(std::string_view authorization_header) {
  constexpr std::string_view kScheme = "Bearer";
  const auto missing = [] {
    return Error(absl::StatusCode::kUnauthenticated, "token_missing",
                 "send the header \"Authorization: Bearer <token>\"");
  };
  const std::string_view value = TrimBlanks(authorization_header);
  if (value.size() <= kScheme.size() || value[kScheme.size()] != ' ' ||
      !EqualsIgnoringCase(value.substr(0, kScheme.size()), kScheme)) {
    return missing();
  }
  const std::string_view token = value.substr(value.find_first_not_of(' ', kScheme.size()));
  if (token.size() > kTokenBytesMax) {
    return TokenInvalid(fmt::format("it is longer than {} bytes", kTokenBytesMax));
  }
  return token;
}

absl::StatusOr<UnverifiedToken> ParseToken(std::string_view token) {
  const size_t first = token.find('.');
  const size_t second = first == std::string_view::npos ? first : token.find('.', first + 1);
  if (second == std::string_view::npos) {
    return TokenInvalid("it does not have three parts");
  }
  const std::optional<std::string> header_text = DecodeBase64Url(token.substr(0, first));
  std::optional<std::string> payload = DecodeBase64Url(token.substr(first + 1, second - first - 1));
  const std::optional<std::string> signature = DecodeBase64Url(token.substr(second + 1));
  if (!header_text || !payload || !signature) {
    return TokenInvalid("a part is not base64url without padding");
  }
  const absl::StatusOr<json> header = ParseStrictObject(*header_text);
  if (!header.ok()) {
    return TokenInvalid("its header is not a JSON object with unique names");
  }
  ASSIGN_OR_RETURN(UnverifiedToken parsed, ParseHeader(*header));
  const bool fixed_size = parsed.alg == JoseAlg::kEs256 || parsed.alg == JoseAlg::kEdDsa;
  if (fixed_size ? signature->size() != 64 : signature->size() < 256) {
    return TokenInvalid("its signature has a wrong size");
  }
  parsed.payload = *std::move(payload);
  return parsed;
}

absl::StatusOr<Principal> ParseClaims(std::string_view payload, const ClaimRules& rules,
                                      SystemTime now) {
  const absl::StatusOr<json> claims = ParseStrictObject(payload);
  if (!claims.ok()) {
    return TokenInvalid("its payload is not a JSON object with unique names");
  }
  Principal principal;
  RETURN_IF_ERROR(CheckTimes(*claims, rules.leeway, now, principal));
  RETURN_IF_ERROR(CheckAudience(*claims, rules.audience));
  ASSIGN_OR_RETURN(std::optional<std::string> issuer, TextClaim(*claims, "iss"));
  if (!rules.issuer.empty() && issuer != rules.issuer) {
    return TokenInvalid("it is from another issuer (\"iss\")");
  }
  ASSIGN_OR_RETURN(std::optional<std::string> subject, TextClaim(*claims, "sub"));
  ASSIGN_OR_RETURN(std::optional<std::string> org, TextClaim(*claims, "org"));
  ASSIGN_OR_RETURN(principal.business_unit, TextClaim(*claims, "businessunit"));
  ASSIGN_OR_RETURN(principal.roles, ListClaim(*claims, "roles", kRolesMax));
  ASSIGN_OR_RETURN(principal.teams, ListClaim(*claims, "teams", kTeamsMax));
  ASSIGN_OR_RETURN(principal.scopes, ScopeClaim(*claims));
  principal.issuer = std::move(issuer).value_or("");
  principal.subject = std::move(subject).value_or("");
  principal.org = std::move(org).value_or("");
  return principal;
}

}  // namespace sluice::gateways

#include "gateways/auth/key_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

using nlohmann::json;

std::optional<std::string> TextMember(const json& object, const char* name) {
  const auto it = object.find(name);
  if (it == object.end() || !it->is_string()) {
    return std::nullopt;
  }
  return it->get<std::string>();
}

// `json` with just the public members of the key's type, so that nothing else (certificates,
// addresses, private parts) reaches the library; nullopt when one is missing or of a wrong size.
std::optional<json> PublicMembers(const json& jwk) {
  struct Member {
    const char* name;
    size_t bytes_min;
    size_t bytes_max;
  };
  const std::string kty = TextMember(jwk, "kty").value_or("");
  std::vector<Member> members;
  json result = {{"kty", kty}};
  if (kty == "RSA") {
    members = {{"n", 256, 1025}, {"e", 1, 8}};
  } else if (kty == "EC") {
    members = {{"x", 32, 32}, {"y", 32, 32}};
  } else if (kty == "OKP") {
    members = {{"x", 32, 32}};
  } else {
    return std::nullopt;
  }
  if (kty != "RSA") {
    const std::string wanted = kty == "EC" ? "P-256" : "Ed25519";
    if (TextMember(jwk, "crv") != wanted) {
      return std::nullopt;
    }
    result["crv"] = wanted;
  }
  for (const Member& member : members) {
    const std::optional<std::string> text = TextMember(jwk, member.name);
    const std::optional<std::string> bytes = text ? DecodeBase64Url(*text) : std::nullopt;
    if (!bytes || bytes->size() < member.bytes_min || bytes->size() > member.bytes_max) {
      return std::nullopt;
    }
    result[member.name] = *text;
  }
  return result;
}

// Whether `use` and `key_ops`, where present, allow checking signatures.
bool MayVerify(const json& jwk) {
  if (jwk.contains("use") && TextMember(jwk, "use") != "sig") {
    return false;
  }
  const auto ops = jwk.find("key_ops");
  if (ops == jwk.end()) {
    return true;
  }
  return ops->is_array() && std::ranges::find(*ops, json("verify")) != ops->end();
}

std::optional<KeySet::Key> UsableKey(const json& jwk) {
  if (!jwk.is_object() || !MayVerify(jwk)) {
    return std::nullopt;
  }
  const std::optional<json> members = PublicMembers(jwk);
  absl::StatusOr<PublicKey> key = absl::InvalidArgumentError("");
  if (!members || !(key = PublicKey::FromJwk(members->dump())).ok()) {
    return std::nullopt;
  }
  uint32_t algs = key->algs();
  if (jwk.contains("alg")) {
    const std::optional<JoseAlg> alg = ParseJoseAlg(TextMember(jwk, "alg").value_or(""));
    algs &= alg ? static_cast<uint32_t>(*alg) : 0;
  }
  if (algs == 0 || (jwk.contains("kid") && !jwk["kid"].is_string())) {
    return std::nullopt;
  }
  return KeySet::Key{TextMember(jwk, "kid"), algs, *std::move(key)};
}

}  // namespace

absl::StatusOr<KeySet> KeySet::Parse(std::string_view jwks) {
  if (jwks.size() > kJwksBytesMax) {
    return absl::InvalidArgumentError(
        fmt::format("the JWK set is larger than {} bytes", kJwksBytesMax));
  }
  const absl::StatusOr<json> document = ParseStrictObject(jwks);
  if (!document.ok() || !document->contains("keys") || !(*document)["keys"].is_array()) {
    return absl::InvalidArgumentError("not a JWK set: a JSON object with an array named keys");
  }
  const json& keys = (*document)["keys"];
  if (keys.size() > kJwksKeysMax) {
    return absl::InvalidArgumentError(
        fmt::format("the JWK set has {} keys, more than {}", keys.size(), kJwksKeysMax));
  }
  KeySet set;
  for (const json& jwk : keys) {
    std::optional<Key> key = UsableKey(jwk);
    if (!key) {
      ++set.passed_over_;
      continue;
    }
    for (const Key& other : set.keys_) {
      if (key->kid && other.kid == key->kid && (other.algs & key->algs) != 0) {
        return absl::InvalidArgumentError("two keys of the JWK set have the same \"kid\"");
      }
    }
    set.keys_.push_back(*std::move(key));
  }
  return set;
}

const KeySet::Key* KeySet::Find(JoseAlg alg, const std::optional<std::string>& kid) const {
  const Key* found = nullptr;
  for (const Key& key : keys_) {
    if ((key.algs & static_cast<uint32_t>(alg)) == 0 || (kid && key.kid != kid)) {
      continue;
    }
    if (found != nullptr) {
      return nullptr;
    }
    found = &key;
  }
  return found;
}

bool KeySet::Knows(std::string_view kid) const {
  return std::ranges::any_of(keys_, [&](const Key& key) { return key.kid == kid; });
}

absl::StatusOr<std::string> PublicJwks(const std::string& private_jwk) {
  const absl::StatusOr<json> jwk = ParseStrictObject(private_jwk);
  std::optional<json> members = jwk.ok() ? PublicMembers(*jwk) : std::nullopt;
  if (!members) {
    return absl::InvalidArgumentError("not an RSA, P-256 or Ed25519 key in JWK form");
  }
  for (const char* name : {"kid", "alg", "use"}) {
    if (const std::optional<std::string> value = TextMember(*jwk, name)) {
      (*members)[name] = *value;
    }
  }
  return json{{"keys", json::array({*members})}}.dump();
}

}  // namespace sluice::gateways

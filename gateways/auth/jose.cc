#include "gateways/auth/jose.h"

#include <rhonabwy.h>

#include <algorithm>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

struct JwkFree {
  void operator()(jwk_t* jwk) const { r_jwk_free(jwk); }
};
struct JwsFree {
  void operator()(jws_t* jws) const { r_jws_free(jws); }
};
struct TextFree {
  void operator()(char* text) const { r_free(text); }
};
using JwkPtr = std::unique_ptr<jwk_t, JwkFree>;
using JwsPtr = std::unique_ptr<jws_t, JwsFree>;
using TextPtr = std::unique_ptr<char, TextFree>;

JwkPtr NewJwk() {
  jwk_t* jwk = nullptr;
  return JwkPtr(r_jwk_init(&jwk) == RHN_OK ? jwk : nullptr);
}

JwsPtr NewJws() {
  jws_t* jws = nullptr;
  return JwsPtr(r_jws_init(&jws) == RHN_OK ? jws : nullptr);
}

JwkPtr ImportJwk(const std::string& text) {
  JwkPtr jwk = NewJwk();
  if (jwk == nullptr || r_jwk_import_from_json_str(jwk.get(), text.c_str()) != RHN_OK ||
      r_jwk_is_valid(jwk.get()) != RHN_OK) {
    return nullptr;
  }
  return jwk;
}

struct AlgRow {
  JoseAlg alg;
  std::string_view name;
  jwa_alg library;
};
constexpr AlgRow kAlgs[] = {{JoseAlg::kRs256, "RS256", R_JWA_ALG_RS256},
                            {JoseAlg::kPs256, "PS256", R_JWA_ALG_PS256},
                            {JoseAlg::kEs256, "ES256", R_JWA_ALG_ES256},
                            {JoseAlg::kEdDsa, "EdDSA", R_JWA_ALG_EDDSA}};

jwa_alg ToLibrary(JoseAlg alg) { return std::ranges::find(kAlgs, alg, &AlgRow::alg)->library; }

constexpr uint32_t Bit(JoseAlg alg) { return static_cast<uint32_t>(alg); }

// The algorithms that the key can be used with, provided that it is of the kind `wanted` (public or
// private) and of a size that is taken; else 0.
uint32_t UsableAlgs(jwk_t* jwk, int wanted) {
  unsigned int bits = 0;
  const int type = r_jwk_key_type(jwk, &bits, R_FLAG_IGNORE_REMOTE);
  if ((type & wanted) == 0) {
    return 0;
  }
  if ((type & R_KEY_TYPE_RSA) != 0 && bits >= 2048 && bits <= 8192) {
    return Bit(JoseAlg::kRs256) | Bit(JoseAlg::kPs256);
  }
  const char* curve = r_jwk_get_property_str(jwk, "crv");
  const std::string_view crv = curve == nullptr ? "" : curve;
  if ((type & R_KEY_TYPE_EC) != 0 && crv == "P-256") {
    return Bit(JoseAlg::kEs256);
  }
  if ((type & R_KEY_TYPE_EDDSA) != 0 && crv == "Ed25519") {
    return Bit(JoseAlg::kEdDsa);
  }
  return 0;
}

absl::Status LibraryError(std::string_view what) {
  return Error(absl::StatusCode::kInternal, "internal", what);
}

std::optional<JoseAlg> SigningAlg(jwk_t* jwk) {
  const uint32_t usable = UsableAlgs(jwk, R_KEY_TYPE_PRIVATE);
  if (const char* named = r_jwk_get_property_str(jwk, "alg"); named != nullptr) {
    const std::optional<JoseAlg> alg = ParseJoseAlg(named);
    return alg.has_value() && (Bit(*alg) & usable) != 0 ? alg : std::nullopt;
  }
  for (const JoseAlg alg : {JoseAlg::kRs256, JoseAlg::kEs256, JoseAlg::kEdDsa}) {
    if ((Bit(alg) & usable) != 0) {
      return alg;
    }
  }
  return std::nullopt;
}

}  // namespace

std::optional<JoseAlg> ParseJoseAlg(std::string_view name) {
  const auto* const row = std::ranges::find(kAlgs, name, &AlgRow::name);
  return row == std::end(kAlgs) ? std::nullopt : std::optional(row->alg);
}

struct PublicKey::Impl {
  JwkPtr jwk;  // only read once made
};

PublicKey::PublicKey(std::shared_ptr<const Impl> impl, uint32_t algs)
    : impl_(std::move(impl)), algs_(algs) {}

absl::StatusOr<PublicKey> PublicKey::FromJwk(const std::string& jwk) {
  auto impl = std::make_shared<Impl>();
  impl->jwk = ImportJwk(jwk);
  const uint32_t algs = impl->jwk == nullptr ? 0 : UsableAlgs(impl->jwk.get(), R_KEY_TYPE_PUBLIC);
  if (algs == 0) {
    return absl::InvalidArgumentError(
        "not a public RSA key of 2048 to 8192 bits, P-256 key or Ed25519 key");
  }
  return PublicKey(std::move(impl), algs);
}

bool PublicKey::Verify(JoseAlg alg, std::string_view token) const {
  if ((Bit(alg) & algs_) == 0) {
    return false;
  }
  const JwsPtr jws = NewJws();
  // R_PARSE_NONE leaves keys in the header alone, R_FLAG_IGNORE_REMOTE addresses of keys.
  return jws != nullptr &&
         r_jws_advanced_compact_parsen(jws.get(), token.data(), token.size(), R_PARSE_NONE,
                                       R_FLAG_IGNORE_REMOTE) == RHN_OK &&
         r_jws_get_alg(jws.get()) == ToLibrary(alg) &&
         r_jws_verify_signature(jws.get(), impl_->jwk.get(), R_FLAG_IGNORE_REMOTE) == RHN_OK;
}

absl::StatusOr<std::string> SignCompact(const std::string& private_jwk, std::string_view payload) {
  const JwkPtr jwk = ImportJwk(private_jwk);
  const std::optional<JoseAlg> alg = jwk == nullptr ? std::nullopt : SigningAlg(jwk.get());
  if (!alg.has_value()) {
    return absl::InvalidArgumentError(
        "the signing key is not a private RSA (2048 bits or more), P-256 or Ed25519 JWK, or its "
        "\"alg\" does not fit it");
  }
  const JwsPtr jws = NewJws();
  const char* kid = r_jwk_get_property_str(jwk.get(), "kid");
  if (jws == nullptr || r_jws_set_alg(jws.get(), ToLibrary(*alg)) != RHN_OK ||
      r_jws_set_header_str_value(jws.get(), "typ", "JWT") != RHN_OK ||
      (kid != nullptr && r_jws_set_header_str_value(jws.get(), "kid", kid) != RHN_OK) ||
      r_jws_set_payload(jws.get(), reinterpret_cast<const unsigned char*>(payload.data()),
                        payload.size()) != RHN_OK) {
    return LibraryError("the token could not be put together");
  }
  const TextPtr token(r_jws_serialize(jws.get(), jwk.get(), R_FLAG_IGNORE_REMOTE));
  if (token == nullptr) {
    return LibraryError("the token could not be signed");
  }
  return std::string(token.get());
}

absl::StatusOr<std::string> GenerateEd25519Jwk() {
  const JwkPtr private_jwk = NewJwk();
  const JwkPtr public_jwk = NewJwk();
  if (private_jwk == nullptr || public_jwk == nullptr ||
      r_jwk_generate_key_pair(private_jwk.get(), public_jwk.get(), R_KEY_TYPE_EDDSA, 256,
                              nullptr) != RHN_OK) {
    return LibraryError("no Ed25519 key could be made");
  }
  const TextPtr kid(r_jwk_thumbprint(public_jwk.get(), R_JWK_THUMB_SHA256, R_FLAG_IGNORE_REMOTE));
  if (kid == nullptr || r_jwk_set_property_str(private_jwk.get(), "kid", kid.get()) != RHN_OK ||
      r_jwk_set_property_str(private_jwk.get(), "alg", "EdDSA") != RHN_OK ||
      r_jwk_set_property_str(private_jwk.get(), "use", "sig") != RHN_OK) {
    return LibraryError("no Ed25519 key could be made");
  }
  const TextPtr text(r_jwk_export_to_json_str(private_jwk.get(), 0));
  if (text == nullptr) {
    return LibraryError("the Ed25519 key could not be written");
  }
  return std::string(text.get());
}

}  // namespace sluice::gateways

#include "tests/unit/gateways/auth/test_keys.h"

#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>

#include <cstdlib>

#include "schemas/base/text_codec.h"

namespace sluice::testing {
namespace {

using nlohmann::json;

// A failing crypto library leaves nothing to test.
void Require(bool ok) {
  if (!ok) {
    std::abort();
  }
}

std::string Number(const EVP_PKEY* key, const char* name, int size = 0) {
  BIGNUM* number = nullptr;
  Require(EVP_PKEY_get_bn_param(key, name, &number) == 1);
  std::string bytes(static_cast<size_t>(size != 0 ? size : BN_num_bytes(number)), '\0');
  Require(BN_bn2binpad(number, reinterpret_cast<uint8_t*>(bytes.data()),
                       static_cast<int>(bytes.size())) > 0);
  BN_free(number);
  return EncodeBase64Url(bytes);
}

// DER to the two 32-byte numbers of RFC 7518, section 3.4.
std::string RawEcdsa(const std::string& der) {
  const auto* data = reinterpret_cast<const uint8_t*>(der.data());
  ECDSA_SIG* sig = d2i_ECDSA_SIG(nullptr, &data, static_cast<long>(der.size()));
  Require(sig != nullptr);
  std::string raw(64, '\0');
  auto* out = reinterpret_cast<uint8_t*>(raw.data());
  Require(BN_bn2binpad(ECDSA_SIG_get0_r(sig), out, 32) == 32);
  Require(BN_bn2binpad(ECDSA_SIG_get0_s(sig), out + 32, 32) == 32);
  ECDSA_SIG_free(sig);
  return raw;
}

}  // namespace

TestKey::TestKey(std::string kid, EVP_PKEY* key) : kid_(std::move(kid)), key_(key, EVP_PKEY_free) {
  Require(key != nullptr);
}

TestKey TestKey::Rsa(std::string kid, unsigned bits) { return {std::move(kid), EVP_RSA_gen(bits)}; }
TestKey TestKey::Ec(std::string kid, const char* curve) {
  return {std::move(kid), EVP_EC_gen(curve)};
}
TestKey TestKey::Ed25519(std::string kid) {
  return {std::move(kid), EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")};
}

json TestKey::Jwk() const {
  json jwk;
  const EVP_PKEY* key = key_.get();
  if (EVP_PKEY_is_a(key, "RSA")) {
    jwk = {{"kty", "RSA"},
           {"n", Number(key, OSSL_PKEY_PARAM_RSA_N)},
           {"e", Number(key, OSSL_PKEY_PARAM_RSA_E)}};
  } else if (EVP_PKEY_is_a(key, "EC")) {
    const int size = (EVP_PKEY_get_bits(key) + 7) / 8;
    jwk = {{"kty", "EC"},
           {"crv", size == 32 ? "P-256" : "P-384"},
           {"x", Number(key, OSSL_PKEY_PARAM_EC_PUB_X, size)},
           {"y", Number(key, OSSL_PKEY_PARAM_EC_PUB_Y, size)}};
  } else {
    std::string raw(32, '\0');
    size_t size = raw.size();
    Require(EVP_PKEY_get_raw_public_key(key, reinterpret_cast<uint8_t*>(raw.data()), &size) == 1);
    jwk = {{"kty", "OKP"}, {"crv", "Ed25519"}, {"x", EncodeBase64Url(raw)}};
  }
  if (!kid_.empty()) {
    jwk["kid"] = kid_;
  }
  return jwk;
}

std::string TestKey::Pem() const {
  BIO* bio = BIO_new(BIO_s_mem());
  Require(PEM_write_bio_PUBKEY(bio, key_.get()) == 1);
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  std::string pem(data, static_cast<size_t>(size));
  BIO_free(bio);
  return pem;
}

std::string TestKey::Signature(std::string_view alg, std::string_view input) const {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  EVP_PKEY_CTX* options = nullptr;
  const EVP_MD* md = alg == "EdDSA" ? nullptr : EVP_sha256();
  Require(EVP_DigestSignInit(context, &options, md, nullptr, key_.get()) == 1);
  if (alg == "PS256") {
    Require(EVP_PKEY_CTX_set_rsa_padding(options, RSA_PKCS1_PSS_PADDING) == 1);
    Require(EVP_PKEY_CTX_set_rsa_pss_saltlen(options, RSA_PSS_SALTLEN_DIGEST) == 1);
  }
  const auto* data = reinterpret_cast<const uint8_t*>(input.data());
  size_t size = 0;
  Require(EVP_DigestSign(context, nullptr, &size, data, input.size()) == 1);
  std::string signature(size, '\0');
  Require(EVP_DigestSign(context, reinterpret_cast<uint8_t*>(signature.data()), &size, data,
                         input.size()) == 1);
  signature.resize(size);
  EVP_MD_CTX_free(context);
  return alg == "ES256" ? RawEcdsa(signature) : signature;
}

std::string TestKey::Sign(std::string_view alg, const json& header,
                          std::string_view payload) const {
  const std::string input = EncodeBase64Url(header.dump()) + "." + EncodeBase64Url(payload);
  return input + "." + EncodeBase64Url(Signature(alg, input));
}

std::string TestKey::Token(std::string_view alg, const json& claims) const {
  json header = {{"alg", alg}, {"typ", "JWT"}};
  if (!kid_.empty()) {
    header["kid"] = kid_;
  }
  return Sign(alg, header, claims.dump());
}

std::string Jwks(const std::vector<json>& keys) { return json{{"keys", keys}}.dump(); }

std::string HmacSha256(std::string_view key, std::string_view input) {
  std::string mac(32, '\0');
  unsigned size = 0;
  Require(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
               reinterpret_cast<const uint8_t*>(input.data()), input.size(),
               reinterpret_cast<uint8_t*>(mac.data()), &size) != nullptr);
  return mac;
}

}  // namespace sluice::testing

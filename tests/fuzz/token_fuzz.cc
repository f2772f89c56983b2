// Text from outside that is parsed before anybody is known: headers, tokens, claims, JWK sets. The
// first byte chooses which.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "gateways/auth/key_set.h"
#include "gateways/auth/token.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

constexpr SystemTime kNow{std::chrono::seconds(1'790'000'000)};

void Require(bool ok) {
  if (!ok) {
    std::abort();
  }
}

void FuzzClaims(std::string_view text) {
  const auto principal = ParseClaims(text, {}, kNow);
  if (principal.ok()) {
    Require(principal->expires + std::chrono::seconds(5) > kNow);
    Require(principal->roles.size() <= kRolesMax && principal->teams.size() <= kTeamsMax);
  }
}

void FuzzBase64(std::string_view text) {
  if (const auto bytes = DecodeBase64Url(text)) {
    Require(EncodeBase64Url(*bytes) == text);
  }
}

// As the gateways see it, with an otherwise well-formed token around a header.
void FuzzHeader(std::string_view text) {
  const std::string token = EncodeBase64Url(text) + "." + EncodeBase64Url("{\"exp\":1790000001}") +
                            "." + EncodeBase64Url(std::string(64, 's'));
  const auto parsed = ParseToken(token);
  if (parsed.ok()) {
    static const auto kKeys = KeySet::Parse(
        R"({"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]})");
    if (const KeySet::Key* key = kKeys->Find(parsed->alg, std::nullopt)) {
      Require(!key->key.Verify(parsed->alg, token));
    }
  }
}

}  // namespace
}  // namespace sluice::gateways

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace sluice::gateways;
  if (size == 0) {
    return 0;
  }
  const std::string_view text(reinterpret_cast<const char*>(data + 1), size - 1);
  switch (data[0] % 5) {
    case 0:
      FuzzHeader(text);
      break;
    case 1:
      FuzzClaims(text);
      break;
    case 2:
      FuzzBase64(text);
      break;
    case 3:
      static_cast<void>(KeySet::Parse(text).ok());
      break;
    default:
      if (const auto token = BearerToken(text); token.ok()) {
        static_cast<void>(ParseToken(*token).ok());
      }
  }
  return 0;
}

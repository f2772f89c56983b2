#include "gateways/secrets/sealer.h"

#include <fmt/format.h>
#include <openssl/rand.h>

#include <algorithm>
#include <string_view>

#include "gateways/secrets/file_key.h"
#include "gateways/secrets/key_list.h"
#include "gateways/secrets/memory_key.h"
#include "gateways/secrets/pkcs11_key.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr uint32_t kFormat = 1;

// What is authenticated beside the text: place, name and key. The parts hold no U+0000, so that no
// two places have one text.
absl::StatusOr<std::string> AadOf(const SecretPlace& place, std::string_view key_id) {
  std::string aad = "sluice.secret.1";
  for (const std::string_view part : {std::string_view(place.org), std::string_view(place.source),
                                      std::string_view(place.name), key_id}) {
    if (part.find('\0') != std::string_view::npos) {
      return absl::InvalidArgumentError("the name of a secret, source or key holds U+0000");
    }
    aad.push_back('\0');
    aad.append(part);
  }
  return aad;
}

absl::Status KeyMissing(std::string_view message) {
  return Error(absl::StatusCode::kFailedPrecondition, "secrets_key_missing", message);
}

absl::StatusOr<std::unique_ptr<SealingKey>> OpenKey(const KeySetting& setting,
                                                    const SealerOptions& options) {
  switch (setting.kind) {
    case KeySetting::Kind::kFile: {
      ASSIGN_OR_RETURN(SecretText key, ReadKeyFile(setting.where));
      return MakeMemoryKey(std::move(key));
    }
    case KeySetting::Kind::kEnvironment: {
      ASSIGN_OR_RETURN(SecretText key, ReadKeyEnvironment(setting.where));
      return MakeMemoryKey(std::move(key));
    }
    case KeySetting::Kind::kPkcs11:
      return OpenPkcs11Key({options.pkcs11_module, setting.where, options.pkcs11_pin_file});
  }
  return absl::InternalError("a key of no kind");
}

}  // namespace

absl::StatusOr<std::unique_ptr<Sealer>> Sealer::Create(const SealerOptions& options) {
  ASSIGN_OR_RETURN(const std::vector<KeySetting> settings, ParseKeyList(options.keys));
  std::vector<Key> keys;
  for (const KeySetting& setting : settings) {
    absl::StatusOr<std::unique_ptr<SealingKey>> key = OpenKey(setting, options);
    RETURN_IF_ERROR_CTX(key.status(), fmt::format("key {} of secrets.keys", setting.id));
    keys.push_back({setting.id, *std::move(key)});
  }
  return std::make_unique<Sealer>(std::move(keys));
}

absl::StatusOr<v1::SealedSecret> Sealer::Seal(const SecretPlace& place, const SecretText& secret) {
  if (keys_.empty()) {
    return KeyMissing("there is no key to seal secrets with; set secrets.keys");
  }
  if (secret.empty() || secret.Reveal().size() > kSecretBytesMax) {
    return absl::InvalidArgumentError(fmt::format("a secret has 1 to {} bytes, {} has {}",
                                                  kSecretBytesMax, place.name,
                                                  secret.Reveal().size()));
  }
  const Key& key = keys_.front();
  ASSIGN_OR_RETURN(const std::string aad, AadOf(place, key.id));
  v1::SealedSecret sealed;
  sealed.set_name(place.name);
  sealed.set_key_id(key.id);
  sealed.set_format(kFormat);
  std::string& nonce = *sealed.mutable_nonce();
  nonce.resize(kSealingNonceBytes);
  if (RAND_bytes(reinterpret_cast<unsigned char*>(nonce.data()), static_cast<int>(nonce.size())) !=
      1) {
    return absl::InternalError("OpenSSL gives no random bytes");
  }
  ASSIGN_OR_RETURN(*sealed.mutable_sealed(), key.key->Seal(nonce, aad, secret.Reveal()));
  return sealed;
}

absl::StatusOr<SecretText> Sealer::Open(const SecretPlace& place, const v1::SealedSecret& sealed) {
  if (sealed.format() != kFormat) {
    return SecretUnreadable(fmt::format("its format is {}", sealed.format()));
  }
  const auto key = std::ranges::find(keys_, sealed.key_id(), &Key::id);
  if (key == keys_.end()) {
    return KeyMissing(fmt::format(
        "secret {} of source {} is sealed with a key that secrets.keys lacks, {}: put that key "
        "back, or give the secret anew",
        place.name, place.source, QuoteForError(sealed.key_id())));
  }
  ASSIGN_OR_RETURN(const std::string aad, AadOf(place, key->id));
  absl::StatusOr<SecretText> text = key->key->Open(sealed.nonce(), aad, sealed.sealed());
  RETURN_IF_ERROR_CTX(text.status(), fmt::format("secret {} of source {}, sealed with key {}",
                                                 place.name, place.source, key->id));
  return text;
}

}  // namespace sluice::gateways

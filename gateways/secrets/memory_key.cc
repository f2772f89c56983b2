#include "gateways/secrets/memory_key.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <utility>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

struct ContextFree {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using ContextPtr = std::unique_ptr<EVP_CIPHER_CTX, ContextFree>;

const unsigned char* Bytes(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}
unsigned char* Bytes(std::string* text) { return reinterpret_cast<unsigned char*>(text->data()); }
int Size(std::string_view text) { return static_cast<int>(text.size()); }

class MemoryKey final : public SealingKey {
 public:
  explicit MemoryKey(SecretText key) : key_(std::move(key)) {}

  absl::StatusOr<std::string> Seal(std::string_view nonce, std::string_view aad,
                                   std::string_view text) override {
    const ContextPtr context(EVP_CIPHER_CTX_new());
    std::string sealed(text.size() + kSealingTagBytes, '\0');
    unsigned char* const out = Bytes(&sealed);
    int size = 0;
    if (context == nullptr || nonce.size() != kSealingNonceBytes ||
        EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(key_.Reveal()),
                           Bytes(nonce)) != 1 ||
        EVP_EncryptUpdate(context.get(), nullptr, &size, Bytes(aad), Size(aad)) != 1 ||
        EVP_EncryptUpdate(context.get(), out, &size, Bytes(text), Size(text)) != 1 ||
        EVP_EncryptFinal_ex(context.get(), out + size, &size) != 1 ||
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_GET_TAG, kSealingTagBytes,
                            out + text.size()) != 1) {
      return absl::InternalError("OpenSSL does not seal by AES-256-GCM");
    }
    return sealed;
  }

  absl::StatusOr<SecretText> Open(std::string_view nonce, std::string_view aad,
                                  std::string_view sealed) override {
    if (nonce.size() != kSealingNonceBytes || sealed.size() <= kSealingTagBytes) {
      return SecretUnreadable("it is no sealed text");
    }
    const std::string_view body = sealed.substr(0, sealed.size() - kSealingTagBytes);
    std::string tag(sealed.substr(body.size()));
    const ContextPtr context(EVP_CIPHER_CTX_new());
    std::string text(body.size(), '\0');
    int size = 0;
    const bool done =
        context != nullptr &&
        EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, Bytes(key_.Reveal()),
                           Bytes(nonce)) == 1 &&
        EVP_DecryptUpdate(context.get(), nullptr, &size, Bytes(aad), Size(aad)) == 1 &&
        EVP_DecryptUpdate(context.get(), Bytes(&text), &size, Bytes(body), Size(body)) == 1 &&
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_AEAD_SET_TAG, kSealingTagBytes, tag.data()) ==
            1 &&
        EVP_DecryptFinal_ex(context.get(), Bytes(&text) + size, &size) == 1;
    // Wrapped before the look at the tag: what does not authenticate is overwritten, too.
    SecretText opened(std::move(text));
    if (!done) {
      return SecretUnreadable("it was sealed with another key or for another place, or changed");
    }
    return opened;
  }

 private:
  const SecretText key_;
};

}  // namespace

absl::Status SecretUnreadable(std::string_view reason) {
  return Error(absl::StatusCode::kFailedPrecondition, "secret_unreadable",
               fmt::format("a sealed secret can't be opened: {}", reason));
}

absl::StatusOr<std::unique_ptr<SealingKey>> MakeMemoryKey(SecretText key) {
  if (key.Reveal().size() != kSealingKeyBytes) {
    return absl::InvalidArgumentError(fmt::format("a sealing key has {} bytes, this one {}",
                                                  kSealingKeyBytes, key.Reveal().size()));
  }
  return std::make_unique<MemoryKey>(std::move(key));
}

}  // namespace sluice::gateways

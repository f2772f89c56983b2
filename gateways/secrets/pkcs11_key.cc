#include "gateways/secrets/pkcs11_key.h"

#include <absl/synchronization/mutex.h>
#include <fmt/format.h>
#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>

#include <array>
#include <utility>
#include <vector>

#include "gateways/secrets/file_key.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kPinBytesMax = 256;

struct ModuleRelease {
  void operator()(CK_FUNCTION_LIST* module) const {
    p11_kit_module_finalize(module);
    p11_kit_module_release(module);
  }
};
using ModulePtr = std::unique_ptr<CK_FUNCTION_LIST, ModuleRelease>;
struct UriFree {
  void operator()(P11KitUri* uri) const { p11_kit_uri_free(uri); }
};
using UriPtr = std::unique_ptr<P11KitUri, UriFree>;

CK_BYTE* ToBytes(std::string_view text) {
  return reinterpret_cast<CK_BYTE*>(const_cast<char*>(text.data()));  // C: it is only read
}

absl::Status Unavailable(std::string_view what, CK_RV error) {
  return Error(absl::StatusCode::kUnavailable, "sealing_key_unavailable",
               fmt::format("the token of the sealing key: {}: {} (0x{:x})", what,
                           p11_kit_strerror(error), error));
}

absl::StatusOr<ModulePtr> LoadModule(const std::string& path) {
  if (path.empty()) {
    return absl::InvalidArgumentError("a key in a token needs secrets.pkcs11_module");
  }
  CK_FUNCTION_LIST* const module = p11_kit_module_load(path.c_str(), 0);
  if (module == nullptr) {
    const char* const why = p11_kit_message();
    return absl::InvalidArgumentError(
        fmt::format("the PKCS#11 module {} can't be loaded: {}", path, why == nullptr ? "" : why));
  }
  if (const CK_RV error = p11_kit_module_initialize(module); error != CKR_OK) {
    p11_kit_module_release(module);
    return Unavailable("starting its module", error);
  }
  return ModulePtr(module);
}

absl::StatusOr<UriPtr> ParseUri(const std::string& text) {
  UriPtr uri(p11_kit_uri_new());
  const int result = p11_kit_uri_parse(
      text.c_str(), static_cast<P11KitUriType>(P11_KIT_URI_FOR_OBJECT_ON_TOKEN), uri.get());
  if (result != P11_KIT_URI_OK || p11_kit_uri_any_unrecognized(uri.get()) != 0) {
    return absl::InvalidArgumentError("the key's place is no PKCS#11 URI (RFC 7512)");
  }
  if (p11_kit_uri_get_pin_value(uri.get()) != nullptr ||
      p11_kit_uri_get_pin_source(uri.get()) != nullptr ||
      p11_kit_uri_get_module_path(uri.get()) != nullptr ||
      p11_kit_uri_get_module_name(uri.get()) != nullptr) {
    return absl::InvalidArgumentError(
        "a key's URI has no PIN and no module: use secrets.pkcs11_pin_file and "
        "secrets.pkcs11_module");
  }
  if (p11_kit_uri_get_attribute(uri.get(), CKA_LABEL) == nullptr &&
      p11_kit_uri_get_attribute(uri.get(), CKA_ID) == nullptr) {
    return absl::InvalidArgumentError("the key's URI names no object (object= or id=)");
  }
  return uri;
}

// What a token answers for bytes that do not authenticate. The standard's is the first, SoftHSM2
// has the second and other tokens the rest for it; so one that fails for another reason cannot be
// told apart here.
bool IsUnreadable(CK_RV error) {
  return error == CKR_ENCRYPTED_DATA_INVALID || error == CKR_GENERAL_ERROR ||
         error == CKR_ENCRYPTED_DATA_LEN_RANGE || error == CKR_FUNCTION_FAILED ||
         error == CKR_DATA_INVALID || error == CKR_SIGNATURE_INVALID;
}

class Pkcs11Key final : public SealingKey {
 public:
  Pkcs11Key(ModulePtr module, UriPtr uri, std::string pin_file)
      : module_(std::move(module)), uri_(std::move(uri)), pin_file_(std::move(pin_file)) {}
  ~Pkcs11Key() override {
    absl::MutexLock lock(&mutex_);
    Disconnect();
  }

  absl::Status Start() {
    absl::MutexLock lock(&mutex_);
    return Connect();
  }

  absl::StatusOr<std::string> Seal(std::string_view nonce, std::string_view aad,
                                   std::string_view text) override {
    std::string sealed(text.size() + kSealingTagBytes, '\0');
    CK_ULONG size = sealed.size();
    const auto seal = [&](CK_MECHANISM* mechanism) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      const CK_RV error = module_->C_EncryptInit(session_, mechanism, key_);
      size = sealed.size();
      return error != CKR_OK
                 ? error
                 : module_->C_Encrypt(session_, ToBytes(text), text.size(), ToBytes(sealed), &size);
    };
    absl::MutexLock lock(&mutex_);
    RETURN_IF_ERROR(Run(nonce, aad, "sealing", seal));
    if (size != sealed.size()) {
      return absl::InternalError("the token seals to another length than AES-GCM does");
    }
    return sealed;
  }

  absl::StatusOr<SecretText> Open(std::string_view nonce, std::string_view aad,
                                  std::string_view sealed) override {
    if (nonce.size() != kSealingNonceBytes || sealed.size() <= kSealingTagBytes) {
      return SecretUnreadable("it is no sealed text");
    }
    std::string text(sealed.size(), '\0');  // tokens ask for room for the tag too
    CK_ULONG size = text.size();
    CK_RV unreadable = CKR_OK;
    const auto open = [&](CK_MECHANISM* mechanism) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      CK_RV error = module_->C_DecryptInit(session_, mechanism, key_);
      size = text.size();
      if (error == CKR_OK) {
        error = module_->C_Decrypt(session_, ToBytes(sealed), sealed.size(), ToBytes(text), &size);
        unreadable = IsUnreadable(error) ? error : CKR_OK;
      }
      return unreadable != CKR_OK ? CKR_OK : error;
    };
    absl::Status done;
    {
      absl::MutexLock lock(&mutex_);
      done = Run(nonce, aad, "opening", open);
      if (unreadable != CKR_OK) {
        Disconnect();  // where it was the token that failed, the next call has a new session
      }
    }
    const bool whole = size == sealed.size() - kSealingTagBytes;
    text.resize(whole ? size : text.size());
    SecretText opened(std::move(text));
    RETURN_IF_ERROR(done);
    if (unreadable != CKR_OK || !whole) {
      return SecretUnreadable(
          fmt::format("it was sealed with another key or for another place, or changed; the token "
                      "says: {}",
                      p11_kit_strerror(unreadable)));
    }
    return opened;
  }

 private:
  // Has `operation` done with a session, with a new one where the old one has ended: the token was
  // away, or restarted. It is done twice at most, and has had no effect where it failed.
  template <typename Operation>
  absl::Status Run(std::string_view nonce, std::string_view aad, std::string_view what,
                   Operation operation) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    CK_GCM_PARAMS parameters = {ToBytes(nonce), nonce.size(), 8 * nonce.size(),
                                ToBytes(aad),   aad.size(),   8 * kSealingTagBytes};
    CK_MECHANISM mechanism = {CKM_AES_GCM, &parameters, sizeof(parameters)};
    const bool had_session = session_ != CK_INVALID_HANDLE;
    RETURN_IF_ERROR(Connect());
    CK_RV error = operation(&mechanism);
    if (error != CKR_OK && had_session) {
      Disconnect();
      RETURN_IF_ERROR(Connect());
      error = operation(&mechanism);
    }
    if (error != CKR_OK) {
      // A session in the middle of an operation refuses the next one.
      Disconnect();
      return Unavailable(what, error);
    }
    return absl::OkStatus();
  }

  absl::Status Connect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    RETURN_IF_ERROR(refused_);
    if (session_ != CK_INVALID_HANDLE) {
      return absl::OkStatus();
    }
    ASSIGN_OR_RETURN(const CK_SLOT_ID slot, FindToken());
    if (const CK_RV error =
            module_->C_OpenSession(slot, CKF_SERIAL_SESSION, nullptr, nullptr, &session_);
        error != CKR_OK) {
      session_ = CK_INVALID_HANDLE;
      return Unavailable("opening a session", error);
    }
    absl::Status status = Login();
    if (status.ok()) {
      status = FindKey();
    }
    if (!status.ok()) {
      Disconnect();
    }
    return status;
  }

  void Disconnect() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    if (session_ != CK_INVALID_HANDLE) {
      module_->C_CloseSession(session_);
      session_ = CK_INVALID_HANDLE;
    }
  }

  // Slots are found by what the token says of itself: their numbers change when it is made anew.
  absl::StatusOr<CK_SLOT_ID> FindToken() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    std::array<CK_SLOT_ID, 64> slots{};
    CK_ULONG count = slots.size();
    if (const CK_RV error = module_->C_GetSlotList(CK_TRUE, slots.data(), &count);
        error != CKR_OK) {
      return Unavailable("listing slots", error);
    }
    std::vector<CK_SLOT_ID> found;
    for (CK_ULONG i = 0; i < count; ++i) {
      CK_TOKEN_INFO info{};
      if (module_->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
          (info.flags & CKF_TOKEN_INITIALIZED) != 0 &&
          p11_kit_uri_match_token_info(uri_.get(), &info) == 1) {
        found.push_back(slots[i]);
      }
    }
    if (found.size() != 1) {
      return Error(found.empty() ? absl::StatusCode::kNotFound : absl::StatusCode::kInvalidArgument,
                   "sealing_key_unavailable",
                   fmt::format("{} tokens of {} are as the key's URI says, and one must be",
                               found.size(), count));
    }
    return found.front();
  }

  absl::Status Login() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    ASSIGN_OR_RETURN(const SecretText content, ReadSecretFile(pin_file_, kPinBytesMax));
    std::string_view pin = content.Reveal();
    if (pin.ends_with('\n')) {
      pin.remove_suffix(1);
    }
    const CK_RV error = module_->C_Login(session_, CKU_USER, ToBytes(pin), pin.size());
    switch (error) {
      case CKR_OK:
      case CKR_USER_ALREADY_LOGGED_IN:  // another key of this ring is in the same token
        return absl::OkStatus();
      case CKR_PIN_INCORRECT:
      case CKR_PIN_INVALID:
      case CKR_PIN_LEN_RANGE:
      case CKR_PIN_EXPIRED:
      case CKR_PIN_LOCKED:
        refused_ = Error(absl::StatusCode::kFailedPrecondition, "sealing_key_unavailable",
                         fmt::format("the token refuses the PIN in {}: {}; it is tried again when "
                                     "the process is started again",
                                     pin_file_, p11_kit_strerror(error)));
        return refused_;
      default:
        return Unavailable("logging in", error);
    }
  }

  absl::Status FindKey() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    CK_OBJECT_CLASS object_class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    std::vector<CK_ATTRIBUTE> wanted = {{CKA_CLASS, &object_class, sizeof(object_class)},
                                        {CKA_KEY_TYPE, &type, sizeof(type)}};
    for (const CK_ATTRIBUTE_TYPE name : {CKA_LABEL, CKA_ID}) {
      if (const CK_ATTRIBUTE* const given = p11_kit_uri_get_attribute(uri_.get(), name)) {
        wanted.push_back(*given);
      }
    }
    CK_RV error = module_->C_FindObjectsInit(session_, wanted.data(), wanted.size());
    if (error != CKR_OK) {
      return Unavailable("looking for the key", error);
    }
    std::array<CK_OBJECT_HANDLE, 2> found{};
    CK_ULONG count = 0;
    error = module_->C_FindObjects(session_, found.data(), found.size(), &count);
    module_->C_FindObjectsFinal(session_);
    if (error != CKR_OK) {
      return Unavailable("looking for the key", error);
    }
    if (count != 1) {
      return Error(count == 0 ? absl::StatusCode::kNotFound : absl::StatusCode::kInvalidArgument,
                   "sealing_key_unavailable",
                   fmt::format("the token has {} AES key as the URI says, and must have one",
                               count == 0 ? "no" : "more than one"));
    }
    CK_ULONG bytes = 0;
    CK_ATTRIBUTE length = {CKA_VALUE_LEN, &bytes, sizeof(bytes)};
    error = module_->C_GetAttributeValue(session_, found[0], &length, 1);
    if (error != CKR_OK || bytes != kSealingKeyBytes) {
      return absl::InvalidArgumentError(
          fmt::format("the token's key has {} bits, and must have 256", 8 * bytes));
    }
    key_ = found[0];
    return absl::OkStatus();
  }

  // A session does one thing at a time.
  absl::Mutex mutex_;
  const ModulePtr module_;
  const UriPtr uri_;
  const std::string pin_file_;
  CK_SESSION_HANDLE session_ ABSL_GUARDED_BY(mutex_) = CK_INVALID_HANDLE;
  CK_OBJECT_HANDLE key_ ABSL_GUARDED_BY(mutex_) = CK_INVALID_HANDLE;
  absl::Status refused_ ABSL_GUARDED_BY(mutex_);  // the PIN was
};

}  // namespace

absl::StatusOr<std::unique_ptr<SealingKey>> OpenPkcs11Key(const Pkcs11Settings& settings) {
  ASSIGN_OR_RETURN(UriPtr uri, ParseUri(settings.uri));
  if (settings.pin_file.empty()) {
    return absl::InvalidArgumentError("a key in a token needs secrets.pkcs11_pin_file");
  }
  ASSIGN_OR_RETURN(ModulePtr module, LoadModule(settings.module));
  auto key = std::make_unique<Pkcs11Key>(std::move(module), std::move(uri), settings.pin_file);
  RETURN_IF_ERROR(key->Start());
  return key;
}

}  // namespace sluice::gateways

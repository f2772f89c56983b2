#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/secrets/sealing_key.h"
#include "gateways/secrets/secret_text.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::gateways {

// What a sealed secret is bound to: moved elsewhere it does not open.
struct SecretPlace {
  std::string org;
  std::string source;
  std::string name;  // such as "client_secret"
};

inline constexpr size_t kSecretBytesMax = 64 << 10;

// Where the keys are; all of them are read when the process starts. gateways/docs/secrets.md.
struct SealerOptions {
  std::string keys;             // as ParseKeyList(); the first seals, all open. Empty: none
  std::string pkcs11_module;    // path of the library that talks to the token
  std::string pkcs11_pin_file;  // file of mode 0600 with the user's PIN
};

// Seals the secrets of source connections, so that the log never holds one that can be read: a
// ring of keys, of which the first seals and all open. The format, with worked bytes, is
// gateways/docs/secrets.md. Thread-safe.
class Sealer {
 public:
  struct Key {
    std::string id;
    std::unique_ptr<SealingKey> key;
  };

  // Reads every key. An empty list is a ring that refuses: kFailedPrecondition, code
  // "secrets_key_missing". Errors name the key's id and where it is, never its bytes.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<Sealer>> Create(const SealerOptions& options);
  // `keys` have ids of their own.
  explicit Sealer(std::vector<Key> keys) : keys_(std::move(keys)) {}

  // `secret` sealed by the first key. kInvalidArgument for an empty one, one above kSecretBytesMax,
  // and a place with U+0000; the key's errors.
  [[nodiscard]] absl::StatusOr<v1::SealedSecret> Seal(const SecretPlace& place,
                                                      const SecretText& secret);

  // The secret that was sealed for `place`. kFailedPrecondition, code "secrets_key_missing", where
  // the ring lacks the key, which the message names, code "secret_unreadable" for what was sealed
  // for another place or name or was changed; the key's errors.
  [[nodiscard]] absl::StatusOr<SecretText> Open(const SecretPlace& place,
                                                const v1::SealedSecret& sealed);

  // Id of the key that seals; empty where there is none.
  [[nodiscard]] std::string key_id() const { return keys_.empty() ? "" : keys_.front().id; }

 private:
  const std::vector<Key> keys_;
};

}  // namespace sluice::gateways

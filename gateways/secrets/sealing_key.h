#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/secrets/secret_text.h"

namespace sluice::gateways {

inline constexpr size_t kSealingKeyBytes = 32;
inline constexpr size_t kSealingNonceBytes = 12;
inline constexpr size_t kSealingTagBytes = 16;

// A key of 256 bits for AES-GCM (NIST SP 800-38D) with nonces of 96 bits and tags of 128. Two
// implementations that make the same bytes: in memory (memory_key.h) and within a token
// (pkcs11_key.h). Thread-safe.
class SealingKey {
 public:
  virtual ~SealingKey() = default;

  // `text` encrypted, and the tag of it and of `aad` behind it. `nonce` is of kSealingNonceBytes
  // and must never come twice with one key: two texts under one nonce can be read and forged.
  // `text` is not empty. kUnavailable, code "sealing_key_unavailable", where a token does not
  // answer.
  [[nodiscard]] virtual absl::StatusOr<std::string> Seal(std::string_view nonce,
                                                         std::string_view aad,
                                                         std::string_view text) = 0;

  // The text that Seal() made `sealed` of. kFailedPrecondition, code "secret_unreadable", for what
  // was sealed with another key, nonce or `aad`, or was changed since; else as Seal().
  [[nodiscard]] virtual absl::StatusOr<SecretText> Open(std::string_view nonce,
                                                        std::string_view aad,
                                                        std::string_view sealed) = 0;
};

// The error of Open(). Says nothing of what is sealed.
[[nodiscard]] absl::Status SecretUnreadable(std::string_view reason);

}  // namespace sluice::gateways

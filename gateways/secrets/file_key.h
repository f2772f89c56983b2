#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/secrets/secret_text.h"

// Keys that are given to the process as text or bytes. Thread-safe.
namespace sluice::gateways {

// The bytes of a file that only its owner can read (mode 0600, 0400 or less: else
// kInvalidArgument). Errors as ReadSmallFile(); they name the path and nothing of the content.
[[nodiscard]] absl::StatusOr<SecretText> ReadSecretFile(const std::string& path, size_t bytes_max);

// The 32 bytes of a key from base64 text, a line break behind it allowed: what `openssl rand
// -base64 32` writes. kInvalidArgument for anything else.
[[nodiscard]] absl::StatusOr<SecretText> DecodeSealingKey(std::string_view text);

// The key in a file: its 32 bytes as they are, or their base64.
[[nodiscard]] absl::StatusOr<SecretText> ReadKeyFile(const std::string& path);

// The key in an environment variable, as base64 only: 32 characters that somebody typed are no key.
// kNotFound where the variable is not set. Must not run while another thread changes the
// environment.
[[nodiscard]] absl::StatusOr<SecretText> ReadKeyEnvironment(const std::string& variable);

}  // namespace sluice::gateways

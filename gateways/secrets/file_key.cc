#include "gateways/secrets/file_key.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <cstdlib>
#include <optional>
#include <utility>

#include "gateways/secrets/sealing_key.h"
#include "schemas/base/files.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

constexpr size_t kKeyFileBytesMax = 256;

}  // namespace

absl::StatusOr<SecretText> ReadSecretFile(const std::string& path, size_t bytes_max) {
  ASSIGN_OR_RETURN(std::string bytes, ReadSmallFile(path, bytes_max));
  SecretText secret(std::move(bytes));
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0 || (info.st_mode & 077) != 0) {
    return absl::InvalidArgumentError(
        fmt::format("{} has mode {:03o}, so that others than its owner can read or write it: chmod "
                    "600 it, and take a new secret where somebody may have",
                    path, info.st_mode & 0777));
  }
  return secret;
}

absl::StatusOr<SecretText> DecodeSealingKey(std::string_view text) {
  if (text.ends_with('\n')) {
    text.remove_suffix(1);
  }
  std::optional<std::string> bytes = DecodeBase64(text);
  SecretText key;
  if (bytes.has_value()) {
    key = SecretText(*std::move(bytes));
  }
  if (key.Reveal().size() != kSealingKeyBytes) {
    return absl::InvalidArgumentError(fmt::format(
        "a sealing key is the base64 of {} bytes, as `openssl rand -base64 32` writes it",
        kSealingKeyBytes));
  }
  return key;
}

absl::StatusOr<SecretText> ReadKeyFile(const std::string& path) {
  ASSIGN_OR_RETURN(SecretText content, ReadSecretFile(path, kKeyFileBytesMax));
  if (content.Reveal().size() == kSealingKeyBytes) {
    return content;
  }
  absl::StatusOr<SecretText> key = DecodeSealingKey(content.Reveal());
  RETURN_IF_ERROR_CTX(key.status(), path);
  return key;
}

absl::StatusOr<SecretText> ReadKeyEnvironment(const std::string& variable) {
  const char* const value = std::getenv(variable.c_str());
  if (value == nullptr) {
    return absl::NotFoundError(fmt::format("the environment has no variable {}", variable));
  }
  absl::StatusOr<SecretText> key = DecodeSealingKey(value);
  RETURN_IF_ERROR_CTX(key.status(), fmt::format("environment variable {}", variable));
  return key;
}

}  // namespace sluice::gateways

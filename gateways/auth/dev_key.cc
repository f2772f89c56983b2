#include "gateways/auth/dev_key.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <filesystem>

#include "gateways/auth/jose.h"
#include "gateways/auth/key_set.h"
#include "schemas/base/files.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

absl::Status CreateKey(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string jwk, GenerateEd25519Jwk());
  const absl::Status written = WriteFileAtomically(path, jwk + "\n", 0600, IfExists::kKeep);
  if (absl::IsAlreadyExists(written)) {
    return absl::OkStatus();  // another process was faster; its key is the key
  }
  RETURN_IF_ERROR(written);
  spdlog::warn(
      "auth.dev_key_created path={} hint=\"whoever reads this file can make any token; for "
      "production set auth.jwks\"",
      path);
  return absl::OkStatus();
}

void WarnIfReadableByOthers(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && (info.st_mode & 077) != 0) {
    spdlog::warn("auth.dev_key_exposed path={} mode={:o} hint=\"chmod 600\"", path,
                 info.st_mode & 0777);
  }
}

}  // namespace

absl::StatusOr<std::string> LoadOrCreateDevKey(const std::string& data_dir) {
  if (data_dir.empty()) {
    return absl::InvalidArgumentError(
        "neither a JWKS nor a data directory for a development key is configured");
  }
  std::error_code failed;
  std::filesystem::create_directories(data_dir, failed);
  if (failed) {
    return absl::InvalidArgumentError(fmt::format("making {}: {}", data_dir, failed.message()));
  }
  const std::string path = (std::filesystem::path(data_dir) / kDevKeyFile).string();
  absl::StatusOr<std::string> jwk = ReadSmallFile(path, kPrivateKeyBytesMax);
  if (absl::IsNotFound(jwk.status())) {
    RETURN_IF_ERROR(CreateKey(path));
    jwk = ReadSmallFile(path, kPrivateKeyBytesMax);
  }
  RETURN_IF_ERROR(jwk.status());
  WarnIfReadableByOthers(path);
  absl::StatusOr<std::string> jwks = PublicJwks(*jwk);
  RETURN_IF_ERROR_CTX(jwks.status(), path);
  const std::string jwks_path = (std::filesystem::path(data_dir) / kDevJwksFile).string();
  if (const absl::StatusOr<std::string> old = ReadSmallFile(jwks_path, kJwksBytesMax);
      !old.ok() || *old != *jwks + "\n") {
    RETURN_IF_ERROR(WriteFileAtomically(jwks_path, *jwks + "\n", 0600, IfExists::kReplace));
  }
  return jwk;
}

}  // namespace sluice::gateways

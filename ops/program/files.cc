#include "ops/program/files.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "schemas/base/files.h"
#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::ops {

namespace {

namespace fs = std::filesystem;

constexpr fs::perms kOthers = fs::perms::group_all | fs::perms::others_all;

// What this program makes in a data folder; whatever else is there belongs to somebody else.
constexpr std::string_view kOwnNames[] = {"log", "stores", "node-id", "dev-key.jwk",
                                          "dev-jwks.json"};

bool IsOwn(const fs::path& path) {
  const std::string name = path.filename().string();
  return std::find(std::begin(kOwnNames), std::end(kOwnNames), name) != std::end(kOwnNames);
}

void Narrow(const fs::path& path) {
  std::error_code error;
  const fs::perms mode = fs::status(path, error).permissions();
  if (error || (mode & kOthers) == fs::perms::none) {
    return;
  }
  fs::permissions(path, kOthers, fs::perm_options::remove, error);
  const fs::perms after = fs::status(path).permissions();
  const bool narrowed = !error && (after & kOthers) == fs::perms::none;
  spdlog::warn("{} path={} mode={:o} hint=\"{}\"",
               narrowed ? "permissions_narrowed" : "permissions_too_wide", path.string(),
               static_cast<unsigned>(mode & fs::perms::all),
               narrowed ? "others on this machine could open it"
                        : "others on this machine can open it: give it to the server's user, mode "
                          "0700 for folders and 0600 for files");
}

// Folders below the log and the stores need no look: nobody passes the one above.
absl::Status NarrowDataDir(const std::string& path) {
  std::error_code error;
  bool only_own = true;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (IsOwn(it->path())) {
      Narrow(it->path());
    } else {
      only_own = false;
    }
  }
  if (error) {
    return Error(absl::StatusCode::kFailedPrecondition, "data_dir_unusable",
                 fmt::format("the data folder {} can't be listed: {}", path, error.message()));
  }
  if (only_own) {
    Narrow(path);
  }
  return absl::OkStatus();
}

}  // namespace

void KeepFilesPrivate() { ::umask(077); }

absl::Status MakeDataDir(const std::string& path) {
  std::error_code error;
  if (fs::create_directories(path, error)) {
    fs::permissions(path, fs::perms::owner_all, error);
  }
  if (!fs::is_directory(path, error)) {
    return Error(absl::StatusCode::kFailedPrecondition, "data_dir_unusable",
                 fmt::format("the data folder {} can't be made: {}; name another with --data-dir",
                             path, error ? error.message() : "it is no folder"));
  }
  if (::access(path.c_str(), W_OK | X_OK) != 0) {
    return Error(
        absl::StatusCode::kFailedPrecondition, "data_dir_unusable",
        fmt::format(
            "the data folder {} can't be written to: {}; mend its permissions or name another with "
            "--data-dir",
            path, std::strerror(errno)));
  }
  return NarrowDataDir(path);
}

absl::StatusOr<std::string> ReadSecret(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string secret(std::istreambuf_iterator<char>(file), {});
  secret.erase(secret.find_last_not_of(" \t\r\n") + 1);
  if (secret.empty()) {
    return Error(absl::StatusCode::kFailedPrecondition, "secret_unreadable",
                 fmt::format("the secret file {} can't be read or is empty", path));
  }
  return secret;
}

absl::StatusOr<std::string> NodeId(const std::string& data_dir, const std::string& configured,
                                   const Clock& clock) {
  if (!configured.empty()) {
    return configured;
  }
  const std::string path = data_dir + "/node-id";
  std::string id;
  if (std::ifstream(path) >> id && !id.empty()) {
    return id;
  }
  id = NewUuid7(clock);
  RETURN_IF_ERROR(WriteFileAtomically(path, id + "\n", 0600, IfExists::kReplace));
  return id;
}

}  // namespace sluice::ops

#include "ops/program/files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "eventlog/base/uuid.h"
#include "schemas/status.h"

namespace sluice::ops {

absl::Status MakeDataDir(const std::string& path) {
  std::error_code error;
  if (std::filesystem::create_directories(path, error)) {
    std::filesystem::permissions(path, std::filesystem::perms::owner_all, error);
  }
  if (!std::filesystem::is_directory(path, error)) {
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
  return absl::OkStatus();
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view text) {
  const std::string beside = fmt::format("{}.{}.new", path, ::getpid());
  {
    std::ofstream file(beside, std::ios::binary | std::ios::trunc);
    file.write(text.data(), static_cast<std::streamsize>(text.size()));
    file.close();
    if (!file) {
      return Error(absl::StatusCode::kUnavailable, "file_unwritable",
                   fmt::format("{} can't be written", beside));
    }
  }
  if (std::rename(beside.c_str(), path.c_str()) != 0) {
    return Error(absl::StatusCode::kUnavailable, "file_unwritable",
                 fmt::format("{} can't be put in place: {}", path, std::strerror(errno)));
  }
  return absl::OkStatus();
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
  RETURN_IF_ERROR(WriteFileAtomically(path, id + "\n"));
  return id;
}

}  // namespace sluice::ops

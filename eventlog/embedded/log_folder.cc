#include "eventlog/embedded/log_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <system_error>

#include "schemas/status.h"

namespace sluice::eventlog {
namespace {

using absl::StatusCode;

// Never used up by appends, so that a manifest, a retention or an opening still finds room.
constexpr uint64_t kReserveBytes = 8 << 20;
constexpr size_t kProbeBytes = 1 << 20;

std::string Cause(int code) { return std::generic_category().message(code); }

// What an opening that was killed before the log was there may leave: no obstacle.
bool IsBeginning(const std::string& name) {
  return name == "LOCK" || name == "IDENTITY" || name == "probe" || name == "MANIFEST-000001" ||
         name.starts_with("LOG") || name.ends_with(".dbtmp");
}

}  // namespace

absl::Status PrepareFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  const bool made = !error;
  if (!made || ::access(path.c_str(), R_OK | W_OK | X_OK) != 0) {
    return Error(StatusCode::kFailedPrecondition, "log_read_only",
                 fmt::format("the log's folder {} cannot be {}: {}", path,
                             made ? "written" : "made", made ? Cause(errno) : error.message()));
  }
  if (std::filesystem::exists(path + "/CURRENT", error)) {
    return absl::OkStatus();
  }
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (!IsBeginning(name)) {
      return Error(StatusCode::kFailedPrecondition, "log_foreign",
                   fmt::format("{} holds {} but no log: it is another program's folder, or a copy "
                               "that lacks files; give an empty folder or restore the log",
                               path, name));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSpace(const std::string& path, size_t bytes) {
  struct statvfs disk {};
  if (::statvfs(path.c_str(), &disk) != 0) {
    return Error(StatusCode::kUnavailable, "log_write_failed",
                 fmt::format("the log {} cannot be reached: {}", path, Cause(errno)));
  }
  const uint64_t free = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (free < bytes + kReserveBytes) {
    return Error(StatusCode::kUnavailable, "disk_full",
                 fmt::format("the disk of the log {} is full: {} bytes are free, {} are needed; "
                             "free some space, the log then goes on by itself",
                             path, free, bytes + kReserveBytes));
  }
  return absl::OkStatus();
}

absl::Status ProbeFolder(const std::string& path) {
  RETURN_IF_ERROR(CheckSpace(path, kProbeBytes));
  const std::string name = path + "/probe";
  const int file = ::open(name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  int failure = file < 0 ? errno : 0;
  if (file >= 0) {
    failure = ::posix_fallocate(file, 0, kProbeBytes);
    ::close(file);
    ::unlink(name.c_str());
  }
  if (failure == 0) {
    return absl::OkStatus();
  }
  const bool full = failure == ENOSPC || failure == EDQUOT;
  return Error(StatusCode::kUnavailable, full ? "disk_full" : "log_write_failed",
               fmt::format("the log {} cannot be written: {}", path, Cause(failure)));
}

}  // namespace sluice::eventlog

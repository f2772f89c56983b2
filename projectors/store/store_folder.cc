#include "projectors/store/store_folder.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <filesystem>
#include <system_error>

#include "schemas/status.h"

namespace sluice::projectors {
namespace {

using absl::StatusCode;

// Never used up by batches, so that a manifest or an opening still finds room.
constexpr uint64_t kReserveBytes = 8 << 20;
constexpr size_t kProbeBytes = 1 << 20;

absl::Status Failure(const std::string& path, int code) {
  const std::string cause = std::generic_category().message(code);
  if (code == EROFS || code == EACCES || code == EPERM) {
    return Error(StatusCode::kFailedPrecondition, "store_read_only",
                 fmt::format("the folder {} must be writable: {}", path, cause));
  }
  if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
    return Error(
        StatusCode::kResourceExhausted, "disk_full",
        fmt::format("no room in {}: {}; make space, the stores go on by themselves", path, cause));
  }
  return Error(StatusCode::kUnavailable, "store_io_error",
               fmt::format("the folder {} cannot be used: {}", path, cause));
}

}  // namespace

absl::StatusOr<FolderState> InspectFolder(const std::string& path) {
  std::error_code error;
  bool current = false;
  bool data = false;
  std::filesystem::directory_iterator entry(path, error);
  for (; !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
    const std::filesystem::path& file = entry->path();
    current = current || file.filename() == "CURRENT";
    std::error_code size_error;
    const bool log_with_data =
        file.extension() == ".log" && entry->file_size(size_error) > 0 && !size_error;
    data = data || file.extension() == ".sst" || log_with_data;
  }
  if (error == std::errc::no_such_file_or_directory) {
    return FolderState::kMissing;
  }
  if (error) {
    return Failure(path, error.value());
  }
  if (current) {
    return FolderState::kPresent;
  }
  return data ? FolderState::kDamaged : FolderState::kMissing;
}

absl::Status PrepareFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return Failure(path, error.value());
  }
  if (::access(path.c_str(), R_OK | W_OK | X_OK) != 0) {
    return Failure(path, errno);
  }
  RETURN_IF_ERROR(CheckSpace(path, kProbeBytes));
  // A quota or a limit of the file size does not show before something is written.
  const std::string name = path + "/probe";
  const int file = ::open(name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  int failure = file < 0 ? errno : 0;
  if (file >= 0) {
    failure = ::posix_fallocate(file, 0, kProbeBytes);
    ::close(file);
    ::unlink(name.c_str());
  }
  return failure == 0 ? absl::OkStatus() : Failure(path, failure);
}

absl::Status CheckSpace(const std::string& path, size_t bytes) {
  struct statvfs disk {};
  if (::statvfs(path.c_str(), &disk) != 0) {
    return Failure(path, errno);
  }
  const uint64_t free = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (free < bytes + kReserveBytes) {
    return Error(StatusCode::kResourceExhausted, "disk_full",
                 fmt::format("the disk of {} is full: {} bytes are free, {} are needed; make "
                             "space, the stores go on by themselves",
                             path, free, bytes + kReserveBytes));
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors

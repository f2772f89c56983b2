#include "projectors/store/store_folder.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "schemas/base/disk_check.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using absl::StatusCode;

absl::Status Failure(const std::string& path, const DiskProblem& problem) {
  const int code = problem.code;
  if (code == EROFS || code == EACCES || code == EPERM) {
    return Error(StatusCode::kFailedPrecondition, "store_read_only",
                 "the folder {} must be writable: {}", path, problem.Cause());
  }
  if (problem.needed > 0) {
    return Error(StatusCode::kResourceExhausted, "disk_full",
                 "the disk of {} is full: {} bytes are free, {} are needed; make space, the stores "
                 "go on by themselves",
                 path, problem.free, problem.needed);
  }
  if (problem.full() || code == EFBIG) {
    return Error(StatusCode::kResourceExhausted, "disk_full",
                 "no room in {}: {}; make space, the stores go on by themselves", path,
                 problem.Cause());
  }
  return Error(StatusCode::kUnavailable, "store_io_error", "the folder {} cannot be used: {}", path,
               problem.Cause());
}

absl::Status Failure(const std::string& path, int code) {
  return Failure(path, DiskProblem{.code = code});
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
  const DiskProblem problem = ProbeDisk(path);
  return problem.code == 0 ? absl::OkStatus() : Failure(path, problem);
}

absl::Status CheckSpace(const std::string& path, size_t bytes) {
  const DiskProblem problem = CheckDiskSpace(path, bytes);
  return problem.code == 0 ? absl::OkStatus() : Failure(path, problem);
}

}  // namespace sluice::projectors

#include "eventlog/embedded/log_folder.h"

#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>

#include "schemas/base/disk_check.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using absl::StatusCode;

absl::Status StatusOf(const std::string& path, const DiskProblem& problem) {
  if (problem.code == 0) {
    return absl::OkStatus();
  }
  if (problem.needed > 0) {
    return Error(StatusCode::kUnavailable, "disk_full",
                 "the disk of the log {} is full: {} bytes are free, {} are needed; free some "
                 "space, the log then goes on by itself",
                 path, problem.free, problem.needed);
  }
  return Error(StatusCode::kUnavailable, problem.full() ? "disk_full" : "log_write_failed",
               "the log {} cannot be written: {}", path, problem.Cause());
}

// What an opening that was killed before the log was there may leave: no obstacle.
bool IsBeginning(const std::string& name) {
  return name == "LOCK" || name == "IDENTITY" || name == "probe" || name == "MANIFEST-000001" ||
         name.starts_with("LOG") || name.ends_with(".dbtmp");
}

// The history of every organisation is nobody else's. A folder that belongs to another user, who
// let us write, stays as it is.
void MakeOwnersAlone(const std::string& path) {
  using std::filesystem::perms;
  std::error_code error;
  std::filesystem::permissions(path, perms::owner_all, error);
  if (error) {
    return;
  }
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    if (entry.is_regular_file(error)) {
      std::filesystem::permissions(entry.path(), perms::owner_read | perms::owner_write, error);
    }
  }
}

}  // namespace

absl::Status NoLogError(const std::string& path) {
  return Error(
      StatusCode::kNotFound, "no_log",
      "there is no log in {}; give the data folder of a server, or --brokers for a log in Kafka",
      path);
}

absl::Status CheckHoldsLog(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(path + "/CURRENT", error) ? absl::OkStatus() : NoLogError(path);
}

absl::Status PrepareFolder(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  const bool made = !error;
  if (!made || ::access(path.c_str(), R_OK | W_OK | X_OK) != 0) {
    return Error(StatusCode::kFailedPrecondition, "log_read_only",
                 "the log's folder {} cannot be {}: {}", path, made ? "written" : "made",
                 made ? DiskProblem{.code = errno}.Cause() : error.message());
  }
  if (std::filesystem::exists(path + "/CURRENT", error)) {
    MakeOwnersAlone(path);
    return absl::OkStatus();
  }
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (!IsBeginning(name)) {
      return Error(StatusCode::kFailedPrecondition, "log_foreign",
                   "{} holds {} but no log: it is another program's folder, or a copy that lacks "
                   "files; give an empty folder or restore the log",
                   path, name);
    }
  }
  MakeOwnersAlone(path);
  return absl::OkStatus();
}

absl::Status CheckSpace(const std::string& path, size_t bytes) {
  return StatusOf(path, CheckDiskSpace(path, bytes));
}

absl::Status ProbeFolder(const std::string& path) { return StatusOf(path, ProbeDisk(path)); }

}  // namespace sluice::eventlog

#include "clients/cpp/file_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "schemas/base/status.h"

namespace sluice::client {
namespace {

constexpr int kLinksMax = 40;  // as Linux itself follows

absl::Status Unwritable(const std::string& path, std::string_view why) {
  return Error(
      absl::StatusCode::kFailedPrecondition, "database_unwritable",
      fmt::format("{} can't be used: {}; give a path that this user can write to", path, why));
}

// What the path leads to, also where the last link's target is still to be made.
absl::StatusOr<std::string> Resolved(const std::string& given) {
  namespace fs = std::filesystem;
  fs::path path = given;
  std::error_code error;
  for (int links = 0; links < kLinksMax; ++links) {
    if (const fs::path whole = fs::canonical(path, error); !error) {
      return whole.string();
    }
    if (!fs::is_symlink(fs::symlink_status(path, error))) {
      break;
    }
    const fs::path target = fs::read_symlink(path, error);
    path = target.is_absolute() ? target : path.parent_path() / target;
  }
  const fs::path folder =
      fs::canonical(path.has_parent_path() ? path.parent_path() : fs::path("."), error);
  if (error || !path.has_filename()) {
    return Unwritable(given, error ? error.message() : "it names no file");
  }
  return (folder / path.filename()).string();
}

}  // namespace

bool FileLock::HasSecondName(const std::string& path) {
  struct stat about = {};
  return ::stat(path.c_str(), &about) == 0 && S_ISREG(about.st_mode) && about.st_nlink > 1;
}

absl::StatusOr<FileLock> FileLock::Take(const std::string& path, SecondName second_name) {
  ASSIGN_OR_RETURN(const std::string file, Resolved(path));
  const std::string lock_path = file + ".lock";
  const int fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    return Unwritable(lock_path, std::strerror(errno));
  }
  FileLock lock(file, fd);
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    return Error(absl::StatusCode::kFailedPrecondition, "database_in_use",
                 fmt::format("another client is pulling into {}: end it first", file));
  }
  // Only a file that was not there before: see the class comment on closing.
  if (const int made = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
      made >= 0) {
    ::close(made);
  } else if (errno != EEXIST) {
    return Unwritable(file, std::strerror(errno));
  }
  struct stat about = {};
  if (::stat(file.c_str(), &about) != 0 || !S_ISREG(about.st_mode)) {
    return Unwritable(file, "it is no file");
  }
  if (about.st_nlink > 1 && second_name == SecondName::kRefused) {
    return Unwritable(file, fmt::format("it has {} names (hard links), and SQLite would keep a log "
                                        "beside each and destroy it; make a copy instead",
                                        static_cast<uint64_t>(about.st_nlink)));
  }
  return lock;
}

FileLock::~FileLock() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

absl::Status FileLock::KeepToOwner() const {
  for (const char* suffix : {"", "-wal", "-shm"}) {
    const std::string file = path_ + suffix;
    // Of a file that is another user's that user decides.
    if (::chmod(file.c_str(), S_IRUSR | S_IWUSR) != 0 && errno != ENOENT && errno != EPERM) {
      return Unwritable(file, std::strerror(errno));
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::client

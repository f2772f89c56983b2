#include "schemas/base/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "schemas/base/status.h"

namespace sluice {
namespace {

// Closes a descriptor when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) {
      ::close(fd_);
    }
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  int get() const { return fd_; }

 private:
  int fd_;
};

absl::Status ReadError(const std::string& path, int error) {
  const auto kind =
      error == ENOENT ? absl::StatusCode::kNotFound : absl::StatusCode::kInvalidArgument;
  return absl::Status(kind, fmt::format("reading {}: {}", path, std::strerror(error)));
}

absl::Status WriteError(std::string_view what, const std::string& path, int error) {
  return Error(StatusCode::kUnavailable, "file_unwritable", "{} can't be written: {}: {}", path,
               what, std::strerror(error));
}

absl::Status WriteAndSync(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno != EINTR) {
      return WriteError("writing", path, errno);
    }
    bytes.remove_prefix(static_cast<size_t>(std::max<ssize_t>(written, 0)));
  }
  return ::fsync(fd) == 0 ? absl::OkStatus() : WriteError("syncing", path, errno);
}

absl::Status SyncFolderOf(const std::string& path) {
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const Descriptor fd(::open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY));
  if (fd.get() < 0 || ::fsync(fd.get()) != 0) {
    return WriteError("syncing its folder", path, errno);
  }
  return absl::OkStatus();
}

// The bytes are synced before the name shows them, or a power cut could leave the name of an empty
// file; the folder after, or it could take the name away again. link(2) fails when `path` exists,
// rename(2) replaces it.
absl::Status MoveIntoPlace(const std::string& beside, const std::string& path, IfExists if_exists) {
  if (if_exists == IfExists::kReplace) {
    return ::rename(beside.c_str(), path.c_str()) == 0
               ? absl::OkStatus()
               : WriteError("moving it into place", path, errno);
  }
  if (::link(beside.c_str(), path.c_str()) != 0) {
    return errno == EEXIST ? absl::AlreadyExistsError(fmt::format("{} exists", path))
                           : WriteError("moving it into place", path, errno);
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  struct stat info {};
  if (fd.get() < 0 || ::fstat(fd.get(), &info) != 0) {
    return ReadError(path, errno);
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(fmt::format("{} is not a regular file", path));
  }
  std::string bytes(bytes_max + 1, '\0');
  size_t size = 0;
  while (size < bytes.size()) {
    const ssize_t got = ::read(fd.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno != EINTR) {
      return ReadError(path, errno);
    }
    if (got == 0) {
      bytes.resize(size);
      return bytes;
    }
    size += static_cast<size_t>(std::max<ssize_t>(got, 0));
  }
  return absl::InvalidArgumentError(fmt::format("{} is larger than {} bytes", path, bytes_max));
}

absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes, unsigned mode,
                                 IfExists if_exists) {
  // mkstemp makes it with mode 0600, so that nobody else can open it before its mode is set.
  std::string beside = path + ".XXXXXX";
  absl::Status status;
  {
    const Descriptor fd(::mkostemp(beside.data(), O_CLOEXEC));
    if (fd.get() < 0) {
      return WriteError("making a file beside", path, errno);
    }
    status = ::fchmod(fd.get(), mode) == 0 ? WriteAndSync(fd.get(), bytes, path)
                                           : WriteError("setting its mode", path, errno);
  }
  // Synced before it gets its name, and the folder after: a power cut leaves the file of before or
  // the whole of this one, and never a name without its bytes.
  if (status.ok()) {
    status = MoveIntoPlace(beside, path, if_exists);
  }
  if (!status.ok() || if_exists == IfExists::kKeep) {
    ::unlink(beside.c_str());
  }
  return status.ok() ? SyncFolderOf(path) : status;
}

}  // namespace sluice

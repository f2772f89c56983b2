#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace sluice::client {

// Holds FILE.lock as long as it lives, where FILE is what the path leads to: one writer a file,
// over all processes and whatever symbolic links and folders they come by. A file with a second
// name (a hard link) is refused: SQLite keeps its write-ahead log beside the name that it was
// opened by, so that two names would be two logs of one file, which destroys it. Not thread-safe.
//
// The lock is not on the file itself: to close a descriptor of it would end the locks that SQLite
// has on it in this process (SQLite's "How To Corrupt", section 2.2).
class FileLock {
 public:
  // Whether a file with a second name is taken: only for who makes no log beside it.
  enum class SecondName { kRefused, kTaken };

  // Makes the file, empty and for its owner alone (0600), where there is none. kFailedPrecondition:
  // "database_in_use", or "database_unwritable".
  [[nodiscard]] static absl::StatusOr<FileLock> Take(const std::string& path,
                                                     SecondName second_name = SecondName::kRefused);
  // Whether it is for a second name that Take() would refuse the file.
  [[nodiscard]] static bool HasSecondName(const std::string& path);
  FileLock(FileLock&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_) {
    other.fd_ = -1;
  }
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

  // Without links and `..`: where SQLite is to open it.
  const std::string& path() const { return path_; }
  // Takes the rights of others to read the file and what SQLite has beside it.
  [[nodiscard]] absl::Status KeepToOwner() const;

 private:
  FileLock(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_;
};

}  // namespace sluice::client

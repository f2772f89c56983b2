#pragma once

#include <string>

#include "absl/status/status.h"

namespace sluice::ops {

// The file that tells that this process serves: it is there neither before nor after, also where
// the last process was killed. Used by one thread.
class ReadyFile {
 public:
  // An empty path: there is none, and nothing is done.
  explicit ReadyFile(std::string path);
  // Removes it as RemoveOwn() does.
  ~ReadyFile();
  ReadyFile(const ReadyFile&) = delete;
  ReadyFile& operator=(const ReadyFile&) = delete;

  // Removes what a process left that was killed. One that names a live process of the same program
  // stays: that process serves, and this start is about to be refused.
  // kFailedPrecondition, code `file_unwritable`.
  [[nodiscard]] absl::Status RemoveStale() const;
  // Removes it where it names this process. A failure is logged.
  void RemoveOwn() const;

 private:
  const std::string path_;
};

}  // namespace sluice::ops

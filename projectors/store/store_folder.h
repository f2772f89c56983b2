#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// What the stores ask of a folder and its disk before RocksDB touches them: RocksDB says less when
// it fails, and in builds with assertions (Debian's) may end the process when it opens on a full
// disk.
namespace sluice::projectors {

// What a folder looks like before RocksDB is asked to open it.
enum class FolderState {
  kMissing,  // no folder, or one in which nothing was ever flushed: may be made anew
  kPresent,  // holds a database
  kDamaged,  // tables without CURRENT: something was lost
};
// kUnavailable, code "store_io_error", where it cannot be looked into (too many open files, say):
// never taken for a missing one, which would be deleted and built anew.
[[nodiscard]] absl::StatusOr<FolderState> InspectFolder(const std::string& path);

// Makes the folder when missing, and checks that files can be made and grow there.
// kFailedPrecondition, code "store_read_only"; kResourceExhausted, code "disk_full".
[[nodiscard]] absl::Status PrepareFolder(const std::string& path);

// kResourceExhausted, code "disk_full", where `bytes` more would leave less than the reserve that
// RocksDB needs to go on with its own files. One system call.
[[nodiscard]] absl::Status CheckSpace(const std::string& path, size_t bytes);

}  // namespace sluice::projectors

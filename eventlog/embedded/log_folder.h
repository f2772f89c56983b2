#pragma once

#include <cstddef>
#include <string>

#include "absl/status/status.h"

// What the embedded log asks of its folder before RocksDB touches it: RocksDB says less when it
// fails, and in builds with assertions (Debian's) may end the process when it opens on a full disk.
namespace sluice::eventlog {

// Makes the folder when missing, and it and its files the owner's alone. kFailedPrecondition, code
// "log_read_only" where it cannot be written, "log_foreign" where it holds other files and no log.
[[nodiscard]] absl::Status PrepareFolder(const std::string& path);

// kNotFound, code "no_log", where the folder or a log in it does not exist. Makes nothing.
[[nodiscard]] absl::Status CheckHoldsLog(const std::string& path);
[[nodiscard]] absl::Status NoLogError(const std::string& path);

// kUnavailable, code "disk_full", where `bytes` more would leave less than the reserve that
// RocksDB needs to go on with its own files. One system call.
[[nodiscard]] absl::Status CheckSpace(const std::string& path, size_t bytes);

// CheckSpace(), and whether a file can in fact be made and grow there (quota, file-size limit):
// otherwise kUnavailable, code "disk_full" or "log_write_failed".
[[nodiscard]] absl::Status ProbeFolder(const std::string& path);

}  // namespace sluice::eventlog

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

// What is asked of a folder's disk before RocksDB touches it: RocksDB says less when it fails, and
// in builds with assertions (Debian's) may end the process when it opens on a full disk. Each owner
// of a folder words its own error.
namespace sluice {

// Never used up by data, so that a manifest, a retention or an opening still finds room.
inline constexpr uint64_t kDiskReserveBytes = 8 << 20;

// Why nothing may be written to a folder.
struct DiskProblem {
  int code = 0;         // errno; 0: no problem
  uint64_t free = 0;    // with ENOSPC from CheckDiskSpace(): what is there,
  uint64_t needed = 0;  // and what would have to be, in bytes

  [[nodiscard]] bool full() const;  // ENOSPC or a quota
  [[nodiscard]] std::string Cause() const;
};

// ENOSPC where `bytes` more would leave less than kDiskReserveBytes. One system call.
[[nodiscard]] DiskProblem CheckDiskSpace(const std::string& folder, size_t bytes);

// CheckDiskSpace(), and whether a file can in fact be made and grow to 1 MiB there: a quota or a
// limit of the file size does not show before. The file is called "probe" and removed.
[[nodiscard]] DiskProblem ProbeDisk(const std::string& folder);

}  // namespace sluice

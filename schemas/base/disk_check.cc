#include "schemas/base/disk_check.h"

#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

namespace sluice {
namespace {

constexpr size_t kProbeBytes = 1 << 20;

}  // namespace

bool DiskProblem::full() const { return code == ENOSPC || code == EDQUOT; }

std::string DiskProblem::Cause() const { return std::generic_category().message(code); }

DiskProblem CheckDiskSpace(const std::string& folder, size_t bytes) {
  struct statvfs disk {};
  if (::statvfs(folder.c_str(), &disk) != 0) {
    return {.code = errno};
  }
  const uint64_t free = static_cast<uint64_t>(disk.f_bavail) * disk.f_frsize;
  const uint64_t needed = bytes + kDiskReserveBytes;
  return {.code = free < needed ? ENOSPC : 0, .free = free, .needed = needed};
}

DiskProblem ProbeDisk(const std::string& folder) {
  if (const DiskProblem space = CheckDiskSpace(folder, kProbeBytes); space.code != 0) {
    return space;
  }
  const std::string name = folder + "/probe";
  const int file = ::open(name.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0) {
    return {.code = errno};
  }
  const int failure = ::posix_fallocate(file, 0, kProbeBytes);
  ::close(file);
  ::unlink(name.c_str());
  return {.code = failure};
}

}  // namespace sluice

#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <filesystem>
#include <string>

#include "tests/support/temp_dir.h"

// Disks without room, for fault tests.
namespace sluice::testing {

// A file system of its own, where the process may mount one; otherwise a folder.
class SmallDisk {
 public:
  explicit SmallDisk(size_t mebibytes) {
    const std::string size = "size=" + std::to_string(mebibytes) + "m";
    mounted_ = ::mount("sluice-test", dir_.path().c_str(), "tmpfs", 0, size.c_str()) == 0;
  }
  SmallDisk(const SmallDisk&) = delete;
  SmallDisk& operator=(const SmallDisk&) = delete;
  ~SmallDisk() {
    if (mounted_) {
      ::umount2(dir_.path().c_str(), MNT_DETACH);
    }
  }
  bool mounted() const { return mounted_; }
  [[nodiscard]] std::string operator/(const std::string& name) const { return dir_ / name; }

  // Leaves `free` bytes.
  void FillUpTo(size_t free) const {
    Free();
    const int file = ::open(ballast().c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    ASSERT_GE(file, 0);
    // Again where somebody else has just taken some of it.
    int failure = ENOSPC;
    for (int i = 0; i < 100 && failure == ENOSPC; ++i) {
      const auto space = std::filesystem::space(dir_.path());
      const uintmax_t size = space.available - std::min<uintmax_t>(space.available, free);
      failure = size == 0 ? 0 : ::posix_fallocate(file, 0, static_cast<off_t>(size));
    }
    ::close(file);
    ASSERT_EQ(failure, 0);
  }
  void Free() const { std::filesystem::remove(ballast()); }

  // Refuses writes, or takes them again. False where that cannot be had.
  [[nodiscard]] bool SetReadOnly(bool on) const {
    return mounted_ && ::mount("sluice-test", dir_.path().c_str(), "tmpfs",
                               MS_REMOUNT | (on ? MS_RDONLY : 0), nullptr) == 0;
  }

 private:
  std::string ballast() const { return dir_ / "ballast"; }
  TempDir dir_;
  bool mounted_ = false;
};

// No file may grow beyond `bytes` while this lives; writes get EFBIG.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    rlimit limit = before_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() { Lift(); }
  void Lift() const { ::setrlimit(RLIMIT_FSIZE, &before_); }

 private:
  rlimit before_{};
};

}  // namespace sluice::testing

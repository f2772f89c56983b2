#include "ops/program/ready_file.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::ops {
namespace {

namespace fs = std::filesystem;

// The process that a ready file names; 0 where there is no file or it names none.
long PidIn(const std::string& path) {
  constexpr std::string_view kMember = "\"pid\":";
  std::ifstream file(path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  const size_t at = text.find(kMember);
  return at == std::string::npos ? 0 : std::strtol(text.c_str() + at + kMember.size(), nullptr, 10);
}

// By the program, not the number alone: numbers are given again.
bool RunsThisProgram(long pid) {
  std::error_code error;
  const fs::path theirs = fs::read_symlink(fmt::format("/proc/{}/exe", pid), error);
  return !error && theirs == fs::read_symlink("/proc/self/exe", error);
}

}  // namespace

ReadyFile::ReadyFile(std::string path) : path_(std::move(path)) {}

ReadyFile::~ReadyFile() { RemoveOwn(); }

absl::Status ReadyFile::RemoveStale() const {
  if (path_.empty()) {
    return absl::OkStatus();
  }
  const long pid = PidIn(path_);
  if (pid > 0 && pid != ::getpid() && RunsThisProgram(pid)) {
    return absl::OkStatus();
  }
  std::error_code error;
  fs::remove(path_, error);
  if (error) {
    return Error(absl::StatusCode::kFailedPrecondition, "file_unwritable",
                 fmt::format("the ready file {} of an earlier start can't be removed: {}", path_,
                             error.message()));
  }
  return absl::OkStatus();
}

void ReadyFile::RemoveOwn() const {
  if (path_.empty() || PidIn(path_) != ::getpid()) {
    return;
  }
  std::error_code error;
  if (fs::remove(path_, error); error) {
    spdlog::warn("ready_file_not_removed path={} reason=\"{}\"", path_, error.message());
  }
}

}  // namespace sluice::ops

#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

// Small files that must not be half there.
namespace sluice {

// The file's bytes; kNotFound when there is none, kInvalidArgument when it is larger than
// `bytes_max`, no regular file, or cannot be read.
[[nodiscard]] absl::StatusOr<std::string> ReadSmallFile(const std::string& path, size_t bytes_max);

enum class IfExists { kKeep, kReplace };

// Writes `bytes` so that a reader sees all of it or nothing, also after a crash: beside, synced,
// then moved into place, the folder synced. With kKeep a file that is there already stays and the
// result is kAlreadyExists; any other failure is kUnavailable, code "file_unwritable", and leaves
// nothing beside. `mode` as in open(2), whatever the umask.
[[nodiscard]] absl::Status WriteFileAtomically(const std::string& path, std::string_view bytes,
                                               unsigned mode, IfExists if_exists);

}  // namespace sluice

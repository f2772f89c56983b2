#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/base/clock.h"

namespace sluice::ops {

// Makes the data folder (mode 0700) where it is missing, and checks that it can be written to.
[[nodiscard]] absl::Status MakeDataDir(const std::string& path);

// Writes beside `path` and renames, so that a reader never sees half of it.
[[nodiscard]] absl::Status WriteFileAtomically(const std::string& path, std::string_view text);

// The text of a file, without white space at its end; kFailedPrecondition where that is nothing.
[[nodiscard]] absl::StatusOr<std::string> ReadSecret(const std::string& path);

// `configured`, or else the name kept in the data folder, made at the first start.
[[nodiscard]] absl::StatusOr<std::string> NodeId(const std::string& data_dir,
                                                 const std::string& configured, const Clock& clock);

}  // namespace sluice::ops

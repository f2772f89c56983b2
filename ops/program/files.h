#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "schemas/base/clock.h"

namespace sluice::ops {

// Makes the data folder (mode 0700) where it is missing, and checks that it can be written to. In
// one that is there, what others may open is narrowed to its owner and a warning logged: the log,
// the stores and the other files that this program makes, and the folder itself where it holds
// nothing else. What can't be narrowed (another owner, a file system without modes) is warned of.
[[nodiscard]] absl::Status MakeDataDir(const std::string& path);

// Files and folders that are made from here on are their owner's alone (umask 077).
void KeepFilesPrivate();

// The text of a file, without white space at its end; kFailedPrecondition where that is nothing.
[[nodiscard]] absl::StatusOr<std::string> ReadSecret(const std::string& path);

// `configured`, or else the name kept in the data folder, made at the first start.
[[nodiscard]] absl::StatusOr<std::string> NodeId(const std::string& data_dir,
                                                 const std::string& configured, const Clock& clock);

}  // namespace sluice::ops

#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "projectors/store/rocks_snapshot.h"

namespace sluice::projectors {

// See StoreInspector::Verify. Reads the whole store twice.
[[nodiscard]] absl::Status VerifySnapshot(const RocksSnapshot& snapshot);

// See StoreInspector::Digest: a ContentDigest of the snapshot.
[[nodiscard]] absl::StatusOr<std::string> DigestSnapshot(const RocksSnapshot& snapshot,
                                                         int64_t dedup_window);

}  // namespace sluice::projectors

#pragma once

#include <cstddef>
#include <cstdint>

#include "absl/status/statusor.h"

namespace sluice::ops {

// How many of a process's descriptors the connections of each listener may take. Half of all stay
// with the stores, the log and what else opens files (projectors/store/rocks_env.cc takes no more
// than a quarter of a small limit): connections never stop the fold.
struct DescriptorShares {
  size_t admin = 0;
  size_t sync = 0;
};

// `limit`: the process's soft limit of descriptors; 0: unlimited. Where there is a sync listener it
// gets three quarters of what connections may take.
[[nodiscard]] DescriptorShares ShareDescriptors(size_t limit, bool has_sync);

// The soft limit of this process; 0: unlimited or unknown.
[[nodiscard]] size_t DescriptorLimit();

// How many descriptors (files and connections) this process may have open at a time.
struct DescriptorLimits {
  uint64_t before = 0;  // as the process was started
  uint64_t now = 0;
};

// Raises the soft limit to the hard one: the soft one is 1,024 on most systems, for programs that
// use select(2), and none of the libraries here does. Call it once, at start. kInternal where the
// system refuses; the limit is then as before.
[[nodiscard]] absl::StatusOr<DescriptorLimits> RaiseDescriptorLimit();

}  // namespace sluice::ops

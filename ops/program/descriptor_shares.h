#pragma once

#include <cstddef>

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

}  // namespace sluice::ops

#pragma once

#include <cstdint>

#include "absl/status/statusor.h"

namespace sluice::ops {

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

#include "ops/program/resource_limits.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <cerrno>
#include <cstring>

#include "schemas/base/status.h"

namespace sluice::ops {

absl::StatusOr<DescriptorLimits> RaiseDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return absl::InternalError(
        fmt::format("the limit of descriptors can't be read: {}", std::strerror(errno)));
  }
  const DescriptorLimits result{limit.rlim_cur, limit.rlim_max};
  limit.rlim_cur = limit.rlim_max;
  if (result.before != result.now && setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    return absl::InternalError(fmt::format("the limit of descriptors can't be raised to {}: {}",
                                           result.now, std::strerror(errno)));
  }
  return result;
}

}  // namespace sluice::ops

#include "ops/program/descriptors.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::ops {

DescriptorShares ShareDescriptors(size_t limit, bool has_sync) {
  if (limit == 0) {
    return {};
  }
  const size_t connections = std::max<size_t>(limit / 2, 8);
  const size_t admin = has_sync ? std::max<size_t>(connections / 4, 2) : connections;
  return {.admin = admin, .sync = connections - admin};
}

size_t DescriptorLimit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) {
    return 0;
  }
  return static_cast<size_t>(limit.rlim_cur);
}

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

#include "ops/program/descriptor_shares.h"

#include <sys/resource.h>

#include <algorithm>

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

}  // namespace sluice::ops

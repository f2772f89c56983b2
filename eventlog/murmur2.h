#pragma once

#include <cstdint>
#include <string_view>

#include "schemas/base/ids.h"

namespace sluice {

// The 32-bit MurmurHash2 with Kafka's seed, as org.apache.kafka.common.utils.Utils.murmur2 computes
// it.
[[nodiscard]] uint32_t Murmur2(std::string_view key);

// The partition that Kafka's default partitioner gives a keyed record: (murmur2 & 0x7fffffff) %
// count. `count` is at least 1.
[[nodiscard]] PartitionId PartitionForKey(std::string_view key, int32_t count);

}  // namespace sluice

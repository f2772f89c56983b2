#include "eventlog/murmur2.h"

#include <cstddef>

namespace sluice {
namespace {

uint32_t LoadLittleEndian(std::string_view s, size_t at) {
  const auto byte = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<uint8_t>(s[at + i]));
  };
  return byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24;
}

}  // namespace

// Source: Austin Appleby's public-domain MurmurHash2; seed and tail handling as Kafka fixes them.
uint32_t Murmur2(std::string_view key) {
  constexpr uint32_t kSeed = 0x9747b28c;
  constexpr uint32_t kMultiplier = 0x5bd1e995;
  uint32_t h = kSeed ^ static_cast<uint32_t>(key.size());
  size_t at = 0;
  for (; at + 4 <= key.size(); at += 4) {
    uint32_t k = LoadLittleEndian(key, at);
    k *= kMultiplier;
    k ^= k >> 24;
    k *= kMultiplier;
    h *= kMultiplier;
    h ^= k;
  }
  uint32_t tail = 0;
  for (size_t i = key.size(); i > at; --i) {
    tail = tail << 8 | static_cast<uint8_t>(key[i - 1]);
  }
  if (at < key.size()) {
    h ^= tail;
    h *= kMultiplier;
  }
  h ^= h >> 13;
  h *= kMultiplier;
  h ^= h >> 15;
  return h;
}

PartitionId PartitionForKey(std::string_view key, int32_t count) {
  return PartitionId(
      static_cast<int32_t>((Murmur2(key) & 0x7fffffffU) % static_cast<uint32_t>(count)));
}

}  // namespace sluice

#include "gateways/auth/token_cache.h"

#include <cstring>
#include <string>
#include <utility>

namespace sluice::gateways {
namespace {

// Below this a cache is one shard, so that its order of use is exact.
constexpr size_t kShardedFrom = 1024;
constexpr size_t kShards = 16;

size_t BytesOf(const std::string& text) { return sizeof(std::string) + text.capacity(); }

size_t BytesOf(const Principal& principal) {
  // Nodes of the list and the map, control block: about 200 bytes.
  size_t bytes = sizeof(Principal) + 200 + BytesOf(principal.subject) + BytesOf(principal.issuer) +
                 BytesOf(principal.org);
  for (const auto* list : {&principal.roles, &principal.teams}) {
    for (const std::string& text : *list) {
      bytes += BytesOf(text);
    }
  }
  return bytes + (principal.business_unit ? BytesOf(*principal.business_unit) : 0);
}

}  // namespace

size_t TokenCache::DigestHash::operator()(const TokenDigest& digest) const {
  size_t hash = 0;
  std::memcpy(&hash, digest.data(), sizeof(hash));
  return hash;
}

TokenCache::TokenCache(size_t entries_max, size_t bytes_max)
    : shards_(entries_max < kShardedFrom ? 1 : kShards),
      shard_entries_max_(entries_max / shards_.size()),
      shard_bytes_max_(bytes_max / shards_.size()) {}

void TokenCache::Shard::Erase(std::list<Entry>::iterator entry) {
  bytes -= entry->bytes;
  by_digest.erase(entry->digest);
  by_use.erase(entry);
}

std::shared_ptr<const Principal> TokenCache::Find(const TokenDigest& digest, uint64_t generation,
                                                  SystemTime now) {
  Shard& shard = ShardOf(digest);
  absl::MutexLock lock(&shard.mutex);
  const auto it = shard.by_digest.find(digest);
  if (it == shard.by_digest.end()) {
    return nullptr;
  }
  const auto entry = it->second;
  // By either the token may have ended meanwhile, by its key or by its time: it is checked anew.
  if (entry->generation != generation || now >= entry->until) {
    shard.Erase(entry);
    return nullptr;
  }
  shard.by_use.splice(shard.by_use.begin(), shard.by_use, entry);
  return entry->principal;
}

size_t TokenCache::Put(const TokenDigest& digest, uint64_t generation,
                       std::shared_ptr<const Principal> principal, SystemTime until) {
  const size_t bytes = BytesOf(*principal);
  if (shard_entries_max_ == 0 || bytes > shard_bytes_max_) {
    return 0;
  }
  Shard& shard = ShardOf(digest);
  absl::MutexLock lock(&shard.mutex);
  if (const auto it = shard.by_digest.find(digest); it != shard.by_digest.end()) {
    shard.Erase(it->second);
  }
  size_t evicted = 0;
  while (shard.by_use.size() + 1 > shard_entries_max_ || shard.bytes + bytes > shard_bytes_max_) {
    shard.Erase(std::prev(shard.by_use.end()));
    ++evicted;
  }
  shard.by_use.push_front({digest, generation, std::move(principal), until, bytes});
  shard.by_digest.emplace(digest, shard.by_use.begin());
  shard.bytes += bytes;
  return evicted;
}

TokenCache::Size TokenCache::size() const {
  Size size;
  for (const Shard& shard : shards_) {
    absl::MutexLock lock(&shard.mutex);
    size.entries += shard.by_use.size();
    size.bytes += shard.bytes;
  }
  return size;
}

}  // namespace sluice::gateways

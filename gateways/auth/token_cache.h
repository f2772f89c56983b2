#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gateways/auth/authenticator.h"
#include "schemas/base/sha256.h"

namespace sluice::gateways {

// SHA-256 of a token. The cache holds no token, so that a dump of memory gives none away.
using TokenDigest = Sha256Digest;

// The principals of verified tokens, least recently used first out, limited by count and by bytes.
// Split into shards so that threads rarely meet. Thread-safe.
class TokenCache {
 public:
  // Keeps at most `entries_max` principals of roughly `bytes_max` bytes together.
  TokenCache(size_t entries_max, size_t bytes_max);

  // The principal, when it was put under the same `generation` of keys and has not reached `now`;
  // nullptr otherwise, and the entry is dropped.
  std::shared_ptr<const Principal> Find(const TokenDigest& digest, uint64_t generation,
                                        SystemTime now);

  // Keeps `principal` until `until`. Returns how many others had to go. One that is larger than a
  // shard's share is not kept.
  size_t Put(const TokenDigest& digest, uint64_t generation,
             std::shared_ptr<const Principal> principal, SystemTime until);

  struct Size {
    size_t entries = 0;
    size_t bytes = 0;
  };
  Size size() const;

 private:
  struct Entry {
    TokenDigest digest;
    uint64_t generation;
    std::shared_ptr<const Principal> principal;
    SystemTime until;
    size_t bytes;
  };
  // A digest is uniformly distributed already.
  struct DigestHash {
    size_t operator()(const TokenDigest& digest) const;
  };
  struct Shard {
    mutable absl::Mutex mutex;
    std::list<Entry> by_use ABSL_GUARDED_BY(mutex);  // the most recent first
    std::unordered_map<TokenDigest, std::list<Entry>::iterator, DigestHash> by_digest
        ABSL_GUARDED_BY(mutex);
    size_t bytes ABSL_GUARDED_BY(mutex) = 0;

    void Erase(std::list<Entry>::iterator entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex);
  };

  Shard& ShardOf(const TokenDigest& digest) { return shards_[digest[31] % shards_.size()]; }

  std::vector<Shard> shards_;
  size_t shard_entries_max_;
  size_t shard_bytes_max_;
};

}  // namespace sluice::gateways

#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <optional>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/hash/hash.h"
#include "absl/synchronization/mutex.h"
#include "gateways/sync/bucket_piece.h"

namespace sluice::gateways {

struct PieceCacheOptions {
  size_t bytes_max = size_t{32} << 20;
  // Called on any thread, the second also under a lock. May be empty.
  std::function<void(bool hit)> on_find{};
  std::function<void(size_t bytes, size_t evicted)> on_change{};
};

// Encoded pieces, for all sessions that send the same: the least recently used ones make room. It
// holds bytes and knows no rights: who asks has decided that its caller may have the bucket, with
// these columns. A piece is kept once it was made twice: most are one session's alone, and would
// push out those that are shared. Sessions that want the same at once each make it, as many as
// there are threads that read stores, so that nobody waits for anybody. Thread-safe.
class PieceCache {
 public:
  explicit PieceCache(PieceCacheOptions options) : options_(std::move(options)) {}
  PieceCache(const PieceCache&) = delete;
  PieceCache& operator=(const PieceCache&) = delete;

  [[nodiscard]] std::optional<Piece> Find(const PieceKey& key);
  // `piece` was made by `key`. Its bytes are copied where they are kept; what takes more than an
  // eighth of the limit is not.
  void Keep(const PieceKey& key, const Piece& piece);

 private:
  struct Entry {
    Piece piece;
    size_t bytes = 0;
    std::list<const PieceKey*>::iterator use;
  };
  static constexpr size_t kMadeMax = size_t{1} << 14;

  const PieceCacheOptions options_;
  absl::Mutex mutex_;
  std::unordered_map<PieceKey, Entry, absl::Hash<PieceKey>> entries_ ABSL_GUARDED_BY(mutex_);
  std::list<const PieceKey*> uses_ ABSL_GUARDED_BY(mutex_);  // of entries_, the latest first
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  // Hashes of keys by which pieces were made, each in the place that it names.
  std::vector<size_t> made_ ABSL_GUARDED_BY(mutex_) = std::vector<size_t>(kMadeMax);
};

}  // namespace sluice::gateways

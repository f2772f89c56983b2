#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "gateways/sync/bucket_piece.h"
#include "gateways/sync/piece_cache.h"

namespace sluice::gateways {

// The pieces of one session: those that the cache has, and else read from the store, going on where
// the one before ended. Not thread-safe.
class PieceReader {
 public:
  // `cache` must outlive it.
  explicit PieceReader(PieceCache& cache) : cache_(cache) {}

  // The bytes of the piece stay as they are while anybody has it. `snapshot` is what `key` was
  // written by, and must outlive the calls up to NewSnapshot() or LetGo(); a piece ends, too, where
  // `passed_max` operations were read that are not sent. Errors as of reading the store.
  [[nodiscard]] absl::StatusOr<Piece> Read(const projectors::OrgSnapshot& snapshot,
                                           const PieceKey& key, size_t passed_max);
  // `iterator` stands on the first operation of `bucket` behind `at`.
  void GoOn(std::unique_ptr<projectors::DeltaIterator> iterator, BucketKey bucket, Position at) {
    iterator_ = std::move(iterator);
    bucket_ = bucket;
    at_ = at;
  }
  // What comes next is read from another one.
  void NewSnapshot() { iterator_.reset(); }
  // Keeps neither the snapshot nor a buffer: a session that waits holds no memory.
  void LetGo();

 private:
  absl::StatusOr<Piece> Make(const PieceKey& key, size_t passed_max);

  PieceCache& cache_;
  std::unique_ptr<projectors::DeltaIterator> iterator_;  // behind at_ of bucket_; nullptr: anew
  BucketKey bucket_;
  Position at_;
  std::shared_ptr<std::string> ops_;  // written to again where nobody else has it any more
};

}  // namespace sluice::gateways

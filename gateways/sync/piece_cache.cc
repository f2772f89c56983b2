#include "gateways/sync/piece_cache.h"

#include <memory>
#include <string>
#include <utility>

namespace sluice::gateways {
namespace {

constexpr size_t kEntryBytes = 512;  // about, beside the operations

}  // namespace

std::optional<Piece> PieceCache::Find(const PieceKey& key) {
  std::optional<Piece> found;
  {
    const absl::MutexLock lock(&mutex_);
    if (const auto it = entries_.find(key); it != entries_.end()) {
      uses_.splice(uses_.begin(), uses_, it->second.use);
      found = it->second.piece;
    }
  }
  if (options_.on_find) {
    options_.on_find(found.has_value());
  }
  return found;
}

void PieceCache::Keep(const PieceKey& key, const Piece& piece) {
  const size_t bytes = piece.ops->size() + key.denied.size() * sizeof(key.denied[0]) + kEntryBytes;
  if (bytes > options_.bytes_max / 8) {
    return;
  }
  {
    const size_t hash = absl::HashOf(key);
    const absl::MutexLock lock(&mutex_);
    if (std::exchange(made_[hash % kMadeMax], hash) != hash) {
      return;
    }
  }
  Piece kept = piece;  // without what its maker has reserved, and goes on writing to
  kept.ops = std::make_shared<const std::string>(*piece.ops);
  kept.passed = 0;
  const absl::MutexLock lock(&mutex_);
  const auto [it, added] = entries_.try_emplace(key);
  if (!added) {
    return;  // another session was faster
  }
  it->second = {std::move(kept), bytes, uses_.insert(uses_.begin(), &it->first)};
  size_t evicted = 0;
  for (bytes_ += bytes; bytes_ > options_.bytes_max; ++evicted) {
    const auto oldest = entries_.find(*uses_.back());
    uses_.pop_back();
    bytes_ -= oldest->second.bytes;
    entries_.erase(oldest);
  }
  if (options_.on_change) {
    options_.on_change(bytes_, evicted);
  }
}

}  // namespace sluice::gateways

#include "projectors/fold/bucket_changes.h"

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "projectors/model/sync_rules.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
void BucketChanges::Name(BucketKey bucket, std::string name) {
  std::string& known = changes_[bucket].name;
  if (known.empty()) {
    known = KeptName(bucket, std::move(name));  // a row may come into very many, all by one value
  }
}

void BucketChanges::Written(BucketKey bucket, Offset at, bool put, uint64_t row_checksum) {
  Change& change = changes_[bucket];
  change.changed = std::max(change.changed, at);
  if (put) {
    ++change.count;
    change.checksum += row_checksum;
  }
}

void BucketChanges::Erased(BucketKey bucket, bool put, uint64_t row_checksum) {
  Change& change = changes_[bucket];
  if (put) {
    --change.count;
    change.checksum -= row_checksum;
  }
}

absl::Status BucketChanges::Emit(FoldView& view, FoldBatch* batch) {
  std::vector<BucketKey> keys;
  keys.reserve(changes_.size());
  for (const auto& [key, change] : changes_) {
    if (change.changed != kNoOffset || change.count != 0 || change.checksum != 0) {
      keys.push_back(key);  // rows came into others, and went long before the batch's horizon
    }
  }
  std::sort(keys.begin(), keys.end());
  if (keys.empty()) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(std::vector<std::optional<BucketState>> stored, view.GetBuckets(keys));
  batch->buckets.reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    Change& change = changes_[keys[i]];
    BucketState state;
    if (stored[i].has_value()) {
      state = *std::move(stored[i]);
      state.name = KeptName(keys[i], std::move(state.name));  // an earlier program kept all of it
    } else {
      state.name = std::move(change.name);
    }
    if ((state.name.empty() && (change.count != 0 || change.changed != kNoOffset)) ||
        static_cast<int64_t>(state.count) + change.count < 0) {
      return Error(StatusCode::kInternal, "bucket_state_lost",
                   "bucket {} {}: {} rows are counted and {} leave it", keys[i].ToHex(), state.name,
                   state.count, -change.count);
    }
    const bool same = change.count == 0 && change.checksum == 0 && change.changed <= state.changed;
    state.count += static_cast<uint64_t>(change.count);
    state.checksum += change.checksum;
    state.changed = std::max(state.changed, change.changed);
    // A bucket without rows is remembered for as long as its removals are: whoever has rows of it
    // finds by its last change that there is something to be read.
    if (state.count == 0 && state.changed <= batch->applied.horizon) {
      if (stored[i].has_value()) {
        batch->buckets.emplace_back(keys[i], std::nullopt);
      }
    } else if (!same) {
      batch->buckets.emplace_back(keys[i], std::move(state));
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors

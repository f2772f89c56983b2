#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "projectors/store/place_codec.h"
#include "projectors/store/rocks_store.h"
#include "schemas/base/status.h"

// The part of RocksStore that forgets old removals. RocksDB's compaction filters cannot do it: they
// see one key at a time, and would leave a plain deletion where the fold single-deletes later.
namespace sluice::projectors {
namespace {

constexpr size_t kPutsMin = 1'000;  // between two sweeps, however small the store is
constexpr size_t kLookedAtMin = 1'000;
constexpr size_t kLookedAtPerPut = 4;
constexpr uint64_t kEventsPerTrim = 4'096;
// Of operations that are looked at in one call, which have their rows with them, and of records
// that are changed: it belongs to a commit, however small that is.
constexpr size_t kSweepBytes = size_t{4} << 20;
constexpr size_t kDeltaBytes = 64;  // beside key and row, at most

bool RemembersNothing(const Record& record) {
  return record.deleted && !record.version.has_value() && record.memberships.empty() &&
         record.support.empty() && record.memberships_apart == 0 && record.support_apart == 0;
}

}  // namespace

absl::StatusOr<size_t> RocksStore::Sweep(size_t puts) {
  puts_since_sweep_ += puts;
  if (applied_.partial.has_value() || applied_.horizon < Offset(0)) {
    return size_t{0};
  }
  RETURN_IF_ERROR(TrimHistory());
  if (sweep_from_.empty()) {
    uint64_t deltas = 0;
    (void)db_->db().GetIntProperty(db_->deltas(), "rocksdb.estimate-num-keys", &deltas);
    // A sweep reads every operation once, so it comes after half as many new ones.
    if (applied_.horizon <= swept_ || puts_since_sweep_ < std::max<size_t>(kPutsMin, deltas / 2)) {
      return size_t{0};
    }
    sweep_from_ = EncodeDeltaKey(BucketKey{}, Position{Offset(0), 0});
    swept_ = applied_.horizon;
    puts_since_sweep_ = 0;
  }
  std::vector<OldRemoval> old;
  const size_t max = std::max(kLookedAtMin, kLookedAtPerPut * puts);
  size_t looked_at = 0;
  size_t bytes = 0;  // rather more than they have
  std::string last;
  RETURN_IF_ERROR(ForEachDelta(
      [&](BucketKey bucket, const DeltaView& view) {
        if (!view.put && view.position.offset <= swept_) {
          old.push_back({{view.entity, std::string(view.key)}, bucket, view.position});
        }
        ++looked_at;
        bytes += kDeltaBytes + view.key.size() + view.row.size();
        last = EncodeDeltaKey(bucket, view.position);
        return absl::OkStatus();
      },
      sweep_from_, max, kSweepBytes));
  ASSIGN_OR_RETURN(const size_t erased, EraseRemovals(old));
  if (erased < old.size()) {
    sweep_from_ = EncodeDeltaKey(old[erased].bucket, old[erased].position);
  } else if (looked_at < max && bytes < kSweepBytes) {
    sweep_from_.clear();  // those were the last
  } else {
    sweep_from_ = last + '\0';
  }
  return erased;
}

// A range at once, but seldom: each leaves a range tombstone that reads have to pass.
absl::Status RocksStore::TrimHistory() {
  if (applied_.horizon <= trimmed_ || applied_.events < events_at_trim_ + kEventsPerTrim) {
    return absl::OkStatus();
  }
  rocksdb::WriteOptions options;
  options.disableWAL = true;  // whatever is lost is trimmed again
  dirty_ = true;
  RETURN_IF_ERROR(
      FromRocks(db_->db().DeleteRange(options, db_->defaults(), EncodeHistoryKey(Offset(0)),
                                      EncodeHistoryKey(Offset(applied_.horizon.value() + 1))),
                fmt::format("trimming the history of store {}", path())));
  trimmed_ = applied_.horizon;
  events_at_trim_ = applied_.events;
  return absl::OkStatus();
}

// Erases the operations, and from their records what says that they are there. Of the first of
// `removals`, as many as there is time for: returns their number, one at least.
absl::StatusOr<size_t> RocksStore::EraseRemovals(std::span<const OldRemoval> removals) {
  if (removals.empty()) {
    return size_t{0};
  }
  std::map<RecordKey, size_t> index;  // in `keys`
  std::vector<RecordKey> keys;        // as they come
  std::vector<size_t> key_of;
  key_of.reserve(removals.size());
  for (const OldRemoval& removal : removals) {
    const auto [at, added] = index.try_emplace(removal.key, keys.size());
    if (added) {
      keys.push_back(removal.key);
    }
    key_of.push_back(at->second);
  }
  ASSIGN_OR_RETURN(auto records, GetRecords(keys, kSweepBytes));
  const auto unread = [&](size_t key) { return key >= records.size(); };
  const auto count = static_cast<size_t>(std::ranges::find_if(key_of, unread) - key_of.begin());
  std::vector<Places> places(records.size());
  for (size_t i = 0; i < count; ++i) {
    places[key_of[i]].emplace_back(removals[i].bucket, removals[i].position);
  }
  rocksdb::WriteBatch batch;
  RETURN_IF_ERROR(EraseStates(removals.first(count), &batch));
  for (size_t i = 0; i < records.size(); ++i) {
    RETURN_IF_ERROR(EraseRemovalsOf(keys[i], std::move(records[i]), places[i], &batch));
  }
  rocksdb::WriteOptions options;
  options.disableWAL = true;  // whatever is lost is swept again
  dirty_ = true;
  RETURN_IF_ERROR(
      FromRocks(db_->db().Write(options, &batch), fmt::format("sweeping store {}", path())));
  return count;
}

// The last operation of a bucket without rows is a removal: with it goes the bucket's state. That
// comes no later than the first of its removals: one that is left is found again, a state would not
// be.
absl::Status RocksStore::EraseStates(std::span<const OldRemoval> removals,
                                     rocksdb::WriteBatch* batch) {
  std::set<BucketKey> touched;
  for (const OldRemoval& removal : removals) {
    touched.insert(removal.bucket);
  }
  const std::vector<BucketKey> buckets(touched.begin(), touched.end());
  ASSIGN_OR_RETURN(const auto states, GetBuckets(buckets));
  for (size_t i = 0; i < buckets.size(); ++i) {
    if (states[i].has_value() && states[i]->count == 0 && states[i]->changed <= swept_) {
      RETURN_IF_ERROR(FromRocks(batch->Delete(db_->defaults(), EncodeBucketKey(buckets[i])),
                                "erasing a bucket"));
    }
  }
  return absl::OkStatus();
}

absl::Status RocksStore::EraseRemovalsOf(const RecordKey& key, std::optional<Record> record,
                                         const Places& places, rocksdb::WriteBatch* batch) {
  const auto note = [](const rocksdb::Status& s) { return FromRocks(s, "erasing a removal"); };
  for (const auto& [bucket, position] : places) {
    RETURN_IF_ERROR(note(batch->SingleDelete(db_->deltas(), EncodeDeltaKey(bucket, position))));
  }
  if (!record.has_value()) {
    return absl::OkStatus();
  }
  std::erase_if(record->memberships, [&](const Membership& m) {
    return !m.member && std::ranges::find(places, std::pair(m.bucket, m.position)) != places.end();
  });
  for (const auto& [bucket, position] : places) {
    if (!record->apart) {
      break;
    }
    ASSIGN_OR_RETURN(const auto membership, GetMembership(key, bucket));
    if (membership.has_value() && !membership->member && membership->position == position) {
      RETURN_IF_ERROR(note(batch->Delete(db_->places(), EncodeMembershipKey(key, bucket))));
      record->memberships_apart -= 1;
    }
  }
  const std::string encoded = EncodeRecordKey(key.entity, key.key);
  return note(RemembersNothing(*record)
                  ? batch->Delete(db_->records(), encoded)
                  : batch->Put(db_->records(), encoded, EncodeRecord(*record)));
}

}  // namespace sluice::projectors

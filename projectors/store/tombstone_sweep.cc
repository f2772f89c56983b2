#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "projectors/store/place_codec.h"
#include "projectors/store/rocks_store.h"
#include "schemas/status.h"

// The part of RocksStore that forgets old removals. RocksDB's compaction filters cannot do it: they
// see one key at a time, and would leave a plain deletion where the fold single-deletes later.
namespace sluice::projectors {
namespace {

constexpr size_t kPutsMin = 1'000;  // between two sweeps, however small the store is
constexpr size_t kLookedAtMin = 1'000;
constexpr size_t kLookedAtPerPut = 4;
constexpr uint64_t kEventsPerTrim = 4'096;

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
  std::string next;
  RETURN_IF_ERROR(latest().ForEachDelta(
      [&](BucketKey bucket, const DeltaView& view) {
        if (!view.put && view.position.offset <= swept_) {
          old.push_back({{view.entity, std::string(view.key)}, bucket, view.position});
        }
        if (++looked_at == max) {
          next = EncodeDeltaKey(bucket, view.position);
          next.push_back('\0');
        }
        return absl::OkStatus();
      },
      sweep_from_, max));
  RETURN_IF_ERROR(EraseRemovals(old));
  sweep_from_ = std::move(next);
  return old.size();
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

// Erases the operations, and from their records what says that they are there.
absl::Status RocksStore::EraseRemovals(std::span<const OldRemoval> removals) {
  if (removals.empty()) {
    return absl::OkStatus();
  }
  std::map<RecordKey, std::vector<std::pair<BucketKey, Position>>> by_record;
  std::set<BucketKey> touched;
  rocksdb::WriteBatch batch;
  for (const OldRemoval& removal : removals) {
    by_record[removal.key].emplace_back(removal.bucket, removal.position);
    touched.insert(removal.bucket);
    RETURN_IF_ERROR(FromRocks(
        batch.SingleDelete(db_->deltas(), EncodeDeltaKey(removal.bucket, removal.position)),
        "erasing a removal"));
  }
  std::vector<RecordKey> keys;
  keys.reserve(by_record.size());
  for (const auto& [key, places] : by_record) {
    keys.push_back(key);
  }
  ASSIGN_OR_RETURN(auto records, GetRecords(keys, SIZE_MAX));
  for (size_t i = 0; i < keys.size(); ++i) {
    if (!records[i].has_value()) {
      continue;
    }
    const auto& places = by_record[keys[i]];
    std::erase_if(records[i]->memberships, [&](const Membership& m) {
      return !m.member &&
             std::ranges::find(places, std::pair(m.bucket, m.position)) != places.end();
    });
    for (const auto& [bucket, position] : places) {
      if (!records[i]->apart) {
        break;
      }
      ASSIGN_OR_RETURN(const auto membership, latest().GetMembership(keys[i], bucket));
      if (membership.has_value() && !membership->member && membership->position == position) {
        RETURN_IF_ERROR(FromRocks(batch.Delete(db_->places(), EncodeMembershipKey(keys[i], bucket)),
                                  "erasing a removal"));
        records[i]->memberships_apart -= 1;
      }
    }
    const std::string key = EncodeRecordKey(keys[i].entity, keys[i].key);
    RETURN_IF_ERROR(FromRocks(RemembersNothing(*records[i])
                                  ? batch.Delete(db_->records(), key)
                                  : batch.Put(db_->records(), key, EncodeRecord(*records[i])),
                              "erasing a removal"));
  }
  // The last operation of a bucket without rows is a removal: with it goes the bucket's state.
  const std::vector<BucketKey> buckets(touched.begin(), touched.end());
  ASSIGN_OR_RETURN(const auto states, GetBuckets(buckets));
  for (size_t i = 0; i < buckets.size(); ++i) {
    if (states[i].has_value() && states[i]->count == 0 && states[i]->changed <= swept_) {
      RETURN_IF_ERROR(FromRocks(batch.Delete(db_->defaults(), EncodeBucketKey(buckets[i])),
                                "erasing a bucket"));
    }
  }
  rocksdb::WriteOptions options;
  options.disableWAL = true;  // whatever is lost is swept again
  dirty_ = true;
  return FromRocks(db_->db().Write(options, &batch), fmt::format("sweeping store {}", path()));
}

}  // namespace sluice::projectors

#include "projectors/store/rocks_store.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <algorithm>
#include <utility>

#include "projectors/store/place_codec.h"
#include "projectors/store/rocks_slice.h"
#include "projectors/store/store_folder.h"
#include "schemas/base/byte_codec.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// What `entries` have by their keys, which come first in each. A memtable is a skip list: where the
// next key is close to the last one, its place is found from there, and in the cache.
template <typename Entry>
std::vector<const Entry*> ByKey(const std::vector<Entry>& entries) {
  std::vector<const Entry*> order = Collect(entries, [](const Entry& entry) { return &entry; });
  std::ranges::sort(order, {}, [](const Entry* entry) -> const auto& { return entry->first; });
  return order;
}

// WriteBatch reports a failure for a batch of more than 4 GiB only; the fold's batches are bounded,
// so one check of the whole is enough.
class BatchWriter {
 public:
  explicit BatchWriter(const OrgDb& db) : db_(db) {}

  void AddRecords(const FoldBatch& batch) {
    for (const auto* entry : ByKey(batch.records)) {
      const auto& [key, record] = *entry;
      const std::string encoded_key = EncodeRecordKey(key.entity, key.key);
      Note(record.has_value() ? batch_.Put(db_.records(), encoded_key, EncodeRecord(*record))
                              : batch_.Delete(db_.records(), encoded_key));
    }
  }
  void AddApart(const FoldBatch& batch) {
    for (const ApartMembership& m : batch.memberships) {
      const std::string key = EncodeMembershipKey(m.key, m.bucket);
      Note(m.membership.has_value() ? batch_.Put(db_.places(), key, EncodeMembership(*m.membership))
                                    : batch_.Delete(db_.places(), key));
    }
    for (const ApartSupport& s : batch.support) {
      const std::string key = EncodeSupportKey(s.key, s.support.rule, s.support.source);
      Note(s.support.count > 0 ? batch_.Put(db_.places(), key, EncodeSupport(s.support))
                               : batch_.Delete(db_.places(), key));
    }
  }
  void AddDeltas(const FoldBatch& batch) {
    for (const auto& [bucket, position] : batch.delta_erases) {
      Note(batch_.SingleDelete(db_.deltas(), EncodeDeltaKey(bucket, position)));
    }
    for (const auto* entry : ByKey(batch.delta_puts)) {
      const auto& [place, op] = *entry;
      Note(batch_.Put(db_.deltas(), EncodeDeltaKey(place.first, place.second),
                      EncodeDelta(op, place.second)));
    }
  }
  void AddChangeSets(const FoldBatch& batch) {
    for (const auto* entry : ByKey(batch.change_sets)) {
      const auto& [key, set] = *entry;
      Note(batch_.Put(db_.change_sets(), key, EncodeChangeSet(set)));
    }
  }
  void AddLinks(const FoldBatch& batch) {
    for (const auto& [entity, attribute] : batch.unlinked) {
      const std::string from = EncodeLinkPrefix(entity, attribute);
      Note(batch_.DeleteRange(db_.links(), from, PrefixEnd(from)));
    }
    for (const auto& [link, present] : batch.links) {
      PutOrDelete(EncodeLink(link), present);
    }
    for (const auto& [work, present] : batch.work) {
      PutOrDelete(EncodeWork(work.round, work.item), present);
    }
  }
  void AddState(const FoldBatch& batch) {
    for (const auto& [key, state] : batch.buckets) {
      Note(state.has_value()
               ? batch_.Put(db_.defaults(), EncodeBucketKey(key), EncodeBucket(*state))
               : batch_.Delete(db_.defaults(), EncodeBucketKey(key)));
    }
    for (const auto& [stream, state] : batch.sources) {
      Put(EncodeSourceKey(stream), EncodeSourceState(state));
    }
    if (!batch.history.empty()) {
      Put(EncodeHistoryKey(batch.history.back().first), EncodeHistory(batch.history));
    }
    if (batch.model.has_value()) {
      Put(kModelKey, *batch.model);
    }
    Put(kAppliedKey, EncodeApplied(batch.applied));
  }
  void Put(std::string_view key, const std::string& value) {
    Note(batch_.Put(db_.defaults(), ToSlice(key), value));
  }
  void Delete(std::string_view key) { Note(batch_.Delete(db_.defaults(), ToSlice(key))); }

  rocksdb::Status Write() {
    if (!status_.ok()) {
      return status_;
    }
    rocksdb::WriteOptions options;
    options.disableWAL = true;  // the event log is the write-ahead log
    return db_.db().Write(options, &batch_);
  }

 private:
  void PutOrDelete(const std::string& link, bool present) {
    Note(present ? batch_.Put(db_.links(), link, rocksdb::Slice())
                 : batch_.Delete(db_.links(), link));
  }
  void Note(rocksdb::Status status) {
    if (status_.ok() && !status.ok()) {
      status_ = std::move(status);
    }
  }
  const OrgDb& db_;
  rocksdb::WriteBatch batch_;
  rocksdb::Status status_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RocksStore>> RocksStore::Open(std::shared_ptr<RocksEnv> env,
                                                             std::string path,
                                                             const StoreIdentity& identity) {
  ASSIGN_OR_RETURN(auto db, OrgDb::Open(std::move(env), std::move(path)));
  std::unique_ptr<RocksStore> store(new RocksStore(std::move(db)));
  RETURN_IF_ERROR_CTX(store->Load(identity), "store {}", store->path());
  return store;
}

absl::Status RocksStore::Load(const StoreIdentity& identity) {
  ASSIGN_OR_RETURN(const auto stored_identity, GetDefault(kIdentityKey));
  ASSIGN_OR_RETURN(const auto stored_applied, GetDefault(kAppliedKey));
  if (stored_identity.has_value()) {
    ASSIGN_OR_RETURN(StoreIdentity found, DecodeIdentity(*stored_identity));
    if (found.log_id != identity.log_id) {
      return Error(StatusCode::kFailedPrecondition, "store_of_other_log",
                   "it was made from log {}, this is log {}", found.log_id, identity.log_id);
    }
    if (found.format < kStoreFormatOldest) {
      // Those that were there when a later format came have been built anew.
      return Error(StatusCode::kFailedPrecondition, "store_format_older",
                   "the store has format {}, this program reads {} and later ones: delete it, so "
                   "that it is built anew from the log",
                   found.format, kStoreFormatOldest);
    }
    if (found.format != kStoreFormat) {
      identity_to_write_ = EncodeIdentity(identity);  // with the first that an older one lacks
      found.format = kStoreFormat;
    }
    if (found != identity) {
      return Error(StatusCode::kDataLoss, "store_corrupt", "it belongs to {}, incarnation {}",
                   found.org, found.incarnation);
    }
  } else if (stored_applied.has_value()) {
    return Error(StatusCode::kDataLoss, "store_corrupt", "it has no identity");
  } else {
    identity_to_write_ = EncodeIdentity(identity);
  }
  model_ = OrgModel::Empty();
  if (stored_applied.has_value()) {
    ASSIGN_OR_RETURN(applied_, DecodeApplied(*stored_applied));
    ASSIGN_OR_RETURN(const auto stored_model, GetDefault(kModelKey));
    if (stored_model.has_value()) {
      ASSIGN_OR_RETURN(model_, OrgModel::Parse(*stored_model));
    }
  }
  ASSIGN_OR_RETURN(rejected_, Rejections());
  db_->set_applied(applied_.position.value());
  db_->set_events(applied_.events);
  db_->set_flushed_events(applied_.events);
  if (applied_.partial.has_value()) {
    opened_amid_ = applied_;
    return absl::OkStatus();
  }
  absl::MutexLock lock(&mutex_);
  published_ = std::make_shared<RocksSnapshot>(db_, applied_, model_);
  return absl::OkStatus();
}

absl::Status RocksStore::Commit(const FoldBatch& batch, std::shared_ptr<const OrgModel> model,
                                std::span<const Rejected> rejected, Offset acknowledged) {
  BatchWriter writer(*db_);
  writer.AddRecords(batch);
  writer.AddApart(batch);
  writer.AddDeltas(batch);
  writer.AddChangeSets(batch);
  writer.AddLinks(batch);
  writer.AddState(batch);
  if (!identity_to_write_.empty()) {
    writer.Put(kIdentityKey, identity_to_write_);
  }
  const auto kept = std::find_if(rejected_.begin(), rejected_.end(),
                                 [&](const Rejected& r) { return r.offset >= acknowledged; });
  // In the same write as the rows: once the store has passed an event, nothing else tells of its
  // rejection.
  for (auto it = rejected_.begin(); it != kept; ++it) {
    writer.Delete(EncodeRejectedKey(it->offset, it->op_index));
  }
  for (const Rejected& r : rejected) {
    writer.Put(EncodeRejectedKey(r.offset, r.op_index), EncodeRejected(r));
  }
  // Before the write: a flush that begins in between must leave the store dirty.
  dirty_ = true;
  RETURN_IF_ERROR(FromRocks(writer.Write(), fmt::format("writing store {}", path())));
  identity_to_write_.clear();
  rejected_.erase(rejected_.begin(), kept);
  rejected_.insert(rejected_.end(), rejected.begin(), rejected.end());
  db_->set_applied(batch.applied.position.value());
  db_->set_events(batch.applied.events);
  applied_ = batch.applied;
  model_ = std::move(model);
  if (applied_.partial.has_value()) {
    return absl::OkStatus();
  }
  // Rows, position and model of one commit are published together. Amid a large event nothing is:
  // readers would see a part of it.
  auto snapshot = std::make_shared<const RocksSnapshot>(db_, applied_, model_);
  absl::MutexLock lock(&mutex_);
  published_.swap(snapshot);  // the old one is released after the lock is
  return absl::OkStatus();
}

void RocksStore::RejectionsOf(std::span<const eventlog::StoredEvent> events, Offset from,
                              std::vector<Rejected>* out) const {
  auto next = rejected_.begin();
  for (const eventlog::StoredEvent& event : events) {
    next = std::find_if(next, rejected_.end(),
                        [&](const Rejected& r) { return r.offset >= event.offset; });
    for (; next != rejected_.end() && next->offset == event.offset; ++next) {
      if (event.offset >= from) {
        out->push_back(*next);
      }
    }
  }
}

std::vector<Rejected> RocksStore::RejectionsFrom(Offset from) const {
  const auto first = std::find_if(rejected_.begin(), rejected_.end(),
                                  [&](const Rejected& r) { return r.offset >= from; });
  return {first, rejected_.end()};
}

absl::Status RocksStore::Flush(bool wait) {
  RETURN_IF_ERROR_CTX(CheckSpace(path(), memtable_bytes()), "flushing store {}", path());
  rocksdb::FlushOptions options;
  options.wait = wait;
  options.allow_write_stall = false;
  // Before the flush as well: compactions drop change sets by how far the disk has come, and what
  // is committed while the flush runs may be lost by a crash.
  const uint64_t reached = db_->events();
  const bool was_dirty = wait && dirty_.exchange(false);
  const rocksdb::Status status = db_->db().Flush(options, db_->handles());
  if (!status.ok() && was_dirty) {
    dirty_ = true;
  }
  if (status.ok() && wait) {
    db_->set_flushed_events(reached);
  }
  return FromRocks(status, fmt::format("flushing store {}", path()));
}

absl::Status RocksStore::Resume() {
  const rocksdb::Status status = db_->db().Resume();
  if (!status.ok() && status.severity() >= rocksdb::Status::Severity::kFatalError) {
    return Error(StatusCode::kUnavailable, "store_fatal", "store {}: {}", path(),
                 status.ToString());
  }
  return FromRocks(status, fmt::format("resuming store {}", path()));
}

std::shared_ptr<const RocksSnapshot> RocksStore::published() const {
  absl::MutexLock lock(&mutex_);
  return published_;
}

bool RocksStore::idle() const {
  absl::MutexLock lock(&mutex_);
  // One use is the store's, one its published snapshot's.
  const long snapshots = published_ == nullptr ? 0 : 1;
  return published_.use_count() == snapshots && db_.use_count() == 1 + snapshots;
}

size_t RocksStore::memtable_bytes() const {
  uint64_t bytes = 0;
  (void)db_->db().GetAggregatedIntProperty("rocksdb.cur-size-all-mem-tables", &bytes);
  return bytes;
}

uint64_t RocksStore::disk_bytes() const {
  uint64_t bytes = 0;
  (void)db_->db().GetAggregatedIntProperty("rocksdb.total-sst-files-size", &bytes);
  return bytes;
}

}  // namespace sluice::projectors

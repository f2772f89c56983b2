#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "projectors/fold/fold_view.h"
#include "projectors/store/org_db.h"
#include "projectors/store/org_snapshot.h"
#include "projectors/store/record_codec.h"

namespace rocksdb {
class Snapshot;
struct ReadOptions;
}  // namespace rocksdb

namespace sluice::projectors {

// Reads of a store, at a snapshot or (nullptr) at its newest state. Errors are FromRocks' and the
// codec's. Thread-safe.
class RocksReader : public FoldView {
 public:
  RocksReader(const OrgDb& db, const rocksdb::Snapshot* snapshot) : db_(db), snapshot_(snapshot) {}

  absl::StatusOr<std::optional<std::string>> GetDefault(std::string_view key) const;
  absl::StatusOr<std::vector<std::optional<Record>>> GetRecords(std::span<const RecordKey> keys,
                                                                size_t bytes_max) override;
  // As OrgSnapshot has it.
  absl::StatusOr<std::optional<Record>> GetRecordIn(const RecordKey& key,
                                                    std::span<const BucketKey> buckets);
  absl::StatusOr<std::optional<Membership>> GetMembership(const RecordKey& key,
                                                          BucketKey bucket) override;
  // Those of `buckets` that there are.
  absl::StatusOr<std::vector<Membership>> GetMemberships(const RecordKey& key,
                                                         std::span<const BucketKey> buckets) const;
  absl::StatusOr<uint64_t> GetSupport(const RecordKey& key, uint32_t rule,
                                      BucketKey source) override;
  absl::Status Complete(const RecordKey& key, Record* record) override;
  absl::StatusOr<std::vector<std::optional<AppliedSet>>> GetChangeSets(
      std::span<const std::string> keys) override;
  absl::StatusOr<std::vector<v1::SourceState>> GetSourceStates(
      std::span<const SourceStream> streams) override;
  absl::StatusOr<std::vector<std::optional<BucketState>>> GetBuckets(
      std::span<const BucketKey> keys) override;
  // In key order, with all that is apart.
  absl::Status ForEachRecord(
      absl::FunctionRef<absl::Status(const RecordKey&, const Record&)> visit);
  // In key order: by bucket, then position; from the encoded key `from` on, `max` at most, and none
  // after those that have `bytes_max` bytes together.
  absl::Status ForEachDelta(absl::FunctionRef<absl::Status(BucketKey, const DeltaView&)> visit,
                            const std::string& from = "", size_t max = SIZE_MAX,
                            size_t bytes_max = SIZE_MAX) const;
  absl::Status ForEachBucket(
      absl::FunctionRef<absl::Status(BucketKey, const BucketState&)> visit) const;
  absl::Status ForEachChangeSet(
      absl::FunctionRef<absl::Status(std::string_view key, const AppliedSet&)> visit) const;
  absl::Status ForEachSource(
      absl::FunctionRef<absl::Status(const SourceStream&, const v1::SourceState&)> visit) const;
  // The record of each row of `places`.
  absl::Status ForEachPlace(absl::FunctionRef<absl::Status(const RecordKey&)> visit) const;
  absl::Status ForEachLink(absl::FunctionRef<absl::Status(const Link&)> visit) const;
  absl::StatusOr<std::vector<std::pair<RecordKey, Record>>> ScanRecords(EntityId entity,
                                                                        std::string_view after,
                                                                        size_t max,
                                                                        size_t bytes_max) override;
  absl::StatusOr<std::vector<std::string>> ScanLinks(EntityId entity, AttributeId attribute,
                                                     std::string_view value, std::string_view after,
                                                     size_t max) override;
  absl::StatusOr<std::vector<std::string>> ScanWork(uint32_t round, std::string_view from,
                                                    size_t max) override;
  absl::StatusOr<std::vector<Rejected>> Rejections() const;
  // The history after the event at exactly `offset`, where the store has it.
  absl::StatusOr<std::optional<uint64_t>> GetHistory(Offset offset) const;

 private:
  enum class Family { kDefault, kRecords, kDeltas, kChangeSets, kLinks, kPlaces };
  rocksdb::ReadOptions Options() const;
  std::string What(std::string_view family) const;
  // Every entry at or after `from` and before `until` ("": no end), `max` at most, and none after
  // those whose values have `bytes_max` bytes together.
  absl::Status ForEach(
      Family family, const std::string& from, const std::string& until,
      absl::FunctionRef<absl::Status(std::string_view key, std::string_view value)> visit,
      size_t max = SIZE_MAX, size_t bytes_max = SIZE_MAX) const;
  // Adds each of those of `places` that begin with `prefix`, after a look at its key.
  template <typename T, typename Decode, typename KeyOf>
  absl::Status ReadApart(const RecordKey& key, const std::string& prefix, Decode decode,
                         KeyOf key_of, std::vector<T>* out) const;
  // What follows `prefix` in the keys of `links` that begin with it, from `from` on.
  absl::StatusOr<std::vector<std::string>> ScanSuffixes(const std::string& prefix,
                                                        const std::string& from, size_t max) const;

  const OrgDb& db_;
  const rocksdb::Snapshot* snapshot_;
};

// See OrgSnapshot. Keeps its database open.
class RocksSnapshot final : public OrgSnapshot {
 public:
  RocksSnapshot(std::shared_ptr<OrgDb> db, AppliedState applied,
                std::shared_ptr<const OrgModel> model);
  ~RocksSnapshot() override;

  const AppliedState& applied() const override { return applied_; }
  const std::shared_ptr<const OrgModel>& model() const override { return model_; }
  std::unique_ptr<DeltaIterator> Scan(BucketKey bucket, Position after) const override;
  absl::StatusOr<BucketState> Bucket(BucketKey bucket) const override;
  absl::StatusOr<std::optional<Record>> GetRecordIn(
      const RecordKey& key, std::span<const BucketKey> buckets) const override;
  absl::StatusOr<std::optional<uint64_t>> HistoryAt(Offset offset) const override;
  absl::Status Note(absl::Status status) const override { return db_->Note(std::move(status)); }

  RocksReader reader() const { return {*db_, snapshot_}; }

 private:
  const std::shared_ptr<OrgDb> db_;
  const rocksdb::Snapshot* const snapshot_;
  const AppliedState applied_;
  const std::shared_ptr<const OrgModel> model_;
};

// See StoreInspector::Verify. Reads the whole store twice.
[[nodiscard]] absl::Status VerifySnapshot(const RocksSnapshot& snapshot);

// See StoreInspector::Digest: a ContentDigest of the snapshot.
[[nodiscard]] absl::StatusOr<std::string> DigestSnapshot(const RocksSnapshot& snapshot,
                                                         int64_t dedup_window);

}  // namespace sluice::projectors

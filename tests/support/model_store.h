#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "projectors/fold/fold.h"

namespace sluice::testing {

// What a staging store holds, in plain maps: what tests compare.
struct StoreContent {
  std::map<projectors::RecordKey, projectors::Record> records;
  std::map<std::pair<BucketKey, Position>, projectors::DeltaOp> deltas;
  std::map<BucketKey, projectors::BucketState> buckets;
  std::map<std::string, projectors::AppliedSet> change_sets;
  std::map<projectors::SourceStream, std::string> sources;  // their states, serialised
  std::map<Offset, uint64_t> history;
  std::set<projectors::Link> links;
  std::set<projectors::WorkItem> work;
  std::string model;  // serialised
  projectors::AppliedState applied;
  friend bool operator==(const StoreContent&, const StoreContent&) = default;
};

// The first differences of two contents, for a failing test's message; empty where they are equal.
[[nodiscard]] std::string Differences(const StoreContent& a, const StoreContent& b);

// An in-memory store that the fold runs on. Refuses batches that break a store's rules: an erase of
// a delta that is not there, a second put at one place, a membership without its delta.
class ModelStore final : public projectors::FoldView {
 public:
  ModelStore();

  // Folds and applies. May be called with events that were applied before. A large event takes
  // several calls with the same events: see FoldResult::partial.
  [[nodiscard]] absl::StatusOr<projectors::FoldResult> Apply(
      const projectors::FoldOptions& options, std::span<const eventlog::StoredEvent> events);

  const StoreContent& content() const { return content_; }
  StoreContent& content() { return content_; }
  const std::shared_ptr<const projectors::OrgModel>& model() const { return model_; }
  // How many records have memberships and support apart.
  size_t apart() const { return apart_.size(); }
  // How often the fold has read all that a record has apart.
  size_t whole_reads() const { return whole_reads_; }
  // How often the fold has asked, to check that it asks for a span at once.
  size_t reads() const { return reads_; }
  // How many bytes of rows it was given.
  size_t read_bytes() const { return read_bytes_; }
  // Called where the fold has decided all that a batch does, and still holds what it has looked at.
  void OnDecided(std::function<void()> hook) { on_decided_ = std::move(hook); }

  absl::StatusOr<std::vector<std::optional<projectors::Record>>> GetRecords(
      std::span<const projectors::RecordKey> keys, size_t bytes_max) override;
  absl::StatusOr<std::optional<projectors::Membership>> GetMembership(
      const projectors::RecordKey& key, BucketKey bucket) override;
  absl::StatusOr<uint64_t> GetSupport(const projectors::RecordKey& key, uint32_t rule,
                                      BucketKey source) override;
  absl::Status Complete(const projectors::RecordKey& key, projectors::Record* record) override;
  absl::StatusOr<std::vector<std::optional<projectors::AppliedSet>>> GetChangeSets(
      std::span<const std::string> keys) override;
  absl::StatusOr<std::vector<v1::SourceState>> GetSourceStates(
      std::span<const projectors::SourceStream> streams) override;
  absl::StatusOr<std::vector<std::optional<projectors::BucketState>>> GetBuckets(
      std::span<const BucketKey> keys) override;
  absl::StatusOr<std::vector<std::pair<projectors::RecordKey, projectors::Record>>> ScanRecords(
      projectors::EntityId entity, std::string_view after, size_t max, size_t bytes_max) override;
  absl::StatusOr<std::vector<std::string>> ScanLinks(projectors::EntityId entity,
                                                     projectors::AttributeId attribute,
                                                     std::string_view value, std::string_view after,
                                                     size_t max) override;
  absl::StatusOr<std::vector<std::string>> ScanWork(uint32_t round, std::string_view from,
                                                    size_t max) override;

 private:
  void Forget();
  absl::Status CommitRecords(const projectors::FoldBatch& batch);
  absl::Status Commit(const projectors::FoldBatch& batch);
  absl::Status CheckMemberships(const projectors::FoldBatch& batch) const;

  StoreContent content_;                   // its records are whole
  std::set<projectors::RecordKey> apart_;  // those that the fold keeps apart
  std::shared_ptr<const projectors::OrgModel> model_;
  size_t reads_ = 0;
  size_t read_bytes_ = 0;
  size_t whole_reads_ = 0;
  std::function<void()> on_decided_ = [] {};
};

}  // namespace sluice::testing

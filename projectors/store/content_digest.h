#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "projectors/fold/record.h"
#include "projectors/model/source_chain.h"

namespace sluice::projectors {

// XXH128 over what a store holds, however it is laid out: equal for equal folds. The caller adds
// everything in this order: Applied, Model, records by key, deltas by bucket and position, buckets
// by key, change sets by key, sources by key. What the fold can no longer ask for is left out by
// the Add methods: removals and stays that ended at or below the horizon, when a bucket changed
// where the horizon has passed that, such buckets without rows, change sets outside the window.
class ContentDigest {
 public:
  explicit ContentDigest(int64_t dedup_window);
  ~ContentDigest();

  void Applied(const AppliedState& applied);
  void Model(std::string_view serialized);
  void AddRecord(const RecordKey& key, const Record& record);
  void AddDelta(BucketKey bucket, Position position, const DeltaOp& op);
  void AddBucket(BucketKey bucket, const BucketState& state);
  void AddChangeSet(std::string_view key, const AppliedSet& set);
  void AddSource(const SourceStream& stream, const v1::SourceState& state);

  // 32 hex digits.
  [[nodiscard]] std::string Hex() const;

 private:
  struct State;
  void Add(char kind, std::string_view key, std::string_view value);

  const int64_t dedup_window_;
  AppliedState applied_;
  std::unique_ptr<State> state_;
};

}  // namespace sluice::projectors

#include "projectors/store/change_collector.h"

#include <utility>

#include "schemas/base/collect.h"

namespace sluice::projectors {

void ChangeCollector::Add(const AppliedState& before, const FoldBatch& batch) {
  // Amid an event whose first parts were written by an earlier process, or were forgotten.
  any_ = any_ || (before.partial.has_value() && !partial_);
  partial_ = batch.applied.partial.has_value();
  definitions_ = definitions_ || batch.model.has_value();
  if (any_) {
    return;
  }
  for (const auto& [key, state] : batch.buckets) {
    keys_.push_back(key);
  }
  if (keys_.size() > kChangedBucketsMax) {
    // The parts of an event mostly change the same buckets.
    SortUnique(&keys_);
    any_ = keys_.size() > kChangedBucketsMax;
  }
}

void ChangeCollector::Forget() {
  any_ = true;
  partial_ = false;
}

AppliedChange ChangeCollector::Take(Offset applied) {
  AppliedChange change{.applied = applied, .definitions = definitions_};
  if (!any_) {
    SortUnique(&keys_);
    change.buckets = std::make_shared<const std::vector<BucketKey>>(std::exchange(keys_, {}));
  }
  keys_ = {};
  any_ = definitions_ = false;
  return change;
}

}  // namespace sluice::projectors

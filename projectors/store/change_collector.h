#pragma once

#include <memory>
#include <vector>

#include "projectors/fold/fold_view.h"
#include "projectors/store/applied_change.h"

namespace sluice::projectors {

// What the batches of one store have changed since readers last saw it: the parts of a large event
// add up until it is whole. Used by the partition's thread only.
class ChangeCollector {
 public:
  // A batch that was written onto `before`.
  void Add(const AppliedState& before, const FoldBatch& batch);
  // What was written is not known: the store has been opened anew, or has gone back.
  void Forget();
  // Everything since the last call, as of `applied`, which readers now see.
  [[nodiscard]] AppliedChange Take(Offset applied);

 private:
  std::vector<BucketKey> keys_;
  bool any_ = false;
  bool definitions_ = false;
  bool partial_ = false;  // the last batch ended amid an event
};

}  // namespace sluice::projectors

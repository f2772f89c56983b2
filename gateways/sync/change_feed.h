#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "projectors/store/applied_change.h"

namespace sluice::gateways {

// The last changes of one organisation, from the projector's thread to an I/O thread and to whoever
// looks at a snapshot. Bounded: of what it has forgotten it says that any bucket may have changed.
// Thread-safe.
class ChangeFeed {
 public:
  // True where Take() is to be called: nothing was there to be taken before.
  [[nodiscard]] bool Add(const projectors::AppliedChange& change);

  struct News {
    Offset applied = kNoOffset;
    bool any = false;  // every bucket may have changed, or who has which
    std::vector<std::shared_ptr<const std::vector<BucketKey>>> buckets;
  };
  // What was added since the last call.
  [[nodiscard]] News Take();

  // The buckets that changed after `after` and until `until`, the position of a snapshot that is
  // there already; others too. nullopt: any may have, or the change to `until` has not come yet.
  [[nodiscard]] std::optional<std::vector<BucketKey>> Between(Offset after, Offset until) const;

 private:
  static constexpr size_t kChangesMax = 64;

  mutable absl::Mutex mutex_;
  std::deque<projectors::AppliedChange> changes_ ABSL_GUARDED_BY(mutex_);  // ascending, all named
  size_t keys_ ABSL_GUARDED_BY(mutex_) = 0;                                // in them
  Offset applied_ ABSL_GUARDED_BY(mutex_) = kNoOffset;
  Offset forgotten_ ABSL_GUARDED_BY(mutex_) = kNoOffset;  // nothing is known at or before it
  size_t untaken_ ABSL_GUARDED_BY(mutex_) = 0;            // the last so many of `changes_`
  bool untaken_any_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice::gateways

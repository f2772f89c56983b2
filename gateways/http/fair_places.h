#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gateways/http/owner.h"

namespace sluice::gateways {

// So many places (sessions, connections), and who has them: owners, and within one its callers.
// However many one asks for, and however many do, some are left for those that have few. An owner
// has at most four times as many as are then free: four fifths of all where it is alone. One of its
// callers has at most as many as are then left of what its owner may have: half where it is alone.
// Who has none may have one where there is any. Thread-safe.
class FairPlaces {
 public:
  explicit FairPlaces(size_t places_max) : places_max_(places_max) {}

  // So many, or none: false where `owner` does not get them.
  [[nodiscard]] bool TryTake(const Owner& owner, size_t places = 1);
  // Of those that it took.
  void GiveBack(const Owner& owner, size_t places = 1);
  [[nodiscard]] size_t taken() const;

 private:
  struct Taken {
    size_t places = 0;
    std::unordered_map<std::string, size_t> callers;  // none at 0
  };

  bool TryTakeOne(const Owner& owner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void GiveBackOne(const Owner& owner) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t places_max_;
  mutable absl::Mutex mutex_;
  size_t taken_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unordered_map<std::string, Taken> owners_ ABSL_GUARDED_BY(mutex_);  // none at 0
};

// May a caller that has `has` get one more of the `left` that its owner may still have?
[[nodiscard]] inline bool LeavesPlaces(size_t has, size_t left) {
  return has == 0 ? left > 0 : has + 1 < left;
}

}  // namespace sluice::gateways

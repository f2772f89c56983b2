#include "gateways/http/fair_places.h"

#include <algorithm>

namespace sluice::gateways {
namespace {

constexpr size_t kOwnerTimesFree = 4;

// How many more an owner may have, were nobody else to take one meanwhile.
size_t LeftOf(size_t has, size_t free) {
  const size_t most = kOwnerTimesFree * free;
  const size_t left = most > has ? (most - has) / (kOwnerTimesFree + 1) : 0;
  return has == 0 ? std::max(left, std::min<size_t>(free, 1)) : left;
}

}  // namespace

// By what is free, not by what there is: an owner that is alone may have most, and the fuller it
// gets the less a large one may add, so that the next ones always find some. The same of callers
// within an owner: a second one that takes all it can get leaves some to a third.
bool FairPlaces::TryTakeOne(const Owner& owner) {
  const auto found = owners_.find(owner.name);
  const bool known = found != owners_.end();
  const size_t left = LeftOf(known ? found->second.places : 0, places_max_ - taken_);
  size_t own = 0;
  if (known && !owner.caller.empty()) {
    const auto caller = found->second.callers.find(owner.caller);
    own = caller == found->second.callers.end() ? 0 : caller->second;
  }
  if (!LeavesPlaces(own, left)) {
    return false;
  }
  ++taken_;
  Taken& taken = owners_[owner.name];
  ++taken.places;
  if (!owner.caller.empty()) {
    ++taken.callers[owner.caller];
  }
  return true;
}

void FairPlaces::GiveBackOne(const Owner& owner) {
  --taken_;
  const auto found = owners_.find(owner.name);
  if (!owner.caller.empty()) {
    const auto caller = found->second.callers.find(owner.caller);
    if (--caller->second == 0) {
      found->second.callers.erase(caller);
    }
  }
  if (--found->second.places == 0) {
    owners_.erase(found);
  }
}

bool FairPlaces::TryTake(const Owner& owner, size_t places) {
  absl::MutexLock lock(&mutex_);
  for (size_t i = 0; i < places; ++i) {
    if (!TryTakeOne(owner)) {
      for (; i > 0; --i) {
        GiveBackOne(owner);
      }
      return false;
    }
  }
  return true;
}

void FairPlaces::GiveBack(const Owner& owner, size_t places) {
  absl::MutexLock lock(&mutex_);
  for (; places > 0; --places) {
    GiveBackOne(owner);
  }
}

size_t FairPlaces::taken() const {
  absl::MutexLock lock(&mutex_);
  return taken_;
}

}  // namespace sluice::gateways

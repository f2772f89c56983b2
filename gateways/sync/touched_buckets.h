#pragma once

#include "gateways/sync/change_hub.h"
#include "gateways/sync/stream_state.h"

namespace sluice::gateways {

// What a live session has to look at: from the news that it takes to the next successful look. Used
// on the I/O thread, but for what says otherwise.
class TouchedBuckets {
 public:
  // `watch` must outlive it.
  explicit TouchedBuckets(ChangeHub::Watch& watch) : watch_(watch) {}

  // Before a snapshot is taken.
  void TakeNews() {
    ChangeHub::Watch::News news = watch_.Take();
    touched_.any = touched_.any || news.any;
    touched_.keys.insert(touched_.keys.end(), news.keys.begin(), news.keys.end());
    touched_.quiet = std::max(touched_.quiet, news.until);
    if (touched_.any) {
      touched_.keys.clear();
    }
  }
  // What to look at in a snapshot at `applied`, which may be newer than what the news tell of: a
  // checkpoint says that everything up to its position was sent. From any thread, while no other
  // function is called.
  [[nodiscard]] Touched At(Offset applied) const {
    Touched touched = touched_;
    if (!touched.any) {
      const auto since = watch_.Between(touched.quiet, applied);
      touched.any = !since.has_value();
      if (since.has_value()) {
        touched.keys.insert(touched.keys.end(), since->begin(), since->end());
      }
    }
    return touched;
  }
  // After StreamState::Begin() with that.
  void Looked(const StreamState& state) {
    touched_ = {.any = false, .keys = {}, .quiet = touched_.quiet};
    if (!watch_.listening()) {
      watch_.Listen(state.Keys());
    }
  }
  // Nothing of the session's has changed up to watch.applied().
  bool none() const { return !watch_.changed() && !touched_.any && touched_.keys.empty(); }

 private:
  ChangeHub::Watch& watch_;
  Touched touched_;
};

}  // namespace sluice::gateways

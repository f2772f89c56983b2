#include "eventlog/kafka/append_progress.h"

namespace sluice::eventlog {

using std::chrono::milliseconds;

bool PartitionAppends::Take() {
  const absl::MutexLock lock(&mutex_);
  if (in_flight_ > 0 && state_ != State::kWell) {
    return false;
  }
  // One batch alone: were there a second one behind it and the first failed, the second could be
  // durable without it.
  if (state_ == State::kFailing) {
    state_ = State::kOneAlone;
  }
  if (in_flight_++ == 0) {
    silent_for_ = milliseconds(0);
  }
  return true;
}

void PartitionAppends::TakeRefused() {
  const absl::MutexLock lock(&mutex_);
  state_ = State::kFailing;
  ++in_flight_;
}

void PartitionAppends::Confirmed() {
  const absl::MutexLock lock(&mutex_);
  silent_for_ = milliseconds(0);
  // Where something has failed before, what is confirmed now may be older than that.
  if (state_ == State::kOneAlone) {
    state_ = State::kWell;
  }
}

void PartitionAppends::Failed() {
  const absl::MutexLock lock(&mutex_);
  state_ = State::kFailing;
}

void PartitionAppends::Answered() {
  const absl::MutexLock lock(&mutex_);
  --in_flight_;
}

void PartitionAppends::Pass(milliseconds passed) {
  const absl::MutexLock lock(&mutex_);
  silent_for_ = in_flight_ == 0 ? milliseconds(0) : silent_for_ + passed;
}

milliseconds PartitionAppends::silent_for() const {
  const absl::MutexLock lock(&mutex_);
  return silent_for_;
}

bool PartitionAppends::in_flight() const {
  const absl::MutexLock lock(&mutex_);
  return in_flight_ > 0;
}

bool PartitionAppends::failing() const {
  const absl::MutexLock lock(&mutex_);
  return state_ == State::kFailing;
}

PartitionAppends& AppendProgress::Of(Topic topic, PartitionId partition) {
  const absl::MutexLock lock(&mutex_);
  std::unique_ptr<PartitionAppends>& found = partitions_[{topic, partition}];
  if (found == nullptr) {
    found = std::make_unique<PartitionAppends>();
  }
  return *found;
}

bool AppendProgress::Pass(milliseconds passed) {
  const absl::MutexLock lock(&mutex_);
  bool silent = false;
  for (const auto& [place, appends] : partitions_) {
    appends->Pass(passed);
    silent = silent || appends->silent_for() >= silence_max_;
  }
  return silent;
}

bool AppendProgress::OthersInFlight() const {
  const absl::MutexLock lock(&mutex_);
  for (const auto& [place, appends] : partitions_) {
    if (appends->in_flight() && appends->silent_for() < silence_max_) {
      return true;
    }
  }
  return false;
}

}  // namespace sluice::eventlog

#include "eventlog/cancellation.h"

namespace sluice::eventlog {

bool Cancellation::Cancel() {
  const absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  for (Reader* const reader : readers_) {
    reader->Cancel();
  }
  return !readers_.empty();
}

Cancellation::Reading::Reading(Cancellation* cancellation, Reader& reader)
    : cancellation_(cancellation), reader_(reader) {
  if (cancellation_ == nullptr) {
    return;
  }
  const absl::MutexLock lock(&cancellation_->mutex_);
  cancellation_->readers_.insert(&reader_);
  if (cancellation_->cancelled_) {
    reader_.Cancel();
  }
}

Cancellation::Reading::~Reading() {
  if (cancellation_ != nullptr) {
    const absl::MutexLock lock(&cancellation_->mutex_);
    cancellation_->readers_.erase(&reader_);
  }
}

}  // namespace sluice::eventlog

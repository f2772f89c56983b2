#include "eventlog/append_admission.h"

#include "schemas/base/status.h"

namespace sluice::eventlog {

using absl::StatusCode;

absl::StatusOr<size_t> AppendAdmission::Admit(const std::vector<Event>& batch) {
  const size_t events = batch.size();
  size_t bytes = 0;
  for (const Event& event : batch) {
    const size_t size = event.ByteSize();
    if (size > limits_.event_bytes_max) {
      return Invalid("too_large", "event {} has {} bytes, the limit is {}: split it", event.id,
                     size, limits_.event_bytes_max);
    }
    bytes += size;
  }
  if (events > limits_.queue_events_max || bytes > limits_.queue_bytes_max) {
    return Invalid("too_large",
                   "a batch of {} events and {} bytes is over the append queue's limits of {} "
                   "events and {} bytes: split it",
                   events, bytes, limits_.queue_events_max, limits_.queue_bytes_max);
  }
  const absl::MutexLock lock(&mutex_);
  if (events_held_ + events > limits_.queue_events_max ||
      bytes_held_ + bytes > limits_.queue_bytes_max) {
    return Error(StatusCode::kResourceExhausted, "append_queue_full",
                 "the log's append queue is full: {} events and {} bytes wait to become durable; "
                 "try again later",
                 events_held_, bytes_held_);
  }
  events_held_ += events;
  bytes_held_ += bytes;
  return bytes;
}

void AppendAdmission::Release(size_t events, size_t bytes) {
  const absl::MutexLock lock(&mutex_);
  events_held_ -= events;
  bytes_held_ -= bytes;
}

}  // namespace sluice::eventlog

#include "eventlog/embedded/partition_reader.h"

#include <utility>

#include "absl/time/clock.h"
#include "eventlog/embedded/event_codec.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {

absl::StatusOr<OffsetRange> PartitionReader::Await(std::chrono::milliseconds wait_max) {
  OffsetRange range = partition_.range();
  if (range.end == next_ && wait_max.count() > 0 && !cancelled_) {
    range = partition_.WaitBeyond(next_, cancelled_, absl::Now() + absl::FromChrono(wait_max));
  }
  if (cancelled_) {
    return absl::CancelledError("the reader was cancelled");
  }
  if (next_ < range.begin) {
    return BelowBeginError(partition_.topic(), partition_.id(), next_, range.begin);
  }
  if (next_ > range.end) {
    return BeyondEndError(partition_.topic(), partition_.id(), next_, range.end);
  }
  return range;
}

absl::StatusOr<std::vector<StoredEvent>> PartitionReader::Read(const ReadLimits& limits) {
  ASSIGN_OR_RETURN(const OffsetRange range, Await(limits.wait_max));
  std::vector<StoredEvent> events;
  if (range.end == next_) {
    return events;
  }
  size_t bytes = 0;
  Offset expected = next_;
  absl::Status decoded;
  const absl::Status scanned =
      store_.Scan(partition_.topic(), partition_.id(), next_, range.end,
                  [&](Offset offset, std::string_view stored) {
                    if (offset != expected) {
                      return false;
                    }
                    auto event = DecodeEvent(stored);
                    if (!event.ok()) {
                      decoded = Annotate(event.status(), "offset {} of {}-{}", offset.value(),
                                         TopicName(partition_.topic()), partition_.id().value());
                      return false;
                    }
                    bytes += event->ByteSize();
                    events.push_back({offset, std::move(event).value()});
                    expected = Offset(offset.value() + 1);
                    return bytes < limits.bytes_max && events.size() < limits.events_max;
                  });
  RETURN_IF_ERROR(scanned);
  if (events.empty()) {
    RETURN_IF_ERROR(decoded);
    // Retention may have passed by since the range was taken.
    const absl::MutexLock lock(&partition_.truncating());
    if (const Offset begin = partition_.range().begin; next_ < begin) {
      return BelowBeginError(partition_.topic(), partition_.id(), next_, begin);
    }
    return Error(StatusCode::kDataLoss, "log_corrupt",
                 "offset {} of {}-{} is missing; restore the log from a copy", next_.value(),
                 TopicName(partition_.topic()), partition_.id().value());
  }
  next_ = expected;
  return events;
}

}  // namespace sluice::eventlog

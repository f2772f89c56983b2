#include "projectors/provisioning/end_question.h"

#include "schemas/base/status.h"

namespace sluice::projectors {

EndQuestion::EndQuestion(eventlog::Log& log, const Clock& clock, eventlog::Topic topic,
                         PartitionId partition)
    : log_(log), clock_(clock), topic_(topic), partition_(partition) {}

std::optional<absl::StatusOr<Offset>> EndQuestion::Since(SteadyTime::duration ago) {
  absl::MutexLock lock(&mutex_);
  // The time of asking counts, not that of the answer: an end that was asked for before a request
  // came may lack what its sender has been told of since. This clock is read after the caller's:
  // whatever lies between the two only asks for a newer end.
  if (answer_.has_value() && answer_->asked >= clock_.SteadyNow() - ago) {
    return answer_->end;
  }
  if (stopping_) {
    return Error(absl::StatusCode::kUnavailable, "unavailable", "this process is stopping");
  }
  if (task_.done()) {
    task_.Start([this] { Ask(); });
  }
  return std::nullopt;
}

void EndQuestion::Stop() {
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
  }
  task_.Wait();
}

void EndQuestion::Ask() {
  const SteadyTime asked = clock_.SteadyNow();
  const absl::StatusOr<eventlog::OffsetRange> range = log_.Range(topic_, partition_);
  absl::MutexLock lock(&mutex_);
  if (range.ok()) {
    answer_ = Answer{asked, range->end};
  } else {
    answer_ = Answer{asked, range.status()};
  }
}

}  // namespace sluice::projectors

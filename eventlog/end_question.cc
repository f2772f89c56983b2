#include "eventlog/end_question.h"

#include <utility>

namespace sluice::eventlog {

EndQuestion::EndQuestion(const Clock& clock, Ask ask, absl::Status stopped)
    : clock_(clock), ask_(std::move(ask)), stopped_(std::move(stopped)) {}

std::optional<absl::StatusOr<Offset>> EndQuestion::Since(SteadyTime since) {
  const absl::MutexLock lock(&mutex_);
  // The time of asking counts, not that of the answer: an end that was asked for before a request
  // came may lack what its sender has written, or been told of, since.
  if (answer_.has_value() && answer_->asked >= since) {
    return answer_->end;
  }
  if (stopping_) {
    return stopped_;
  }
  StartTask();
  return std::nullopt;
}

void EndQuestion::Start() {
  const absl::MutexLock lock(&mutex_);
  StartTask();
}

void EndQuestion::StartTask() {
  if (!stopping_ && task_.done()) {
    task_.Start([this] { Run(); });
  }
}

bool EndQuestion::answers() const {
  const absl::MutexLock lock(&mutex_);
  return !answer_.has_value() || answer_->end.ok();
}

void EndQuestion::RequestStop() {
  const absl::MutexLock lock(&mutex_);
  stopping_ = true;
}

void EndQuestion::Stop() {
  // With the lock, so that whoever has found that it does not stop has begun to ask.
  RequestStop();
  task_.Wait();
}

void EndQuestion::Run() {
  const SteadyTime asked = clock_.SteadyNow();
  absl::StatusOr<Offset> end = ask_(asked);
  const absl::MutexLock lock(&mutex_);
  answer_ = Answer{asked, std::move(end)};
}

}  // namespace sluice::eventlog

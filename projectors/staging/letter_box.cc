#include "projectors/staging/letter_box.h"

#include <algorithm>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "projectors/staging/dead_letter.h"
#include "schemas/base/status.h"
#include "spdlog/spdlog.h"

namespace sluice::projectors {
namespace {

constexpr size_t kLettersMax = 10'000;
constexpr size_t kLetterBytesMax = 8 << 20;
constexpr size_t kLettersPerAppend = 1'000;
constexpr size_t kLetterBytesPerAppend = 1 << 20;
constexpr std::chrono::seconds kSlow{1};
constexpr absl::Duration kStopLook = absl::Milliseconds(100);

}  // namespace

// Shared with the callback, which may come after the box has gone.
struct LetterBox::Answer {
  absl::Mutex mutex;
  bool done ABSL_GUARDED_BY(mutex) = false;
  absl::Status status ABSL_GUARDED_BY(mutex);
};

LetterBox::LetterBox(eventlog::Log& log, const Clock& clock, PartitionId partition,
                     const StagingOptions& options, StagingMetrics& metrics)
    : log_(log),
      clock_(clock),
      partition_(partition),
      metrics_(metrics),
      backoff_(options.retry_min, options.retry_max) {}

void LetterBox::Add(const std::vector<eventlog::StoredEvent>& events,
                    const std::vector<Rejected>& rejected) {
  for (const Rejected& one : rejected) {
    const auto original = std::lower_bound(
        events.begin(), events.end(), one.offset,
        [](const eventlog::StoredEvent& event, Offset offset) { return event.offset < offset; });
    if (original == events.end() || original->offset != one.offset) {
      continue;
    }
    // Who goes back to the checkpoint is told of what is held here once more.
    const Place place(one.offset, one.op_index);
    if (letters_.contains(place)) {
      continue;
    }
    spdlog::warn("staging_rejected partition={} offset={} op={} code={} org={}", partition_.value(),
                 one.offset.value(), one.op_index, one.code, original->event.subject);
    eventlog::Event letter = MakeDeadLetter(partition_, *original, one, clock_.Now());
    bytes_ += letter.ByteSize();
    letters_.emplace(place, std::move(letter));
  }
}

bool LetterBox::full() const { return letters_.size() >= kLettersMax || bytes_ >= kLetterBytesMax; }

bool LetterBox::slow() const {
  return backoff_.failing() || (answer_ != nullptr && clock_.SteadyNow() - sent_at_ >= kSlow);
}

absl::Status LetterBox::Look() {
  if (answer_ != nullptr) {
    {
      absl::MutexLock lock(&answer_->mutex);
      if (!answer_->done) {
        return absl::OkStatus();
      }
    }
    RETURN_IF_ERROR(End());
  }
  if (!letters_.empty() && clock_.SteadyNow() >= retry_at_) {
    Begin();
  }
  return absl::OkStatus();
}

absl::Status LetterBox::Write(std::chrono::milliseconds wait_max) {
  const absl::Time until = absl::Now() + absl::FromChrono(wait_max);
  while (!letters_.empty()) {
    ASSIGN_OR_RETURN(const bool came, WriteSome([] { return false; }, until));
    if (!came) {
      break;
    }
  }
  return absl::OkStatus();
}

absl::Status LetterBox::MakeRoom(absl::FunctionRef<bool()> stopping) {
  // Not until it is empty: whoever's events come next waits meanwhile.
  while (full()) {
    ASSIGN_OR_RETURN(const bool came, WriteSome(stopping, absl::InfiniteFuture()));
    if (!came) {
      return Error(StatusCode::kCancelled, "cancelled", "the projector is stopping");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> LetterBox::WriteSome(absl::FunctionRef<bool()> stopping, absl::Time until) {
  if (answer_ == nullptr) {
    Begin();
  }
  {
    absl::MutexLock lock(&answer_->mutex);
    while (!answer_->mutex.AwaitWithTimeout(absl::Condition(&answer_->done),
                                            std::min(kStopLook, until - absl::Now()))) {
      if (stopping() || absl::Now() >= until) {
        return false;
      }
    }
  }
  RETURN_IF_ERROR(End());
  return true;
}

void LetterBox::Begin() {
  std::vector<eventlog::Event> batch;
  size_t bytes = 0;
  for (const auto& [place, letter] : letters_) {
    bytes += letter.ByteSize();
    if (batch.size() >= kLettersPerAppend || (!batch.empty() && bytes > kLetterBytesPerAppend)) {
      break;
    }
    batch.push_back(letter);
    sent_.push_back(place);
  }
  // One append at a time, the oldest first: what is left is then all that is not durable, and
  // oldest() is where a checkpoint must not pass. The letters stay until the answer: they are sent
  // again, under the same ids, where it is that some may not be there. All go to one partition,
  // whatever is written as their keys: none waits for the leader of another one's.
  sent_at_ = clock_.SteadyNow();
  answer_ = std::make_shared<Answer>();
  log_.AppendAsync(eventlog::Topic::kDeadletter, partition_, std::move(batch),
                   [answer = answer_](const absl::StatusOr<std::vector<Offset>>& offsets) {
                     absl::MutexLock lock(&answer->mutex);
                     answer->done = true;
                     answer->status = offsets.status();
                   });
}

absl::Status LetterBox::End() {
  const std::shared_ptr<Answer> answer = std::exchange(answer_, nullptr);
  const std::vector<Place> sent = std::exchange(sent_, {});
  absl::MutexLock lock(&answer->mutex);
  if (answer->status.ok()) {
    for (const Place& place : sent) {
      const auto letter = letters_.find(place);
      bytes_ -= letter->second.ByteSize();
      letters_.erase(letter);
    }
    metrics_.DeadLettered(sent.size());
    backoff_.Reset();
    retry_at_ = {};
    return absl::OkStatus();
  }
  if (ErrorCode(answer->status) == "too_large") {
    const auto size = [this](const Place& place) { return letters_.at(place).ByteSize(); };
    eventlog::Event& largest = letters_.at(*std::ranges::max_element(sent, {}, size));
    bytes_ -= largest.ByteSize();
    largest = WithoutOriginal(largest);
    bytes_ += largest.ByteSize();
  }
  retry_at_ = clock_.SteadyNow() + backoff_.Next();
  return answer->status;
}

}  // namespace sluice::projectors

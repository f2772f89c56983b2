#include "projectors/staging/letter_box.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "projectors/staging/dead_letter.h"
#include "schemas/status.h"
#include "spdlog/spdlog.h"

namespace sluice::projectors {
namespace {

constexpr size_t kLettersPerAppend = 100;
constexpr size_t kLetterBytesPerAppend = 1 << 20;

}  // namespace

void LetterBox::Add(const std::vector<eventlog::StoredEvent>& events,
                    const std::vector<Rejected>& rejected) {
  for (const Rejected& one : rejected) {
    const auto original = std::lower_bound(
        events.begin(), events.end(), one.offset,
        [](const eventlog::StoredEvent& event, Offset offset) { return event.offset < offset; });
    if (original == events.end() || original->offset != one.offset) {
      continue;
    }
    spdlog::warn("staging_rejected partition={} offset={} op={} code={} org={}", partition_.value(),
                 one.offset.value(), one.op_index, one.code, original->event.subject);
    letters_.push_back(MakeDeadLetter(partition_, *original, one, clock_.Now()));
  }
}

absl::Status LetterBox::Write(absl::FunctionRef<bool()> stopping) {
  while (!letters_.empty()) {
    const PartitionId target =
        log_.PartitionFor(eventlog::Topic::kDeadletter, letters_.front().key);
    size_t count = 0;
    size_t bytes = 0;
    while (count < letters_.size() && count < kLettersPerAppend &&
           (count == 0 || bytes + letters_[count].ByteSize() <= kLetterBytesPerAppend) &&
           log_.PartitionFor(eventlog::Topic::kDeadletter, letters_[count].key) == target) {
      bytes += letters_[count++].ByteSize();
    }
    const auto end = letters_.begin() + static_cast<std::ptrdiff_t>(count);
    const absl::Status status = Append(target, {letters_.begin(), end}, stopping);
    if (ErrorCode(status) == "too_large") {
      const auto largest = std::max_element(
          letters_.begin(), end,
          [](const auto& a, const auto& b) { return a.ByteSize() < b.ByteSize(); });
      *largest = WithoutOriginal(*largest);
    }
    RETURN_IF_ERROR(status);
    metrics_.DeadLettered(count);
    letters_.erase(letters_.begin(), end);
  }
  return absl::OkStatus();
}

absl::Status LetterBox::Append(PartitionId target, std::vector<eventlog::Event> letters,
                               absl::FunctionRef<bool()> stopping) {
  // Shared with the callback, which may come after a stop has ended the wait.
  struct Answer {
    absl::Mutex mutex;
    bool done ABSL_GUARDED_BY(mutex) = false;
    absl::Status status ABSL_GUARDED_BY(mutex);
  };
  const auto answer = std::make_shared<Answer>();
  log_.AppendAsync(eventlog::Topic::kDeadletter, target, std::move(letters),
                   [answer](const absl::StatusOr<std::vector<Offset>>& offsets) {
                     absl::MutexLock lock(&answer->mutex);
                     answer->done = true;
                     answer->status = offsets.status();
                   });
  absl::MutexLock lock(&answer->mutex);
  while (!answer->mutex.AwaitWithTimeout(absl::Condition(&answer->done), absl::Milliseconds(100))) {
    if (stopping()) {
      return Error(absl::StatusCode::kCancelled, "cancelled", "the projector is stopping");
    }
  }
  return answer->status;
}

}  // namespace sluice::projectors

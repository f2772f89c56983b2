#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "eventlog/log.h"
#include "projectors/staging/staging_metrics.h"
#include "projectors/staging/staging_projector.h"
#include "schemas/base/backoff.h"

namespace sluice::projectors {

// While there are dead letters: how soon the answer of an append is seen at the end of the log.
inline constexpr std::chrono::milliseconds kLettersLook{10};

// Dead letters of one partition of `changes` on their way to the partition of `deadletter` that has
// the same number, and is the one of their keys. It holds each until it is durable, a letter once
// however often it is told of. It refuses none: who adds to it stops when it is full(), so that it
// holds what one batch of events makes more than that at most. Not thread-safe.
class LetterBox {
 public:
  // All must outlive it.
  LetterBox(eventlog::Log& log, const Clock& clock, PartitionId partition,
            const StagingOptions& options, StagingMetrics& metrics);

  // Makes letters of what was rejected of `events`, which ascend by offset.
  void Add(const std::vector<eventlog::StoredEvent>& events, const std::vector<Rejected>& rejected);
  bool empty() const { return letters_.empty(); }
  size_t size() const { return letters_.size(); }
  // The first event that a letter is of; kNoOffset where there is none.
  Offset oldest() const { return empty() ? kNoOffset : letters_.begin()->first.first; }
  // 10,000 letters, or 8 MiB.
  bool full() const;
  // The last append failed, or has had no answer for a second.
  bool slow() const;

  // Takes the answer of the append under way where it has come, and begins the next one; never
  // waits. What is durable is taken out. An error is why an append failed: it is repeated by a
  // later call, after a wait of StagingOptions::retry_min and more.
  [[nodiscard]] absl::Status Look();
  // Appends all of them in small batches and waits, for `wait_max` at most: it may not be empty
  // then. The first error ends it.
  [[nodiscard]] absl::Status Write(std::chrono::milliseconds wait_max);
  // Appends them until it is not full any more, and waits as long as that takes. The first error
  // ends it. kCancelled when `stopping` says so before an answer has come.
  [[nodiscard]] absl::Status MakeRoom(absl::FunctionRef<bool()> stopping);

 private:
  using Place = std::pair<Offset, uint32_t>;  // of the rejected operation
  struct Answer;

  void Begin();
  // Waits for the answer of an append, which is begun where none is under way, until `until` or
  // `stopping`, and takes it. Whether it has come.
  [[nodiscard]] absl::StatusOr<bool> WriteSome(absl::FunctionRef<bool()> stopping,
                                               absl::Time until);
  // Of the append under way, whose answer has come.
  [[nodiscard]] absl::Status End();

  eventlog::Log& log_;
  const Clock& clock_;
  const PartitionId partition_;
  StagingMetrics& metrics_;
  std::map<Place, eventlog::Event> letters_;
  size_t bytes_ = 0;  // of all letters

  std::shared_ptr<Answer> answer_;  // of the append under way, or nullptr
  std::vector<Place> sent_;         // with it
  SteadyTime sent_at_;
  Backoff backoff_;  // failing: the last append did
  SteadyTime retry_at_;
};

}  // namespace sluice::projectors

#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "eventlog/log.h"
#include "gateways/sources/connector.h"
#include "projectors/work/work_ledger.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// Appends events until they are durable, always the same ones, so that a doubled one is known by
// its id: while the log is away, for `timeout` at most. kCancelled as soon as `stopping()`; other
// errors of the log at once. Blocks.
[[nodiscard]] absl::StatusOr<std::vector<Offset>> AppendSurely(
    eventlog::Log& log, eventlog::Topic topic, PartitionId partition,
    const std::vector<eventlog::Event>& events, std::chrono::milliseconds timeout,
    const std::function<bool()>& stopping);
// May the append be tried again: was it the log, and not the events?
[[nodiscard]] bool MayAppendAgain(const absl::Status& status);

// The dead letter of an item that is given up for its last error. One stream has one letter,
// however often that happens.
[[nodiscard]] eventlog::Event LetterOfItem(const projectors::StreamKey& key,
                                           const v1::WorkItem& item, const absl::Status& error,
                                           PartitionId partition, const Clock& clock);

// Rows of one run that could not be taken, on their way to `deadletter`. A row that is rejected for
// the same reason again has the same letter. Not thread-safe.
class RowLetters {
 public:
  // Both must outlive it.
  RowLetters(eventlog::Log& log, const Clock& clock, projectors::StreamKey stream)
      : log_(log), clock_(clock), stream_(std::move(stream)) {}

  void Add(const RejectedRow& row);
  // So many wait that they should be flushed.
  [[nodiscard]] bool full() const { return bytes_ >= kBytesMax; }
  // Everything that was added is durable. As AppendSurely().
  [[nodiscard]] absl::Status Flush(std::chrono::milliseconds timeout,
                                   const std::function<bool()>& stopping);

 private:
  static constexpr size_t kBytesMax = size_t{1} << 20;

  eventlog::Log& log_;
  const Clock& clock_;
  const projectors::StreamKey stream_;
  std::map<PartitionId, std::vector<eventlog::Event>> letters_;
  size_t bytes_ = 0;
};

}  // namespace sluice::gateways

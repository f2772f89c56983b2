#pragma once

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "eventlog/log.h"
#include "projectors/staging/staging_metrics.h"

namespace sluice::projectors {

// Dead letters on their way to the log. Not thread-safe.
class LetterBox {
 public:
  // All must outlive it.
  LetterBox(eventlog::Log& log, const Clock& clock, PartitionId partition, StagingMetrics& metrics)
      : log_(log), clock_(clock), partition_(partition), metrics_(metrics) {}

  // Makes letters of what was rejected of `events`, which ascend by offset.
  void Add(const std::vector<eventlog::StoredEvent>& events, const std::vector<Rejected>& rejected);
  bool empty() const { return letters_.empty(); }

  // Appends them in small batches; what is durable is taken out, so that a failure repeats only the
  // rest. kCancelled when `stopping` says so before an answer has come.
  [[nodiscard]] absl::Status Write(absl::FunctionRef<bool()> stopping);

 private:
  absl::Status Append(PartitionId target, std::vector<eventlog::Event> letters,
                      absl::FunctionRef<bool()> stopping);

  eventlog::Log& log_;
  const Clock& clock_;
  const PartitionId partition_;
  StagingMetrics& metrics_;
  std::vector<eventlog::Event> letters_;
};

}  // namespace sluice::projectors

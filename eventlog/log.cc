#include "eventlog/log.h"

#include <fmt/format.h>

#include <charconv>
#include <future>
#include <utility>

#include "absl/strings/cord.h"
#include "eventlog/base/murmur2.h"
#include "schemas/status.h"

namespace sluice::eventlog {
namespace {

constexpr char kBeginPayload[] = "sluice.begin_offset";

}  // namespace

std::string_view TopicName(Topic topic) {
  switch (topic) {
    case Topic::kProvisioning:
      return "provisioning";
    case Topic::kChanges:
      return "changes";
    case Topic::kWork:
      return "work";
    case Topic::kMutations:
      return "mutations";
    case Topic::kCheckpoints:
      return "checkpoints";
    case Topic::kDeadletter:
      return "deadletter";
    case Topic::kNodes:
      return "nodes";
  }
  return "unknown";
}

PartitionId Log::PartitionFor(Topic topic, std::string_view key) const {
  return PartitionForKey(key, PartitionCount(topic));
}

absl::StatusOr<std::vector<Offset>> Log::Append(Topic topic, PartitionId partition,
                                                std::vector<Event> batch) {
  std::promise<absl::StatusOr<std::vector<Offset>>> promise;
  auto future = promise.get_future();
  AppendAsync(topic, partition, std::move(batch),
              [&promise](absl::StatusOr<std::vector<Offset>> result) {
                promise.set_value(std::move(result));
              });
  return future.get();
}

Offset BeginOfError(const absl::Status& status) {
  int64_t begin = -1;
  if (const auto payload = status.GetPayload(kBeginPayload); payload.has_value()) {
    const std::string text(*payload);
    std::from_chars(text.data(), text.data() + text.size(), begin);
  }
  return Offset(begin);
}

absl::Status BelowBeginError(Topic topic, PartitionId partition, Offset wanted, Offset begin) {
  absl::Status status = Error(
      absl::StatusCode::kOutOfRange, "offset_below_begin",
      fmt::format("offset {} of {}-{} has been removed: the log begins at {}; read from there "
                  "or rebuild from a copy",
                  wanted.value(), TopicName(topic), partition.value(), begin.value()));
  status.SetPayload(kBeginPayload, absl::Cord(std::to_string(begin.value())));
  return status;
}

absl::Status BeyondEndError(Topic topic, PartitionId partition, Offset wanted, Offset end) {
  return Error(absl::StatusCode::kOutOfRange, "offset_beyond_end",
               fmt::format("offset {} of {}-{} does not exist: the log ends at {}", wanted.value(),
                           TopicName(topic), partition.value(), end.value()));
}

absl::Status VerifyContinuity(Log& log, Topic topic, PartitionId partition, Offset applied,
                              uint64_t applied_hash) {
  if (applied == kNoOffset) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const OffsetRange range, log.Range(topic, partition));
  if (applied >= range.end) {
    return Error(
        absl::StatusCode::kDataLoss, "log_truncated",
        fmt::format("a store has applied offset {} of {}-{}, but the log ends at {}: it was "
                    "truncated or is another log; restore it or rebuild the stores",
                    applied.value(), TopicName(topic), partition.value(), range.end.value()));
  }
  if (applied < range.begin) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto reader, log.OpenReader(topic, partition, applied));
  ASSIGN_OR_RETURN(const auto events,
                   reader->Read({.events_max = 1, .wait_max = std::chrono::seconds(30)}));
  if (events.empty() || events.front().offset != applied ||
      EventHash(events.front().event) != applied_hash) {
    return Error(
        absl::StatusCode::kDataLoss, "log_diverged",
        fmt::format("offset {} of {}-{} holds another event than the one a store applied: it "
                    "is another log; restore the log or rebuild the stores",
                    applied.value(), TopicName(topic), partition.value()));
  }
  return absl::OkStatus();
}

}  // namespace sluice::eventlog

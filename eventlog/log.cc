#include "eventlog/log.h"

#include <charconv>
#include <future>
#include <utility>

#include "absl/strings/cord.h"
#include "eventlog/cancellation.h"
#include "eventlog/murmur2.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

constexpr char kBeginPayload[] = "sluice.begin_offset";

constexpr std::string_view kWayOn =
    "restore the log that the stores were made from; or, to go on with what this one holds, run "
    "`sluice log new-epoch`, after which stores are built anew and clients start afresh";

absl::Status Truncated(Log& log, Topic topic, PartitionId partition, Offset applied, Offset end) {
  RETURN_IF_ERROR(log.ConfirmLoss(topic, partition, applied));
  return Error(StatusCode::kDataLoss, "log_truncated",
               "offset {} of {}-{} was applied to a store, but the log ends at {}: events at its "
               "end are lost, or it is another log; {}",
               applied.value(), TopicName(topic), partition.value(), end.value(), kWayOn);
}

}  // namespace

std::string_view TopicName(Topic topic) {
  constexpr std::string_view kNames[] = {"provisioning", "changes",    "work", "mutations",
                                         "checkpoints",  "deadletter", "nodes"};
  return kNames[static_cast<size_t>(topic)];
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
  absl::Status status = Error(StatusCode::kOutOfRange, "offset_below_begin",
                              "offset {} of {}-{} has been removed: the log begins at {}; read "
                              "from there or rebuild from a copy",
                              wanted.value(), TopicName(topic), partition.value(), begin.value());
  status.SetPayload(kBeginPayload, absl::Cord(std::to_string(begin.value())));
  return status;
}

absl::Status BeyondEndError(Topic topic, PartitionId partition, Offset wanted, Offset end) {
  return Error(StatusCode::kOutOfRange, "offset_beyond_end",
               "offset {} of {}-{} does not exist: the log ends at {}", wanted.value(),
               TopicName(topic), partition.value(), end.value());
}

absl::Status ReadUntil(Log& log, Topic topic, PartitionId partition, Offset from, Offset end,
                       absl::FunctionRef<absl::Status(const StoredEvent&)> visit,
                       std::chrono::milliseconds patience, Cancellation* cancellation) {
  if (from >= end) {
    return absl::OkStatus();
  }
  std::unique_ptr<Reader> reader;
  if (end.value() - from.value() == 1) {
    ASSIGN_OR_RETURN(reader, log.OpenPointReader(topic, partition, from));
  } else {
    ASSIGN_OR_RETURN(reader, log.OpenReader(topic, partition, from));
  }
  const Cancellation::Reading reading(cancellation, *reader);
  while (reader->next() < end) {
    const Offset before = reader->next();
    ASSIGN_OR_RETURN(const auto events, reader->Read({.wait_max = patience}));
    for (const StoredEvent& event : events) {
      if (event.offset >= end) {
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(visit(event));
    }
    // A reader may pass over control records without an event.
    if (reader->next() == before) {
      return Error(StatusCode::kUnavailable, "log_unavailable",
                   "{}-{} ends at {}, but nothing came from offset {} on for {} ms: the log is "
                   "slow or away; try again",
                   TopicName(topic), partition.value(), end.value(), before.value(),
                   patience.count());
    }
  }
  return absl::OkStatus();
}

absl::Status VerifyContinuity(Log& log, Topic topic, PartitionId partition, Offset applied,
                              uint64_t applied_hash, std::chrono::milliseconds patience,
                              Cancellation* cancellation) {
  if (applied == kNoOffset) {
    return absl::OkStatus();
  }
  // The end first: a reader at it waits for more, and that nothing comes says nothing of what is
  // lost.
  ASSIGN_OR_RETURN(const OffsetRange range, log.Range(topic, partition));
  if (applied >= range.end) {
    return Truncated(log, topic, partition, applied, range.end);
  }
  // What retention has removed cannot be compared. That is no loss: its place was known to go.
  if (applied < range.begin) {
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const auto reader, log.OpenPointReader(topic, partition, applied));
  const Cancellation::Reading reading(cancellation, *reader);
  const auto events = reader->Read({.events_max = 1, .wait_max = patience});
  if (!events.ok()) {
    const std::string code = ErrorCode(events.status());
    // Retention or a loss came between the two questions.
    if (code == "offset_below_begin") {
      return absl::OkStatus();
    }
    return code == "offset_beyond_end" ? Truncated(log, topic, partition, applied, applied)
                                       : events.status();
  }
  if (events->empty()) {
    return Error(StatusCode::kUnavailable, "log_unavailable",
                 "offset {} of {}-{} can't be compared with what a store applied: nothing came for "
                 "{} ms; try again",
                 applied.value(), TopicName(topic), partition.value(), patience.count());
  }
  const StoredEvent& found = events->front();
  if (found.offset != applied) {
    return Error(StatusCode::kDataLoss, "log_diverged",
                 "offset {} of {}-{} was applied to a store, but the log holds no event there and "
                 "goes on at {}: it is another log, or events were removed from it; {}",
                 applied.value(), TopicName(topic), partition.value(), found.offset.value(),
                 kWayOn);
  }
  if (EventHash(found.event) != applied_hash) {
    return Error(StatusCode::kDataLoss, "log_diverged",
                 "offset {} of {}-{} holds another event than the one that was applied to a store: "
                 "it is another log, or one that lost its end and went on; {}",
                 applied.value(), TopicName(topic), partition.value(), kWayOn);
  }
  return absl::OkStatus();
}

bool IsOtherHistory(const absl::Status& status) {
  const std::string code = ErrorCode(status);
  return code == "log_truncated" || code == "log_diverged";
}

bool IsDoubtedEnd(const absl::Status& status) { return ErrorCode(status) == "log_end_doubted"; }

absl::Status OtherHistory(PartitionId partition, std::string_view code) {
  if (code.empty()) {
    return absl::OkStatus();
  }
  // A damaged log is no other one: to begin it anew would give up what a copy still has.
  const std::string_view what =
      code == "log_corrupt" ? "can't be read: it has to be restored by an operator"
                            : "does not hold what it held: it has to be restored, or begun anew, "
                              "by an operator";
  return Error(StatusCode::kUnavailable, code, "partition {} of the log {}", partition.value(),
               what);
}

}  // namespace sluice::eventlog

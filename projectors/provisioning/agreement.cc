#include "projectors/provisioning/agreement.h"

#include <optional>
#include <tuple>
#include <vector>

#include "absl/functional/function_ref.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using eventlog::StoredEvent;
using eventlog::Topic;

constexpr std::string_view kWayOn =
    "restore the topics to one moment; or, to go on with what they hold, stop the servers, run "
    "`sluice log new-epoch` and start them again";

// Of a read of an event that should be there: whether it is, is asked only where nothing comes.
constexpr std::chrono::milliseconds kGlance{100};

// One event, and where the partition ends at least.
struct Found {
  Offset end;
  bool removed = false;  // from the beginning, by retention
  std::optional<StoredEvent> event;
};

absl::StatusOr<Found> Find(eventlog::Log& log, Topic topic, PartitionId partition, Offset offset,
                           std::chrono::milliseconds patience,
                           eventlog::Cancellation* cancellation) {
  {
    ASSIGN_OR_RETURN(const auto reader, log.OpenPointReader(topic, partition, offset));
    const eventlog::Cancellation::Reading reading(cancellation, *reader);
    const auto events = reader->Read({.events_max = 1, .wait_max = kGlance});
    if (events.ok() && !events->empty()) {
      const StoredEvent& first = events->front();
      return Found{.end = Offset(first.offset.value() + 1),
                   .removed = false,
                   .event = first.offset == offset ? std::optional(first) : std::nullopt};
    }
    if (absl::IsCancelled(events.status())) {
      return events.status();
    }
  }
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(topic, partition));
  Found found{.end = range.end, .removed = offset < range.begin, .event = std::nullopt};
  if (found.removed || offset >= range.end) {
    return found;
  }
  const absl::Status read = eventlog::ReadUntil(
      log, topic, partition, offset, Offset(offset.value() + 1),
      [&found](const StoredEvent& event) {
        found.event = event;
        return absl::OkStatus();
      },
      patience, cancellation);
  // The end went back, or the beginning on, between the two questions.
  if (ErrorCode(read) == "offset_below_begin") {
    found.removed = true;
  } else if (ErrorCode(read) == "offset_beyond_end") {
    found.end = offset;
  } else {
    RETURN_IF_ERROR(read);
  }
  return found;
}

// Is what `topic` holds at `offset` what `other` tells of there? `is_it` says so of an event.
absl::Status CheckHeld(eventlog::Log& log, PartitionId partition, Topic topic, Offset offset,
                       Topic other, std::chrono::milliseconds patience,
                       eventlog::Cancellation* cancellation,
                       absl::FunctionRef<bool(const StoredEvent&)> is_it) {
  ASSIGN_OR_RETURN(const Found found, Find(log, topic, partition, offset, patience, cancellation));
  // The end first: only below it does an event that is not there tell of another history.
  if (offset >= found.end) {
    // An end is told by one broker, which may lead no more: it is doubted before it is called a
    // loss, for that stops the partition until somebody comes.
    RETURN_IF_ERROR(log.ConfirmLoss(topic, partition, offset));
    return Error(
        StatusCode::kDataLoss, "log_truncated",
        "{0}-{1} ends at {2}, but {3}-{1} tells of its offset {4}: the end of {0} is lost; {5}",
        eventlog::TopicName(topic), partition.value(), found.end.value(),
        eventlog::TopicName(other), offset.value(), kWayOn);
  }
  if (found.removed || (found.event.has_value() && is_it(*found.event))) {
    return absl::OkStatus();
  }
  return Error(StatusCode::kDataLoss, "log_diverged",
               "offset {4} of {0}-{1} holds another event than {2}-{1} tells of: {0} lost its end "
               "and went on; {3}",
               eventlog::TopicName(topic), partition.value(), eventlog::TopicName(other), kWayOn,
               offset.value());
}

std::string RequestIdOf(const StoredEvent& event) {
  v1::ProvisioningRequest request;
  if (!eventlog::ReadMessage(event.event, &request)) {
    return "";
  }
  return request.request_id().empty() ? event.event.id : request.request_id();
}

}  // namespace

absl::Status CheckAgreedEnds(eventlog::Log& log, PartitionId partition,
                             eventlog::Cancellation* cancellation) {
  const eventlog::AgreedEnds agreed = log.Agreed(partition);
  for (const auto& [topic, end, hash] :
       {std::tuple(Topic::kProvisioning, agreed.provisioning, agreed.provisioning_hash),
        std::tuple(Topic::kChanges, agreed.changes, agreed.changes_hash)}) {
    ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(topic, partition));
    if (range.end < end) {
      RETURN_IF_ERROR(log.ConfirmLoss(topic, partition, Offset(end.value() - 1)));
      return Error(
          StatusCode::kDataLoss, "log_truncated",
          "{}-{} ends at {}, but ended at {} when the epoch was declared: its end is lost; {}",
          eventlog::TopicName(topic), partition.value(), range.end.value(), end.value(), kWayOn);
    }
    if (end > range.begin && hash != 0) {
      RETURN_IF_ERROR(eventlog::VerifyContinuity(log, topic, partition, Offset(end.value() - 1),
                                                 hash, eventlog::kReadPatience, cancellation));
    }
  }
  return absl::OkStatus();
}

void OutcomeMark::Add(const Directory::Outcome& outcome, Offset offset) {
  if (!outcome.control_id.empty() && outcome.changes_offset > control) {
    *this = {offset, outcome.changes_offset, outcome.control_id};
  }
}

absl::Status CheckControl(eventlog::Log& log, PartitionId partition, const OutcomeMark& mark,
                          std::chrono::milliseconds patience,
                          eventlog::Cancellation* cancellation) {
  if (mark.at == kNoOffset) {
    return absl::OkStatus();
  }
  return CheckHeld(log, partition, Topic::kChanges, mark.control, Topic::kProvisioning, patience,
                   cancellation,
                   [&](const StoredEvent& event) { return event.event.id == mark.control_id; });
}

absl::Status CheckAllControls(eventlog::Log& log, PartitionId partition) {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log.Range(Topic::kProvisioning, partition));
  const Offset agreed = log.Agreed(partition).provisioning;
  Directory directory;  // says which of several outcomes of one request counts
  std::vector<OutcomeMark> marks;
  RETURN_IF_ERROR(eventlog::ReadUntil(
      log, Topic::kProvisioning, partition, range.begin, range.end, [&](const StoredEvent& event) {
        const auto outcome = directory.Apply(event);
        if (event.offset >= agreed && outcome.ok() && outcome->has_value()) {
          OutcomeMark mark;
          mark.Add(**outcome, event.offset);  // where it led to a control event
          marks.push_back(std::move(mark));
        }
        return absl::OkStatus();
      }));
  for (const OutcomeMark& mark : marks) {
    RETURN_IF_ERROR(CheckControl(log, partition, mark));
  }
  return absl::OkStatus();
}

absl::Status CheckRequest(eventlog::Log& log, PartitionId partition, const ControlMark& mark,
                          eventlog::Cancellation* cancellation) {
  if (mark.at == kNoOffset || mark.at < log.Agreed(partition).changes) {
    return absl::OkStatus();
  }
  return CheckHeld(log, partition, Topic::kProvisioning, mark.answers, Topic::kChanges,
                   eventlog::kReadPatience, cancellation, [&](const StoredEvent& event) {
                     return ControlEventId(RequestIdOf(event)) == mark.id;
                   });
}

absl::Status CheckFolded(eventlog::Log& log, PartitionId partition,
                         std::span<const FoldedMark> marks, eventlog::Cancellation* cancellation) {
  for (const FoldedMark& mark : marks) {
    RETURN_IF_ERROR_CTX(
        eventlog::VerifyContinuity(log, Topic::kChanges, partition, mark.at, mark.event_hash,
                                   eventlog::kReadPatience, cancellation),
        "what a node has told on `nodes` to have folded");
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors

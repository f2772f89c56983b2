#include "projectors/provisioning/partition_sequencer.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "schemas/base/status.h"
#include "schemas/base/uuid.h"

namespace sluice::projectors {
namespace {

using eventlog::Topic;

constexpr std::chrono::milliseconds kReadWait{200};  // also how often closing stores are looked at
constexpr std::chrono::milliseconds kClosingReadWait{20};
constexpr size_t kBatchMax = 256;
// Of outcomes, and of what they tell of: a log takes no more at once than its queue holds. Where
// that is less, they are appended one by one.
constexpr size_t kBatchBytes = size_t{8} << 20;
// Of the numbers in an outcome that are not known before its control event is appended.
constexpr size_t kOffsetBytesMax = 32;
// Of a read of `changes` in which nothing comes: whoever stops a sequencer waits for it, and the
// next try goes on from there.
constexpr std::chrono::milliseconds kControlsPatience{2'000};

void Increment(prometheus::Counter* counter) {
  if (counter != nullptr) {
    counter->Increment();
  }
}

absl::Status StillReading(PartitionId partition) {
  return Error(absl::StatusCode::kUnavailable, "unavailable",
               fmt::format("partition {} of provisioning is still being read", partition.value()));
}

void SetTooLarge(v1::ProvisioningOutcome* outcome) {
  outcome->clear_change();
  SetRefusal(Error(absl::StatusCode::kInvalidArgument, "too_large",
                   "the definition does not fit into an event of the log"),
             outcome);
}

}  // namespace

PartitionSequencer::PartitionSequencer(eventlog::Log& log, const Clock& clock,
                                       PartitionId partition,
                                       const ProvisioningProjector::StoreApplied& store_applied,
                                       const ProvisioningProjector::Gate& gate,
                                       const SequencerMetrics& metrics)
    : log_(log),
      clock_(clock),
      partition_(partition),
      store_applied_(store_applied),
      gate_(gate),
      metrics_(metrics),
      ledger_(log.Agreed(partition).provisioning),
      follower_(log, clock, *this,
                {.topic = Topic::kProvisioning,
                 .partition = partition,
                 .health = StillReading(partition)}) {}

absl::StatusOr<Offset> PartitionSequencer::Open() {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log_.Range(Topic::kProvisioning, partition_));
  end_ = range.end;
  return range.begin;
}

absl::Status PartitionSequencer::Step() {
  RETURN_IF_ERROR(
      follower_.ReadOn({.wait_max = ledger_.closing().empty() ? kReadWait : kClosingReadWait}));
  if (CaughtUp() && HasWork()) {
    RETURN_IF_ERROR(AskForEnd());
  }
  if (CaughtUp() && HasWork()) {
    RETURN_IF_ERROR(AskWhetherToDecide());
  }
  if (CaughtUp()) {
    RETURN_IF_ERROR(Sequence());
  }
  if (CaughtUp()) {
    RETURN_IF_ERROR(AnnounceDeletedStores());
  }
  if (CaughtUp()) {
    follower_.SetHealth(absl::OkStatus());
  }
  return absl::OkStatus();
}

absl::Status PartitionSequencer::Fold(const std::vector<eventlog::StoredEvent>& events) {
  for (const eventlog::StoredEvent& event : events) {
    if (const absl::Status status = ledger_.Apply(event); !status.ok()) {
      spdlog::warn("provisioning_event_malformed offset={} reason=\"{}\"", event.offset.value(),
                   Message(status));
    }
  }
  if (metrics_.pending != nullptr) {
    const auto pending = static_cast<double>(ledger_.pending());
    metrics_.pending->Increment(pending - pending_shown_);
    pending_shown_ = pending;
  }
  return absl::OkStatus();
}

bool PartitionSequencer::Failed(const absl::Status& status, std::chrono::milliseconds wait) {
  controls_checked_ = false;
  // The log may be another one's history now: what was read of `changes` below its end then may
  // be other events, of which nobody has told.
  controls_next_ = kNoOffset;
  newest_control_ = {};
  Increment(metrics_.failures);
  spdlog::warn("provisioning_failed partition={} error=\"{}\" retry_ms={}", partition_.value(),
               Message(status), wait.count());
  return true;
}

absl::Status PartitionSequencer::AskForEnd() {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log_.Range(Topic::kProvisioning, partition_));
  end_ = range.end;
  const Offset last = follower_.last();
  if (last >= end_) {
    RETURN_IF_ERROR(log_.ConfirmLoss(Topic::kProvisioning, partition_, last));
    return Error(absl::StatusCode::kDataLoss, "log_truncated",
                 fmt::format("provisioning-{} was read to offset {} and ends at {} now: its end is "
                             "lost; restore the log, or go on with what it holds: `sluice log "
                             "new-epoch`, then start again",
                             partition_.value(), last.value() + 1, end_.value()));
  }
  // The end was asked for over another connection: nothing is decided by what was read over one
  // that has ended since, of a log that may have been another.
  return follower_.ReadOn({.wait_max = std::chrono::milliseconds(0)});
}

absl::Status PartitionSequencer::AskWhetherToDecide() {
  if (gate_.may_decide) {
    RETURN_IF_ERROR(gate_.may_decide(partition_));
  }
  if (!controls_checked_) {
    RETURN_IF_ERROR(CheckTold());
    RETURN_IF_ERROR(CheckNewControls());
    controls_checked_ = true;
  }
  return absl::OkStatus();
}

absl::Status PartitionSequencer::CheckTold() {
  const OutcomeMark& newest = ledger_.outcomes();
  return newest.at == kNoOffset
             ? CheckAgreedEnds(log_, partition_, &follower_.cancellation())
             : CheckControl(log_, partition_, newest, kControlsPatience, &follower_.cancellation());
}

absl::Status PartitionSequencer::CheckNewControls() {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range, log_.Range(Topic::kChanges, partition_));
  // In this order: what was folded since is in the mark all the same.
  const Offset folded = gate_.folded_until ? gate_.folded_until(partition_) : Offset(0);
  const ControlMark control = gate_.last_control ? gate_.last_control(partition_) : ControlMark();
  if (control.answers > newest_control_.answers) {
    newest_control_ = control;
  }
  const Offset told(ledger_.outcomes().control.value() + 1);
  // Up to where an epoch was declared both topics fit each other.
  controls_next_ =
      std::max({controls_next_, told, folded, range.begin, log_.Agreed(partition_).changes});
  RETURN_IF_ERROR(eventlog::ReadUntil(
      log_, Topic::kChanges, partition_, controls_next_, range.end,
      [this](const eventlog::StoredEvent& event) {
        if (event.event.answers > newest_control_.answers) {
          newest_control_ = {event.offset, event.event.answers, event.event.id};
        }
        controls_next_ = Offset(event.offset.value() + 1);
        return absl::OkStatus();
      },
      kControlsPatience, &follower_.cancellation()));
  return CheckRequest(log_, partition_, newest_control_, &follower_.cancellation());
}

PartitionSequencer::Decided PartitionSequencer::DecideOne(RequestLedger::Pending pending) const {
  Decided decided;
  const auto entry = ledger_.directory().Find(pending.org);
  auto decision = Decide(pending.org, entry.get(), pending.request, pending.offset);
  if (decision.ok()) {
    decided.outcome = std::move(decision->outcome);
    decided.control = std::move(decision->control);
  } else {
    SetRefusal(decision.status(), &decided.outcome);
    decided.outcome.set_changes_offset(kNoOffset.value());
  }
  Increment(decision.ok() ? metrics_.accepted : metrics_.refused);
  decided.outcome.set_request_id(pending.request.request_id());
  decided.outcome.set_request_offset(pending.offset.value());
  if (decided.control.has_value()) {
    decided.control->id = ControlEventId(pending.request.request_id());
    decided.control->time = clock_.Now();
    decided.control->traceparent = pending.traceparent;
    decided.control->cause = pending.cause;
    decided.control->answers = pending.offset;
    // What is in `changes` must be told, and an outcome is larger than what it tells of.
    if (OutcomeEvent(pending.org, decided.outcome, pending.cause).ByteSize() + kOffsetBytesMax >
        std::min(gate_.append_limits.event_bytes_max, gate_.append_limits.queue_bytes_max)) {
      decided.control.reset();
      SetTooLarge(&decided.outcome);
      decided.outcome.set_changes_offset(kNoOffset.value());
    }
  }
  decided.pending = std::move(pending);
  return decided;
}

eventlog::Event PartitionSequencer::OutcomeEvent(const OrgId& org,
                                                 const v1::ProvisioningOutcome& outcome,
                                                 eventlog::Cause cause) const {
  eventlog::Event event;
  event.id = NewUuid7(clock_);
  event.source = "sluice/provisioning";
  event.type = v1::ProvisioningOutcome::descriptor()->full_name();
  event.subject = org.value();
  event.time = clock_.Now();
  event.key = org.value();
  event.value = outcome.SerializeAsString();
  event.cause = std::move(cause);
  return event;
}

absl::Status PartitionSequencer::AppendControls(std::vector<Decided>& decided) {
  std::vector<eventlog::Event> events;
  std::vector<Decided*> owners;
  for (Decided& one : decided) {
    if (one.control.has_value()) {
      events.push_back(*one.control);
      owners.push_back(&one);
    }
  }
  auto offsets = log_.Append(Topic::kChanges, partition_, events);
  if (ErrorCode(offsets.status()) != "too_large") {
    RETURN_IF_ERROR(offsets.status());
    for (size_t i = 0; i < owners.size(); ++i) {
      owners[i]->outcome.set_changes_offset((*offsets)[i].value());
    }
    return absl::OkStatus();
  }
  // One definition that fits no event must not hold up the others: each on its own.
  for (size_t i = 0; i < owners.size(); ++i) {
    auto offset = log_.Append(Topic::kChanges, partition_, {events[i]});
    v1::ProvisioningOutcome& outcome = owners[i]->outcome;
    if (ErrorCode(offset.status()) == "too_large") {
      SetTooLarge(&outcome);
      continue;
    }
    RETURN_IF_ERROR(offset.status());
    outcome.set_changes_offset(offset->front().value());
  }
  return absl::OkStatus();
}

absl::Status PartitionSequencer::AppendOutcomes(std::vector<eventlog::Event> outcomes) {
  const auto append = [this](std::vector<eventlog::Event> events) -> absl::Status {
    ASSIGN_OR_RETURN(const auto offsets,
                     log_.Append(Topic::kProvisioning, partition_, std::move(events)));
    written_ = offsets.back();
    return absl::OkStatus();
  };
  const absl::Status status = append(outcomes);
  if (ErrorCode(status) != "too_large" || outcomes.size() == 1) {
    return status;
  }
  // The log's queue is smaller than the batch, but takes each.
  for (eventlog::Event& outcome : outcomes) {
    RETURN_IF_ERROR(append({std::move(outcome)}));
  }
  return absl::OkStatus();
}

absl::Status PartitionSequencer::Sequence() {
  std::vector<Decided> decided;
  size_t bytes = 0;
  for (RequestLedger::Pending& pending : ledger_.Next(kBatchMax)) {
    decided.push_back(DecideOne(std::move(pending)));
    bytes += decided.back().outcome.ByteSizeLong();
    if (bytes >= kBatchBytes) {
      break;  // the others are next
    }
  }
  if (decided.empty()) {
    return absl::OkStatus();
  }
  if (std::ranges::any_of(decided, [](const Decided& one) { return one.control.has_value(); })) {
    RETURN_IF_ERROR(AppendControls(decided));
    // After the append: it is then the history with these in it that is compared. What is told now
    // hides what was told before, whose loss nobody would find any more.
    RETURN_IF_ERROR(CheckTold());
  }
  std::vector<eventlog::Event> outcomes;
  outcomes.reserve(decided.size());
  for (const Decided& one : decided) {
    outcomes.push_back(OutcomeEvent(one.pending.org, one.outcome, one.pending.cause));
  }
  return AppendOutcomes(std::move(outcomes));
}

absl::Status PartitionSequencer::AnnounceDeletedStores() {
  std::vector<eventlog::Event> outcomes;
  for (const OrgId& org : ledger_.closing()) {
    const auto entry = ledger_.directory().Find(org);
    if (entry == nullptr || store_applied_(org) < entry->last_control) {
      continue;
    }
    v1::ProvisioningOutcome outcome;
    outcome.set_request_id(fmt::format("store-deleted/{}/{}", org.value(), entry->incarnation));
    outcome.set_request_offset(-1);
    outcome.set_changes_offset(kNoOffset.value());
    outcome.mutable_store_deleted()->set_incarnation(entry->incarnation);
    // No caller's doing: the sequencer's own, of what the stores have come to.
    outcomes.push_back(OutcomeEvent(org, outcome, eventlog::Cause{"sluice/provisioning", "", ""}));
    if (outcomes.size() == kBatchMax) {
      break;
    }
  }
  return outcomes.empty() ? absl::OkStatus() : AppendOutcomes(std::move(outcomes));
}

}  // namespace sluice::projectors

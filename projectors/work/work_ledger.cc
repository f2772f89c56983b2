#include "projectors/work/work_ledger.h"

#include <algorithm>
#include <chrono>

#include "fmt/format.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using std::chrono::microseconds;

constexpr std::chrono::hours kToldWithin{48};  // of a mark
constexpr size_t kHoursMax = 24 * 8;
constexpr std::chrono::hours kForgotten{8 * 24};

absl::Status Malformed(const eventlog::StoredEvent& event, std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "malformed_event",
               fmt::format("work, offset {}: {}", event.offset.value(), why));
}

template <typename Message>
absl::StatusOr<Message> Parse(const eventlog::StoredEvent& event) {
  Message message;
  if (!message.ParseFromString(event.event.value)) {
    return Malformed(event, fmt::format("no {}", event.event.type));
  }
  return message;
}

absl::StatusOr<StreamKey> KeyOf(const eventlog::StoredEvent& event, const v1::StreamName& name) {
  ASSIGN_OR_RETURN(OrgId org, OrgId::Parse(event.event.key));
  if (name.source().empty()) {
    return Malformed(event, "no source");
  }
  return StreamKey{std::move(org), name.incarnation(), name.source(), name.stream()};
}

template <typename Message>
bool Counts(const StreamWork& work, const Message& message) {
  return work.open.has_value() && work.open->id() == message.item() &&
         work.attempt == message.attempt() && message.attempt() > 0;
}

// What is told of a chain is right whoever tells it and whenever, so the one that has read furthest
// is believed.
template <typename Message>
void TellState(const eventlog::StoredEvent& event, const Message& message, StreamWork& work) {
  const Offset next(message.changes_next());
  if (next < work.changes_next) {
    return;
  }
  // A set whose cursor stays is read again by the next attempt: what always breaks behind it comes
  // to an end only because such sets count for nothing.
  if (message.state().number() > work.state.number() &&
      (message.state().cursor() != work.state.cursor() ||
       message.state().epoch() != work.state.epoch())) {
    work.fruitless = 0;
  }
  work.state = message.state();
  work.bound = message.stream().epoch();
  work.changes_next = next;
  work.told_at = event.event.time;
}

}  // namespace

bool MayBegin(const StreamWork& work, SystemTime now) {
  return work.not_before <= now || work.not_before > now + work.wait + kSkewMax;
}

void WorkLedger::Begin(bool whole) {
  *this = WorkLedger();
  whole_ = whole;
}

absl::Status WorkLedger::Apply(const eventlog::StoredEvent& event) {
  const SystemTime time = event.event.time;
  first_time_ = std::min(first_time_.value_or(time), time);
  if (hours_.empty() || time - hours_.back().first >= std::chrono::hours(1)) {
    DropUnheard(time - kForgotten);
    hours_.emplace_back(time, event.offset);
    if (hours_.size() > kHoursMax) {
      hours_.pop_front();
    }
  }
  const std::string& type = event.event.type;
  if (type == v1::WorkItem::descriptor()->full_name()) {
    return ApplyItem(event);
  }
  if (type == v1::WorkStarted::descriptor()->full_name()) {
    return ApplyStarted(event);
  }
  if (type == v1::WorkProgress::descriptor()->full_name()) {
    return ApplyProgress(event);
  }
  if (type == v1::WorkDone::descriptor()->full_name()) {
    return ApplyDone(event);
  }
  if (type == v1::WorkFailed::descriptor()->full_name()) {
    return ApplyFailed(event);
  }
  if (type == v1::WorkMark::descriptor()->full_name()) {
    return ApplyMark(event);
  }
  return absl::OkStatus();
}

absl::Status WorkLedger::ApplyItem(const eventlog::StoredEvent& event) {
  ASSIGN_OR_RETURN(const v1::WorkItem item, Parse<v1::WorkItem>(event));
  ASSIGN_OR_RETURN(const StreamKey key, KeyOf(event, item.stream()));
  if (item.id().empty()) {
    return Malformed(event, "an item without an id");
  }
  StreamWork& work = streams_[key];
  work.heard = event.event.time;
  const int64_t epoch = item.stream().epoch();
  if (epoch < work.epoch) {
    return absl::OkStatus();
  }
  if (epoch > work.epoch) {  // the source began anew: what was open was of the one before
    work.epoch = epoch;
    work.open.reset();
    work.last_due_us = 0;
  }
  // Schedulers of two processes, one of which was paused, append the same items, or older ones.
  const bool scheduled = item.reason() == v1::WorkItem::REASON_SCHEDULED;
  if (SystemTime(microseconds(work.last_due_us)) > event.event.time + kSkewMax) {
    work.last_due_us = 0;
  }
  if (work.open.has_value() ||
      (scheduled ? item.due_us() <= work.last_due_us : item.request() <= work.last_request)) {
    return absl::OkStatus();
  }
  if (scheduled) {
    work.last_due_us = item.due_us();
  }
  work.last_request = std::max(work.last_request, item.request());
  work.open = item;
  work.attempt = 0;
  work.running = false;
  work.started_id.clear();
  work.fruitless = 0;
  work.not_before = SystemTime();
  work.wait = {};
  return absl::OkStatus();
}

absl::Status WorkLedger::ApplyStarted(const eventlog::StoredEvent& event) {
  ASSIGN_OR_RETURN(const v1::WorkStarted started, Parse<v1::WorkStarted>(event));
  ASSIGN_OR_RETURN(const StreamKey key, KeyOf(event, started.stream()));
  const auto found = streams_.find(key);
  if (found == streams_.end()) {
    return absl::OkStatus();
  }
  StreamWork& work = found->second;
  if (!work.open.has_value() || work.open->id() != started.item() ||
      started.attempt() != work.attempt + 1) {
    return absl::OkStatus();
  }
  work.attempt = started.attempt();
  work.running = true;
  work.started_id = event.event.id;
  work.started = event.offset;
  work.heard = event.event.time;
  ++work.fruitless;
  return absl::OkStatus();
}

absl::Status WorkLedger::ApplyProgress(const eventlog::StoredEvent& event) {
  ASSIGN_OR_RETURN(const v1::WorkProgress progress, Parse<v1::WorkProgress>(event));
  ASSIGN_OR_RETURN(const StreamKey key, KeyOf(event, progress.stream()));
  StreamWork& work = streams_[key];
  TellState(event, progress, work);
  if (Counts(work, progress)) {
    work.heard = event.event.time;
    work.numbers = progress.numbers();
  }
  return absl::OkStatus();
}

absl::Status WorkLedger::ApplyDone(const eventlog::StoredEvent& event) {
  ASSIGN_OR_RETURN(const v1::WorkDone done, Parse<v1::WorkDone>(event));
  ASSIGN_OR_RETURN(const StreamKey key, KeyOf(event, done.stream()));
  StreamWork& work = streams_[key];
  TellState(event, done, work);
  if (Counts(work, done)) {
    work.heard = event.event.time;
    work.numbers = done.numbers();
    work.error_code.clear();
    work.error_detail.clear();
    work.last_run = event.event.time;
    work.running = false;
    work.open.reset();
  }
  return absl::OkStatus();
}

absl::Status WorkLedger::ApplyFailed(const eventlog::StoredEvent& event) {
  ASSIGN_OR_RETURN(const v1::WorkFailed failed, Parse<v1::WorkFailed>(event));
  ASSIGN_OR_RETURN(const StreamKey key, KeyOf(event, failed.stream()));
  const auto found = streams_.find(key);
  if (found == streams_.end() || !Counts(found->second, failed)) {
    return absl::OkStatus();
  }
  StreamWork& work = found->second;
  work.heard = event.event.time;
  work.running = false;
  work.not_before = SystemTime(microseconds(failed.retry_at_us()));
  work.wait = std::max(work.not_before - event.event.time, SystemTime::duration(0));
  if (failed.code().empty()) {
    work.fruitless -= work.fruitless > 0 ? 1 : 0;
  } else {
    work.numbers = failed.numbers();
    work.error_code = failed.code();
    work.error_detail = failed.detail();
    work.failed_at = event.event.time;
  }
  if (failed.final()) {
    work.open.reset();
  }
  return absl::OkStatus();
}

absl::Status WorkLedger::ApplyMark(const eventlog::StoredEvent& event) {
  ASSIGN_OR_RETURN(const v1::WorkMark mark, Parse<v1::WorkMark>(event));
  if (mark.log_id() != log_id_) {
    // Places in `changes` that were told of another history are places of nothing.
    for (auto& [key, work] : streams_) {
      work.changes_next = kNoOffset;
      work.state.Clear();
      work.bound = -1;
    }
    log_id_ = mark.log_id();
    mark_ = kNoOffset;
  }
  mark_ = std::max(mark_, Offset(mark.changes_next()));
  marked_at_ = event.event.time;
  return absl::OkStatus();
}

const StreamWork* WorkLedger::Find(const StreamKey& key) const {
  const auto found = streams_.find(key);
  return found == streams_.end() ? nullptr : &found->second;
}

void WorkLedger::DropUnheard(SystemTime before) {
  std::erase_if(streams_, [before](const auto& entry) {
    return entry.second.heard < before && entry.second.told_at < before;
  });
}

std::optional<Offset> WorkLedger::Marked(std::string_view log_id) const {
  if (log_id_ != log_id || log_id_.empty() ||
      (!whole_ && marked_at_ - *first_time_ < kToldWithin)) {
    return std::nullopt;
  }
  return mark_;
}

Offset WorkLedger::FirstKept(SystemTime now) const {
  Offset first = kNoOffset;
  for (const auto& [time, offset] : hours_) {
    if (now - time >= kWorkKept + std::chrono::hours(1)) {
      first = offset;  // everything before is older, too
    }
  }
  return first;
}

}  // namespace sluice::projectors

#include "gateways/events/event_intake.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/time/time.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using projectors::OrgEntry;
using std::chrono::milliseconds;

constexpr milliseconds kLook{1'000};
// So often in a row may others change a source while an event is about it.
constexpr size_t kConflictsMax = 100;

constexpr char kEventsName[] = "sluice_events_total";
constexpr char kEventsHelp[] = "Business events, by what became of them";

absl::Status Cancelled() {
  return Error(absl::StatusCode::kCancelled, "cancelled", "the event was not waited for any more");
}

// Is it the log or the place that fails, and not the event?
bool MayPass(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsDeadlineExceeded(status) ||
         absl::IsResourceExhausted(status) || absl::IsDataLoss(status);
}

}  // namespace

EventIntake::EventIntake(EventIntakeOptions options, EventIntakeDeps deps)
    : options_(options),
      deps_(std::move(deps)),
      registry_(RegistryOrNew(deps_.registry)),
      done_(AddCounter(*registry_, kEventsName, kEventsHelp, {{"end", "done"}})),
      refused_(AddCounter(*registry_, kEventsName, kEventsHelp, {{"end", "refused"}})),
      cancelled_(AddCounter(*registry_, kEventsName, kEventsHelp, {{"end", "cancelled"}})),
      retries_(AddCounter(*registry_, "sluice_event_retries_total",
                          "Tries of business events that failed for a reason that passes")),
      waiting_(AddGauge(*registry_, "sluice_events_waiting",
                        "Business events that have been taken and are not decided")) {
  AddGauge(*registry_, "sluice_events_waiting_limit",
           "The most that sluice_events_waiting may be; past it they are refused as too_busy")
      .Set(static_cast<double>(options_.events_max));
}

bool EventIntake::MakeThread() {
  try {
    threads_.emplace_back([this] { Work(); });
    return true;
  } catch (const std::system_error& error) {
    spdlog::warn("event_thread_failed threads={} error=\"{}\"", threads_.size(), error.what());
    return !threads_.empty();  // those that there are do the work
  }
}

absl::Status EventIntake::Submit(Job job) {
  const absl::MutexLock lock(&mutex_);
  if (stopping_) {
    return Cancelled();
  }
  const bool full = events_ >= options_.events_max ||
                    (events_ > 0 && bytes_ + job.event.bytes > options_.bytes_max);
  if (full || (threads_.empty() && !MakeThread())) {
    return Error(absl::StatusCode::kUnavailable, "too_busy",
                 "as many events wait as may: send it again later");
  }
  const OrgId org = job.event.org;
  bytes_ += job.event.bytes;
  std::deque<Waiting>& queue = queues_[org];
  queue.emplace_back(std::move(job), options_);
  waiting_.Set(static_cast<double>(++events_));
  if (queue.size() == 1) {
    ready_.push_back(org);
    if (ready_.size() > idle_ && threads_.size() < options_.orgs_at_once) {
      MakeThread();
    }
    changed_.Signal();
  }
  return absl::OkStatus();
}

std::optional<OrgId> EventIntake::AwaitTurn() {
  const absl::MutexLock lock(&mutex_);
  while (!stopping_) {
    const SteadyTime now = deps_.clock.SteadyNow();
    while (!delayed_.empty() && delayed_.begin()->first <= now) {
      ready_.push_back(delayed_.begin()->second);
      delayed_.erase(delayed_.begin());
    }
    if (!ready_.empty()) {
      OrgId org = std::move(ready_.front());
      ready_.pop_front();
      return org;
    }
    SteadyTime::duration wait = kLook;
    if (!delayed_.empty()) {
      wait = std::min(wait, delayed_.begin()->first - now);
    }
    ++idle_;
    changed_.WaitWithTimeout(&mutex_, absl::FromChrono(wait));
    --idle_;
  }
  return std::nullopt;
}

EventIntake::Waiting& EventIntake::First(const OrgId& org) {
  const absl::MutexLock lock(&mutex_);
  return queues_.at(org).front();  // what is added behind it leaves it where it is
}

void EventIntake::Work() {
  while (const std::optional<OrgId> org = AwaitTurn()) {
    Waiting& waiting = First(*org);
    absl::StatusOr<Offset> outcome = Try(waiting);
    if (!MayPass(outcome.status())) {
      Finish(*org, std::move(outcome));
      continue;
    }
    retries_.Increment();
    const milliseconds wait = waiting.retry.Next();
    spdlog::warn("event_failed org={} code={} error=\"{}\" retry_ms={}", org->value(),
                 ErrorCode(outcome.status()), Message(outcome.status()), wait.count());
    TryLater(*org, wait);
  }
}

void EventIntake::TryLater(const OrgId& org, milliseconds wait) {
  const absl::MutexLock lock(&mutex_);
  delayed_.emplace(deps_.clock.SteadyNow() + wait, org);
  changed_.Signal();
}

void EventIntake::Finish(const OrgId& org, absl::StatusOr<Offset> outcome) {
  (outcome.ok() ? done_ : absl::IsCancelled(outcome.status()) ? cancelled_ : refused_).Increment();
  Done done;
  {
    const absl::MutexLock lock(&mutex_);
    const auto queue = queues_.find(org);
    Job& job = queue->second.front().job;
    bytes_ -= job.event.bytes;
    done = std::move(job.done);
    queue->second.pop_front();
    waiting_.Set(static_cast<double>(--events_));
    if (queue->second.empty()) {
      queues_.erase(queue);
    } else {
      ready_.push_back(org);
      changed_.Signal();
    }
  }
  done(std::move(outcome));
}

absl::StatusOr<Offset> EventIntake::Try(Waiting& waiting) {
  const BusinessEvent& event = waiting.job.event;
  for (; waiting.step < event.steps.size(); ++waiting.step) {
    if (*waiting.job.cancelled) {
      return Cancelled();
    }
    ASSIGN_OR_RETURN(const Offset position, CarryOut(event, waiting.step, waiting.job.cause));
    waiting.position = std::max(waiting.position, position);
  }
  return waiting.position;
}

absl::StatusOr<std::optional<v1::ProvisioningRequest>> EventIntake::RequestOf(
    const OrgId& org, const BusinessStep& step) {
  if (const auto* request = std::get_if<v1::ProvisioningRequest>(&step)) {
    return *request;
  }
  if (const auto* source = std::get_if<SourceDefinition>(&step)) {
    return deps_.put_source(org, *source);
  }
  const auto& change = std::get<SourceEntityChange>(step);
  // What is not known here may be known to the log: a last word is made of all of that.
  for (const bool reached : {false, true}) {
    if (reached) {
      RETURN_IF_ERROR(deps_.reach(org));
    }
    const std::shared_ptr<const OrgEntry> entry = deps_.find(org);
    const bool known = entry != nullptr && entry->sources.contains(change.source);
    if (known) {
      return deps_.change_entity(*entry, change);
    }
  }
  if (!change.enabled) {
    return std::nullopt;
  }
  if (deps_.find(org) == nullptr) {
    return Error(absl::StatusCode::kNotFound, "org_not_found", "there is no organisation '{}'",
                 org.value());
  }
  return Error(absl::StatusCode::kNotFound, "source_not_found",
               "organisation '{}' has no source '{}'", org.value(), change.source);
}

absl::StatusOr<Offset> EventIntake::CarryOut(const BusinessEvent& event, size_t step,
                                             const eventlog::Cause& cause) {
  RETURN_IF_ERROR(deps_.may_decide(event.org));
  for (size_t attempt = 0; attempt < kConflictsMax; ++attempt) {
    ASSIGN_OR_RETURN(std::optional<v1::ProvisioningRequest> request,
                     RequestOf(event.org, event.steps[step]));
    if (!request.has_value()) {
      return kNoOffset;
    }
    // Where the event comes again after a conflict, the tries of the first time are passed in the
    // same order: each has its outcome already, and the one that was taken is not made twice.
    request->set_request_id(RequestIdOf(event, step, attempt));
    ASSIGN_OR_RETURN(const projectors::Directory::Outcome outcome,
                     deps_.request(event.org, *request, options_.attempt_timeout, cause));
    if (outcome.status.ok() || IsGoneAnyway(*request, outcome.status)) {
      const std::shared_ptr<const OrgEntry> entry = deps_.find(event.org);
      return outcome.changes_offset != kNoOffset || entry == nullptr ? outcome.changes_offset
                                                                     : entry->last_control;
    }
    const bool changed = std::holds_alternative<SourceEntityChange>(event.steps[step]) &&
                         ErrorCode(outcome.status) == "precondition_failed";
    if (!changed) {
      return outcome.status;
    }
    // By a change that find() may not have come to yet.
    RETURN_IF_ERROR(deps_.reach(event.org));
  }
  return Error(absl::StatusCode::kAborted, "aborted",
               "the source was changed by others all the while: send the event anew");
}

void EventIntake::Stop() {
  std::vector<std::thread> threads;
  {
    const absl::MutexLock lock(&mutex_);
    stopping_ = true;
    changed_.SignalAll();
    threads.swap(threads_);
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::map<OrgId, std::deque<Waiting>> left;
  {
    const absl::MutexLock lock(&mutex_);
    left.swap(queues_);
    events_ = 0;
    bytes_ = 0;
    waiting_.Set(0);
  }
  for (auto& [org, queue] : left) {
    for (Waiting& waiting : queue) {
      cancelled_.Increment();
      waiting.job.done(Cancelled());
    }
  }
}

}  // namespace sluice::gateways

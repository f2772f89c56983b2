#include "gateways/admin/event_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "gateways/events/business_event.h"
#include "gateways/events/cloud_event.h"
#include "gateways/problem.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// What has become of the request's events. The intake may tell of one when nobody waits any more.
struct Outcomes {
  absl::Mutex mutex;
  std::vector<std::optional<absl::StatusOr<Offset>>> ends ABSL_GUARDED_BY(mutex);
  size_t open ABSL_GUARDED_BY(mutex) = 0;
};

struct Named {  // an event of the request
  std::string source;
  std::string id;
  OrgId org;
};

absl::Status NotInTime() {
  return Error(absl::StatusCode::kUnavailable, "provisioning_unavailable",
               "the event was not carried out in time; it may still be, and sending it again is "
               "safe");
}

// Sends the events to the intake, in their order, until it is full: one behind another that was not
// taken would overtake that.
void SubmitAll(EventIntake& intake, std::vector<absl::StatusOr<BusinessEvent>> events,
               const eventlog::Cause& cause,
               const std::shared_ptr<const std::atomic<bool>>& cancelled,
               const std::shared_ptr<Outcomes>& outcomes) {
  absl::Status taken;
  for (size_t i = 0; i < events.size(); ++i) {
    {
      const absl::MutexLock lock(&outcomes->mutex);
      if (!events[i].ok() || !taken.ok()) {
        outcomes->ends[i] = events[i].ok() ? taken : events[i].status();
        continue;
      }
      ++outcomes->open;
    }
    taken = intake.Submit({.event = *std::move(events[i]),
                           .cause = cause,
                           .cancelled = cancelled,
                           .done = [outcomes, i](absl::StatusOr<Offset> end) {
                             const absl::MutexLock lock(&outcomes->mutex);
                             outcomes->ends[i] = std::move(end);
                             --outcomes->open;
                           }});
    if (!taken.ok()) {
      const absl::MutexLock lock(&outcomes->mutex);
      outcomes->ends[i] = taken;
      --outcomes->open;
    }
  }
}

std::string ToJson(const std::vector<Named>& events,
                   const std::vector<absl::StatusOr<Offset>>& ends) {
  std::string body = "{\"events\":[";
  for (size_t i = 0; i < events.size(); ++i) {
    body.append(i == 0 ? "{" : ",{");
    if (!events[i].id.empty()) {
      body.append("\"source\":");
      AppendJsonString(events[i].source, &body);
      body.append(",\"id\":");
      AppendJsonString(events[i].id, &body);
      body.push_back(',');
    }
    if (!ends[i].ok()) {
      body.append("\"error\":").append(ProblemJson(ends[i].status()));
    } else {
      // Of what there was nothing of: it is in effect from the begin.
      body.append(fmt::format("\"position\":\"{}\"", std::max(int64_t{0}, ends[i]->value())));
    }
    body.push_back('}');
  }
  return body.append("]}");
}

}  // namespace

absl::StatusOr<Answer> PostEvents(EventIntake* intake, const AppliedWait& applied,
                                  const RequestContext& context,
                                  std::chrono::milliseconds timeout) {
  if (intake == nullptr) {
    return Error(absl::StatusCode::kNotFound, "not_found", "this server takes no events");
  }
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  ASSIGN_OR_RETURN(CloudEvents read, ReadHttpEvents(context.http, context.body));
  std::vector<Named> named(read.events.size());
  std::vector<absl::StatusOr<BusinessEvent>> events;
  for (size_t i = 0; i < read.events.size(); ++i) {
    if (!read.events[i].ok()) {
      events.emplace_back(read.events[i].status());
      continue;
    }
    const CloudEvent& event = *read.events[i];
    events.push_back(ParseBusinessEvent(event));
    named[i] = {event.source, event.id, events.back().ok() ? events.back()->org : OrgId()};
  }
  const auto outcomes = std::make_shared<Outcomes>();
  const auto cancelled = std::make_shared<std::atomic<bool>>(false);
  {
    const absl::MutexLock lock(&outcomes->mutex);
    outcomes->ends.resize(events.size());
  }
  SubmitAll(*intake, std::move(events), context.Cause(), cancelled, outcomes);
  std::vector<absl::StatusOr<Offset>> ends;
  {
    const absl::MutexLock lock(&outcomes->mutex);
    outcomes->mutex.AwaitWithTimeout(absl::Condition(
                                         +[](size_t* open) { return *open == 0; }, &outcomes->open),
                                     absl::FromChrono(timeout));
    *cancelled = true;
    for (const auto& end : outcomes->ends) {
      const bool given_up = !end.has_value() || absl::IsCancelled(end->status());
      ends.push_back(given_up ? NotInTime() : *end);
    }
  }
  if (!read.batch && !ends.front().ok()) {
    return ends.front().status();
  }
  HttpResponse response;
  response.status = 202;
  response.body = ToJson(named, ends);
  Answer answer(std::move(response));
  if (wait.has_value()) {
    std::vector<std::function<bool()>> reached;
    for (size_t i = 0; i < ends.size(); ++i) {
      if (ends[i].ok() && *ends[i] != kNoOffset) {
        reached.push_back(applied.Reached(named[i].org, *ends[i]));
      }
    }
    answer.wait =
        AnswerWait{.reached =
                       [reached = std::move(reached)] {
                         return std::ranges::all_of(reached, [](const auto& one) { return one(); });
                       },
                   .timeout = *wait};
  }
  return answer;
}

}  // namespace sluice::gateways

#include "gateways/sync/sync_context.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <optional>

#include "gateways/http/request_owner.h"
#include "gateways/problem.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

std::string_view WithoutSlash(std::string_view base) {
  return base.ends_with('/') ? base.substr(0, base.size() - 1) : base;
}

}  // namespace

SessionSlot::~SessionSlot() {
  if (taken_.has_value()) {
    context_.sessions.GiveBack(*taken_);
    context_.metrics.Sessions(-1);
  }
}

absl::Status SessionSlot::Take(const Principal& principal) {
  if (taken_.has_value()) {
    return absl::OkStatus();
  }
  Owner owner = OwnerOf(principal);
  if (!context_.sessions.TryTake(owner)) {
    context_.metrics.Refused("sessions");
    return Error(
        absl::StatusCode::kUnavailable, "too_many_sessions",
        "this server has as many open sessions as it may have, of all, of this organisation or of "
        "this caller: try again later");
  }
  taken_ = std::move(owner);
  context_.metrics.Sessions(1);
  return absl::OkStatus();
}

bool CatchingUp(const SyncContext& context) {
  return context.options.not_ready && !context.options.not_ready().empty();
}

absl::Status MayServe(const SyncContext& context, const OrgId& org) {
  return context.options.may_serve ? context.options.may_serve(org) : absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const projectors::OrgSnapshot>> SnapshotOf(SyncContext& context,
                                                                          const OrgId& org) {
  // "There is no such organisation" makes a client give up, and "it was deleted" makes it delete
  // its rows. So each look below rules out one reason why a store may be missing for a moment, in
  // the order in which it may go and come back: first whether this process may speak at all.
  RETURN_IF_ERROR(MayServe(context, org));
  auto snapshot = context.stores.Snapshot(org);
  if (!absl::IsNotFound(snapshot.status())) {
    return snapshot;
  }
  if (!context.options.may_serve && CatchingUp(context)) {
    return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                 "this server has yet to read the log to its end: try again");
  }
  // Something was applied, and there is no store: it was closed.
  const bool was_here = context.stores.AppliedOf(org) != kNoOffset;
  snapshot = context.stores.Snapshot(org);  // it may have come between the two looks
  if (!absl::IsNotFound(snapshot.status())) {
    return snapshot;
  }
  RETURN_IF_ERROR(MayServe(context, org));  // a store that is set apart or built anew is away, too
  if (context.options.exists) {
    ASSIGN_OR_RETURN(const bool exists, context.options.exists(org));
    if (exists) {
      return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                   "the organisation has not come to this server yet: try again");
    }
  }
  return was_here ? WithWipe(Error(absl::StatusCode::kNotFound, "org_not_found",
                                   "the organisation was deleted"))
                  : snapshot.status();
}

absl::StatusOr<Offset> LogEnds::Ask(const OrgId& org, SteadyTime since, const Clock& clock) {
  constexpr size_t kLogEndsMax = 1'000;
  // The time of asking counts, not that of the answer: an end that was asked for before this
  // request came may lack what its client has written since. The log is asked without the lock, on
  // the one thread of the end pool; whoever queued behind it finds an answer that is new enough for
  // all.
  {
    absl::MutexLock lock(&mutex_);
    const auto found = answers_.find(org);
    if (found != answers_.end() && found->second.asked >= since) {
      return found->second.end;
    }
  }
  const SteadyTime asked = clock.SteadyNow();
  absl::StatusOr<Offset> end = ask_(org);
  absl::MutexLock lock(&mutex_);
  if (answers_.size() >= kLogEndsMax) {
    answers_.clear();  // they are good for those only who wait right now
  }
  answers_.insert_or_assign(org, Answer{asked, end});
  return end;
}

bool IsLastWord(const absl::Status& status) {
  const std::string code = ErrorCode(status);
  return code == "org_not_found" || code == "offline_not_allowed" || code == "org_reprovisioned" ||
         code == "too_many_buckets";
}

Offset FoldedUntil(const SyncContext& context, const OrgId& org) {
  return context.options.folded_until ? context.options.folded_until(org) : kNoOffset;
}

net::awaitable<absl::Status> ReachEnd(SyncContext& context, const OrgId& org) {
  constexpr std::chrono::milliseconds kLook{10};
  if (!context.log_ends.known() || !context.options.folded_until) {
    co_return absl::OkStatus();
  }
  const SteadyTime since = context.clock.SteadyNow();
  const absl::StatusOr<Offset> end = co_await OnThread(context.end_pool, [&context, &org, since] {
    return context.log_ends.Ask(org, since, context.clock);
  });
  // The end is that of the beginning of this wait: a log that grows all the while would otherwise
  // never be reached.
  net::steady_timer pause(co_await net::this_coro::executor);
  while (end.ok() && FoldedUntil(context, org) < *end && MayServe(context, org).ok() &&
         !context.stopping.load() &&
         context.clock.SteadyNow() - since < context.options.catch_up_wait) {
    pause.expires_after(kLook);
    boost::system::error_code ignored;
    co_await pause.async_wait(net::redirect_error(net::use_awaitable, ignored));
  }
  // Why it may not serve says more than that it is behind, and comes first.
  absl::Status may_serve = MayServe(context, org);
  if (may_serve.ok() && (!end.ok() || FoldedUntil(context, org) < *end)) {
    may_serve = Error(absl::StatusCode::kUnavailable, "not_caught_up",
                      "this server has yet to fold what the log has: try again");
  }
  co_return may_serve;
}

net::awaitable<bool> IsBeyondLog(SyncContext& context, const OrgId& org, Offset position,
                                 bool guess) {
  if (!context.log_ends.known()) {
    co_return guess;
  }
  const SteadyTime since = context.clock.SteadyNow();
  const absl::StatusOr<Offset> end = co_await OnThread(context.end_pool, [&context, &org, since] {
    return context.log_ends.Ask(org, since, context.clock);
  });
  co_return end.ok() && position >= *end;
}

HttpResponse Refusal(const SyncContext& context, const HttpRequest& request, const OrgId& org,
                     const absl::Status& status) {
  HttpResponse response = ProblemResponse(status);
  if (ErrorCode(status) != "not_served_here" || !context.options.served_at) {
    return response;
  }
  if (const std::optional<std::string> base = context.options.served_at(org); base.has_value()) {
    response.status = 307;
    response.body = ProblemJson(status, response.status);
    response.headers.clear();  // it need not wait
    response.headers.emplace_back(
        "Location", std::string(WithoutSlash(*base)) + request.target.path +
                        (request.target.query.empty() ? "" : "?") + request.target.query);
  }
  return response;
}

projectors::CallerClaims ClaimsOf(const Principal& principal) {
  return {principal.subject, principal.roles, principal.teams, principal.business_unit};
}

}  // namespace sluice::gateways

#include "gateways/sync/sync_context.h"

#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/this_coro.hpp>
#include <optional>

#include "fmt/format.h"
#include "gateways/http/request_owner.h"
#include "gateways/problem.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

std::string_view WithoutSlash(std::string_view base) {
  return base.ends_with('/') ? base.substr(0, base.size() - 1) : base;
}

}  // namespace

SessionSlot::~SessionSlot() {
  if (taken_ > 0) {
    context_.sessions.GiveBack(*owner_, taken_);
    context_.metrics.Sessions(-1, -static_cast<double>(taken_));
  }
}

absl::Status SessionSlot::Take(const Principal& principal, size_t buckets) {
  // Where there are few places, whoever is alone still gets in with as many buckets as may be.
  const size_t places =
      std::min(1 + buckets / kBucketsPerPlace, 1 + context_.options.sessions_max / 8);
  if (!owner_.has_value()) {
    owner_ = OwnerOf(principal);
  }
  if (places < taken_) {
    context_.sessions.GiveBack(*owner_, taken_ - places);
  } else if (!context_.sessions.TryTake(*owner_, places - taken_)) {
    context_.account.Refused("sessions");
    return Error(
        absl::StatusCode::kUnavailable, "too_many_sessions",
        fmt::format("this server has as many open sessions as it may have, of all, of this "
                    "organisation or of this caller, whose {} buckets take {} places: try again "
                    "later",
                    buckets, places));
  }
  context_.metrics.Sessions(taken_ == 0 ? 1 : 0,
                            static_cast<double>(places) - static_cast<double>(taken_));
  taken_ = places;
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

bool IsLastWord(const absl::Status& status) {
  const std::string code = ErrorCode(status);
  return code == "org_not_found" || code == "offline_not_allowed" || code == "org_reprovisioned" ||
         code == "too_many_buckets";
}

Offset FoldedUntil(const SyncContext& context, const OrgId& org) {
  return context.options.folded_until ? context.options.folded_until(org) : kNoOffset;
}

namespace {

// Another look is taken after so long, and none once `since` is SyncOptions::catch_up_wait ago.
net::awaitable<void> PauseBetweenLooks() {
  net::steady_timer pause(co_await net::this_coro::executor);
  pause.expires_after(std::chrono::milliseconds(10));
  boost::system::error_code ignored;
  co_await pause.async_wait(net::redirect_error(net::use_awaitable, ignored));
}

bool MayWait(const SyncContext& context, SteadyTime since) {
  return !context.stopping.load() &&
         context.clock.SteadyNow() - since < context.options.catch_up_wait;
}

// The end that the log has at `since` or later. A partition that does not answer makes those wait
// who ask for it, no longer than they may, and nobody else.
net::awaitable<absl::StatusOr<Offset>> EndSince(const SyncContext& context, const OrgId& org,
                                                SteadyTime since) {
  auto end = context.options.log_end(org, context.clock.SteadyNow() - since);
  while (!end.has_value() && MayWait(context, since)) {
    co_await PauseBetweenLooks();
    end = context.options.log_end(org, context.clock.SteadyNow() - since);
  }
  if (!end.has_value()) {
    co_return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                    "the log does not say where it ends: try again");
  }
  co_return *std::move(end);
}

}  // namespace

net::awaitable<absl::Status> ReachEnd(SyncContext& context, const OrgId& org) {
  if (!KnowsLogEnd(context) || !context.options.folded_until) {
    co_return absl::OkStatus();
  }
  const SteadyTime since = context.clock.SteadyNow();
  const absl::StatusOr<Offset> end = co_await EndSince(context, org, since);
  // The end is that of the beginning of this wait: a log that grows all the while would otherwise
  // never be reached.
  while (end.ok() && FoldedUntil(context, org) < *end && MayServe(context, org).ok() &&
         MayWait(context, since)) {
    co_await PauseBetweenLooks();
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
  if (!KnowsLogEnd(context)) {
    co_return guess;
  }
  const absl::StatusOr<Offset> end = co_await EndSince(context, org, context.clock.SteadyNow());
  if (!end.ok()) {
    co_return false;
  }
  const auto& is_lost = context.options.is_lost;
  co_return is_lost != nullptr ? is_lost(org, position, *end) : position >= *end;
}

HttpResponse Refusal(const SyncContext& context, const SyncRequest& request, const OrgId& org,
                     const absl::Status& status) {
  HttpResponse response = ProblemResponse(status);
  if (ErrorCode(status) != "not_served_here" || !context.options.served_at) {
    return response;
  }
  if (const std::optional<std::string> base = context.options.served_at(org); base.has_value()) {
    response.status = 307;
    response.body = ProblemJson(status, response.status);
    response.headers.clear();  // it need not wait
    response.headers.emplace_back("Location", std::string(WithoutSlash(*base)) + request.http.path +
                                                  (request.http.query.empty() ? "" : "?") +
                                                  request.http.query);
  }
  return response;
}

projectors::CallerClaims ClaimsOf(const Principal& principal) {
  return {principal.subject, principal.roles, principal.teams, principal.business_unit};
}

}  // namespace sluice::gateways

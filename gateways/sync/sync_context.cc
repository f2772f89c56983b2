#include "gateways/sync/sync_context.h"

#include <optional>

#include "schemas/status.h"

namespace sluice::gateways {

SessionSlot::~SessionSlot() {
  if (taken_) {
    context_.sessions.fetch_sub(1);
    context_.metrics.Sessions(-1);
  }
}

absl::Status SessionSlot::Take() {
  if (taken_) {
    return absl::OkStatus();
  }
  if (context_.sessions.fetch_add(1) >= context_.options.sessions_max) {
    context_.sessions.fetch_sub(1);
    context_.metrics.Refused("sessions");
    return Error(absl::StatusCode::kUnavailable, "too_many_sessions",
                 "this server has as many open sessions as it may have: try again later");
  }
  taken_ = true;
  context_.metrics.Sessions(1);
  return absl::OkStatus();
}

net::awaitable<absl::StatusOr<std::shared_ptr<const Principal>>> Authorize(
    SyncContext& context, const HttpRequest& request) {
  using Result = absl::StatusOr<std::shared_ptr<const Principal>>;
  std::optional<Result> quick = context.authenticator.TryAuthenticate(request.authorization);
  Result principal = absl::UnknownError("");
  if (quick.has_value()) {
    principal = *std::move(quick);
  } else {
    principal = co_await OnStoreThread(context, [&context, &request]() -> Result {
      return context.authenticator.Authenticate(request.authorization);
    });
  }
  if (!principal.ok()) {
    co_return principal;
  }
  if (absl::Status status = RequireScope(**principal, Scope::kSync); !status.ok()) {
    co_return status;
  }
  if (absl::Status status = RequireOrg(**principal, request.target.org); !status.ok()) {
    co_return status;
  }
  co_return principal;
}

bool CatchingUp(const SyncContext& context) {
  return context.options.not_ready && !context.options.not_ready().empty();
}

absl::StatusOr<std::shared_ptr<const projectors::OrgSnapshot>> SnapshotOf(SyncContext& context,
                                                                          const OrgId& org) {
  auto snapshot = context.stores.Snapshot(org);
  if (!absl::IsNotFound(snapshot.status())) {
    return snapshot;
  }
  if (CatchingUp(context)) {
    return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                 "this server has yet to read the log to its end: try again");
  }
  return context.stores.Snapshot(org);  // it may have come between the two looks
}

projectors::CallerClaims ClaimsOf(const Principal& principal) {
  return {principal.subject, principal.roles, principal.teams, principal.business_unit};
}

}  // namespace sluice::gateways

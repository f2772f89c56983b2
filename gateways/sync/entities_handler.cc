#include "gateways/sync/entities_handler.h"

#include <utility>

#include "gateways/sync/entity_json.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

struct BuiltList {
  std::string body;
  FairBudget::Share share;
};

// On a thread that may block.
absl::StatusOr<std::string> Build(SyncContext& context, const OrgId& org,
                                  const projectors::CallerClaims& caller) {
  ASSIGN_OR_RETURN(const auto snapshot, SnapshotOf(context, org));
  ASSIGN_OR_RETURN(const auto entities, snapshot->model()->EntitiesOf(caller));
  return R"({"entities":)" + EntitiesJson(entities) + "}";
}

// Callers take turns, as for pages of rows: a list may be as large, and as much work, as one.
net::awaitable<absl::StatusOr<BuiltList>> BuildInTurn(SyncContext& context, const OrgId& org,
                                                      const projectors::CallerClaims& caller) {
  absl::StatusOr<FairBudget::Share> share =
      co_await context.budget.Take(org.value(), caller.user, context.options.page_bytes_max,
                                   context.clock.SteadyNow() + context.options.answer_wait);
  if (!share.ok()) {
    co_return share.status();
  }
  absl::StatusOr<std::string> body = co_await OnStoreThread(
      context, org, caller.user, [&] { return Build(context, org, caller); });
  if (!body.ok()) {
    co_return body.status();
  }
  share->Keep(body->size());
  co_return BuiltList{*std::move(body), *std::move(share)};
}

}  // namespace

net::awaitable<HttpResponse> HandleEntities(SyncContext& context, const SyncRequest& request) {
  const absl::StatusOr<OrgId> org = OrgId::Parse(request.match.org);
  if (!org.ok()) {
    co_return ProblemResponse(org.status());
  }
  const projectors::CallerClaims caller = ClaimsOf(*request.principal);
  absl::StatusOr<BuiltList> built = co_await BuildInTurn(context, *org, caller);
  if (IsLastWord(built.status())) {
    const absl::Status reached = co_await ReachEnd(context, *org);
    if (!reached.ok()) {
      built = reached;
    } else {
      built = co_await BuildInTurn(context, *org, caller);
    }
  }
  absl::Status may = built.status();
  if (may.ok()) {  // it may have waited past its token's end
    may = RequireUnexpired(*request.principal, context.clock.Now());
  }
  if (may.ok()) {
    may = MayServe(context, *org);
  }
  HttpResponse response;
  if (may.ok()) {
    response.body = std::move(built->body);
    response.held = std::make_shared<FairBudget::Share>(std::move(built->share));
  } else {
    response = Refusal(context, request, *org, may);
  }
  response.note.subject = request.principal->subject;
  co_return response;
}

}  // namespace sluice::gateways

#include "gateways/sync/entities_handler.h"

#include "gateways/sync/entity_json.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

// On a thread that may block.
absl::StatusOr<std::string> Build(SyncContext& context, const OrgId& org,
                                  const projectors::CallerClaims& caller) {
  ASSIGN_OR_RETURN(const auto snapshot, SnapshotOf(context, org));
  ASSIGN_OR_RETURN(const auto entities, snapshot->model()->EntitiesOf(caller));
  return R"({"entities":)" + EntitiesJson(entities) + "}";
}

}  // namespace

net::awaitable<HttpResponse> HandleEntities(SyncContext& context, const HttpRequest& request) {
  const absl::StatusOr<OrgId> org = OrgId::Parse(request.target.org);
  if (!org.ok()) {
    co_return ProblemResponse(org.status());
  }
  const projectors::CallerClaims caller = ClaimsOf(*request.principal);
  absl::StatusOr<std::string> body =
      co_await OnStoreThread(context, [&] { return Build(context, *org, caller); });
  if (IsLastWord(body.status())) {
    const absl::Status reached = co_await ReachEnd(context, *org);
    if (!reached.ok()) {
      body = reached;
    } else {
      body = co_await OnStoreThread(context, [&] { return Build(context, *org, caller); });
    }
  }
  HttpResponse response;
  if (const absl::Status may = body.ok() ? MayServe(context, *org) : body.status(); may.ok()) {
    response.body = *std::move(body);
  } else {
    response = Refusal(context, request, *org, may);
  }
  response.note.subject = request.principal->subject;
  co_return response;
}

}  // namespace sluice::gateways

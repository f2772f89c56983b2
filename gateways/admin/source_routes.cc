#include "gateways/admin/source_routes.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "gateways/admin/org_entry.h"
#include "gateways/http/conditional.h"
#include "projectors/provisioning/decide_source.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"

namespace sluice::gateways {
namespace {

// A token that is bound to one organisation may have less read than one of the whole server.
bool IsTenant(const RequestContext& context) {
  return context.principal == nullptr || !context.principal->org.empty();
}

std::string SourceTarget(const RequestContext& context) { return "source/" + context.match.name; }

}  // namespace

absl::StatusOr<Answer> SourceRoutes::Carry(const OrgId& org, v1::ProvisioningRequest request,
                                           RequestContext& context) const {
  // Before anything is appended, as for other definitions: a wait that is none would hide the
  // answer.
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  ASSIGN_OR_RETURN(const auto outcome, directory_.Request(org, std::move(request),
                                                          provisioning_timeout_, context.Cause()));
  RETURN_IF_ERROR(outcome.status);
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  const Offset position =
      outcome.changes_offset == kNoOffset ? entry->last_control : outcome.changes_offset;
  HttpResponse response;
  response.body = fmt::format("{{\"position\":\"{}\"}}", position.value());
  AddEtag(outcome.etag.empty() ? EtagOf(*entry, SourceTarget(context)) : outcome.etag, response);
  Answer answer(std::move(response));
  if (wait.has_value()) {
    answer.wait = AnswerWait{.reached = applied_.Reached(org, position), .timeout = *wait};
  }
  return answer;
}

absl::StatusOr<Answer> SourceRoutes::Put(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(v1::ProvisioningRequest request,
                   service_.MakePut(org, context.match.name, context.body, IsTenant(context)));
  SetPreconditions(context.http, request);
  return Carry(org, std::move(request), context);
}

absl::StatusOr<Answer> SourceRoutes::Delete(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  RETURN_IF_ERROR(projectors::CheckSourceName(context.match.name));
  v1::ProvisioningRequest request;
  request.mutable_delete_source()->set_name(context.match.name);
  SetPreconditions(context.http, request);
  return Carry(org, std::move(request), context);
}

absl::StatusOr<Answer> SourceRoutes::Get(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  HttpResponse response;
  ASSIGN_OR_RETURN(response.body, service_.Show(*entry, context.match.name));
  // Of the definition: how the source is changes all the time.
  AddEtag(EtagOf(*entry, SourceTarget(context)), response);
  return response;
}

absl::StatusOr<Answer> SourceRoutes::List(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  std::string body = "{\"sources\":[";
  for (const auto& [name, source] : entry->sources) {
    ASSIGN_OR_RETURN(const std::string one, service_.Show(*entry, name));
    body.append(body.back() == '[' ? "" : ",").append(one);
  }
  body.append("]}");
  return HttpResponse{.body = std::move(body)};
}

absl::StatusOr<Answer> SourceRoutes::Check(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  RETURN_IF_ERROR(projectors::CheckSourceName(context.match.name));
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  HttpResponse response;
  ASSIGN_OR_RETURN(response.body,
                   service_.Check(*entry, context.match.name, context.body, IsTenant(context)));
  return response;
}

absl::StatusOr<Answer> SourceRoutes::Run(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  RETURN_IF_ERROR(projectors::CheckSourceName(context.match.name));
  v1::ProvisioningRequest request;
  auto& run = *request.mutable_run_source();
  run.set_name(context.match.name);
  if (!context.body.empty()) {
    ASSIGN_OR_RETURN(const nlohmann::json body, ParseStrictObject(context.body));
    RETURN_IF_ERROR(CheckMembers(body, "a run", {"entity", "reload"}));
    ASSIGN_OR_RETURN(const std::optional<std::string> entity,
                     StringMember(body, "a run", "entity"));
    run.set_entity(entity.value_or(""));
    if (const auto reload = body.find("reload"); reload != body.end()) {
      if (!reload->is_boolean()) {
        return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                     "a run: 'reload' is true or false");
      }
      run.set_reload(reload->get<bool>());
    }
  }
  return Carry(org, std::move(request), context);
}

absl::StatusOr<Answer> SourceRoutes::Reseal(RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  ASSIGN_OR_RETURN(v1::ProvisioningRequest request,
                   service_.MakeReseal(*entry, context.match.name));
  return Carry(org, std::move(request), context);
}

}  // namespace sluice::gateways

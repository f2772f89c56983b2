#include "gateways/admin/definition_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "gateways/admin/preconditions.h"
#include "gateways/http/conditional.h"
#include "gateways/http/negotiation.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/entity_schema.h"

namespace sluice::gateways {
namespace {

using Kind = DefinitionRoutes::Kind;
using projectors::OrgEntry;
using projectors::OrgModel;

constexpr char kProtoFile[] = "text/x-protobuf";

bool WantsProto(const HttpHead& http) {
  return MostWanted({"application/json", kProtoFile}, http.HeaderList("Accept")) == 1;
}

std::string_view KindName(Kind kind) {
  switch (kind) {
    case Kind::kEntity:
      return "entity";
    case Kind::kProfile:
      return "profile";
    case Kind::kRole:
      return "role";
  }
  return "";
}

std::string_view ListName(Kind kind) {
  switch (kind) {
    case Kind::kEntity:
      return "entities";
    case Kind::kProfile:
      return "profiles";
    case Kind::kRole:
      return "roles";
  }
  return "";
}

std::string Target(Kind kind, std::string_view name) {
  return fmt::format("{}/{}", KindName(kind), name);
}

absl::StatusOr<std::shared_ptr<const OrgEntry>> FindOrg(const projectors::Directory& directory,
                                                        const OrgId& org) {
  auto entry = directory.Find(org);
  if (entry == nullptr) {
    return Error(absl::StatusCode::kNotFound, "org_not_found",
                 fmt::format("there is no organisation '{}'", org.value()));
  }
  return entry;
}

// The definition's JSON, as PUT takes it; nullopt where there is none.
std::optional<std::string> ToJson(const OrgModel& model, Kind kind, const std::string& name) {
  if (kind == Kind::kEntity) {
    const auto found = model.entities().find(name);
    return found == model.entities().end()
               ? std::nullopt
               : std::make_optional(schemas::EntitySchemaToJson(found->second->proto()));
  }
  if (kind == Kind::kProfile) {
    const auto found = model.profiles().find(name);
    return found == model.profiles().end()
               ? std::nullopt
               : std::make_optional(projectors::ProfileToJson(*found->second));
  }
  const auto found = model.roles().find(name);
  return found == model.roles().end() ? std::nullopt
                                      : std::make_optional(projectors::RoleToJson(*found->second));
}

std::vector<std::string> Names(const OrgModel& model, Kind kind) {
  std::vector<std::string> names;
  const auto collect = [&](const auto& definitions) {
    for (const auto& [name, definition] : definitions) {
      names.push_back(name);
    }
  };
  if (kind == Kind::kEntity) {
    collect(model.entities());
  } else if (kind == Kind::kProfile) {
    collect(model.profiles());
  } else {
    collect(model.roles());
  }
  return names;
}

absl::StatusOr<v1::ProvisioningRequest> ParsePut(Kind kind, const std::string& name,
                                                 const std::string& body) {
  v1::ProvisioningRequest request;
  if (kind == Kind::kEntity) {
    ASSIGN_OR_RETURN(*request.mutable_put_entity(), schemas::ParseEntityDefinition(name, body));
  } else if (kind == Kind::kProfile) {
    ASSIGN_OR_RETURN(*request.mutable_put_profile()->mutable_profile(),
                     projectors::ParseProfile(name, body));
  } else {
    ASSIGN_OR_RETURN(*request.mutable_put_role()->mutable_role(),
                     projectors::ParseRole(name, body));
  }
  return request;
}

}  // namespace

absl::StatusOr<Answer> DefinitionRoutes::Carry(const OrgId& org, const std::string& target,
                                               v1::ProvisioningRequest request,
                                               RequestContext& context) const {
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  SetPreconditions(context.http, request);
  ASSIGN_OR_RETURN(const auto outcome, directory_.Request(org, std::move(request),
                                                          provisioning_timeout_, context.Cause()));
  RETURN_IF_ERROR(outcome.status);
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  // Where nothing had to change, what is there is in effect at the newest control event.
  const Offset position =
      outcome.changes_offset == kNoOffset ? entry->last_control : outcome.changes_offset;
  HttpResponse response;
  response.body = fmt::format("{{\"position\":\"{}\"}}", position.value());
  AddEtag(outcome.etag.empty() ? EtagOf(*entry, target) : outcome.etag, response);
  Answer answer(std::move(response));
  if (wait.has_value()) {
    answer.wait = AnswerWait{
        .reached = applied_.Reached(org, position),
        .timeout = *wait,
        .finish = [](bool reached, HttpResponse& done) { done.status = reached ? 200 : 202; }};
  }
  return answer;
}

absl::StatusOr<Answer> DefinitionRoutes::Put(Kind kind, RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(v1::ProvisioningRequest request,
                   ParsePut(kind, context.match.name, context.body));
  return Carry(org, Target(kind, context.match.name), std::move(request), context);
}

absl::StatusOr<Answer> DefinitionRoutes::Delete(Kind kind, RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  v1::ProvisioningRequest request;
  if (kind == Kind::kEntity) {
    request.mutable_delete_entity()->set_name(context.match.name);
  } else if (kind == Kind::kProfile) {
    request.mutable_delete_profile()->set_name(context.match.name);
  } else {
    request.mutable_delete_role()->set_name(context.match.name);
  }
  return Carry(org, Target(kind, context.match.name), std::move(request), context);
}

absl::StatusOr<Answer> DefinitionRoutes::Get(Kind kind, RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  auto json = ToJson(*entry->model, kind, context.match.name);
  if (!json.has_value()) {
    return Error(absl::StatusCode::kNotFound, fmt::format("{}_not_found", KindName(kind)),
                 fmt::format("organisation '{}' has no {} '{}'", org.value(), KindName(kind),
                             context.match.name));
  }
  const std::string etag = EtagOf(*entry, Target(kind, context.match.name));
  HttpResponse response;
  AddEtag(etag, response);
  if (kind == Kind::kEntity) {
    response.headers.emplace_back("Vary", "Accept");
  }
  if (NotModified(context.http, etag)) {
    response.status = 304;
  } else if (kind == Kind::kEntity && WantsProto(context.http)) {
    // For an app's build: the messages that read this entity's rows.
    response.content_type = kProtoFile;
    response.body = schemas::EntitySchemaToProtoFile(
        entry->model->entities().find(context.match.name)->second->proto(), "sluice.rows");
  } else {
    response.body = *std::move(json);
  }
  return response;
}

absl::StatusOr<Answer> DefinitionRoutes::List(Kind kind, RequestContext& context) const {
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  // Each as GET answers it, with its name and ETag first.
  std::string body = fmt::format("{{\"{}\":[", ListName(kind));
  for (const std::string& name : Names(*entry->model, kind)) {
    body.append(body.back() == '[' ? "{\"name\":" : ",{\"name\":");
    AppendJsonString(name, &body);
    body.append(",\"etag\":");
    AppendJsonString(EtagOf(*entry, Target(kind, name)), &body);
    body.push_back(',');
    body.append(ToJson(*entry->model, kind, name).value_or("{\"\":null}").substr(1));
  }
  body.append("]}");
  return HttpResponse{.body = std::move(body)};
}

}  // namespace sluice::gateways

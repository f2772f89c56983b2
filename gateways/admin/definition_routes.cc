#include "gateways/admin/definition_routes.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "gateways/admin/org_entry.h"
#include "gateways/http/conditional.h"
#include "gateways/http/negotiation.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/entity_schema.h"

namespace sluice::gateways {
namespace {

using projectors::OrgModel;

constexpr char kProtoFile[] = "text/x-protobuf";

bool WantsProto(const HttpHead& http) {
  return MostWanted({"application/json", kProtoFile}, http.HeaderList("Accept")) == 1;
}

enum class Kind { kEntity, kProfile, kRole };

struct KindRow {
  Kind kind;
  std::string_view name;
  std::string_view list;  // the segment of its paths, and the member of a list
};
constexpr KindRow kKinds[] = {{Kind::kEntity, "entity", "entities"},
                              {Kind::kProfile, "profile", "profiles"},
                              {Kind::kRole, "role", "roles"}};

// The kind that the route is of.
const KindRow& KindOf(const RequestContext& context) {
  const std::string_view pattern = context.match.info->pattern;
  return *std::ranges::find_if(kKinds, [pattern](const KindRow& row) {
    return pattern.find(row.list) != std::string_view::npos;
  });
}

std::string Target(const KindRow& kind, std::string_view name) {
  return fmt::format("{}/{}", kind.name, name);
}

// The definition's JSON, as PUT takes it.
std::string JsonOf(const schemas::EntitySchema& entity) {
  return schemas::EntitySchemaToJson(entity.proto());
}
std::string JsonOf(const v1::Profile& profile) { return projectors::ProfileToJson(profile); }
std::string JsonOf(const v1::Role& role) { return projectors::RoleToJson(role); }

// Calls `use` with the definitions of that kind, by name.
template <typename Use>
void WithDefinitions(const OrgModel& model, Kind kind, Use use) {
  if (kind == Kind::kEntity) {
    use(model.entities());
  } else if (kind == Kind::kProfile) {
    use(model.profiles());
  } else {
    use(model.roles());
  }
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
  // Before anything is appended: behind it the answer is what became of the request, and a wait
  // that is none would hide it.
  ASSIGN_OR_RETURN(const auto wait, WaitOf(context.http));
  SetPreconditions(context.http, request);
  ASSIGN_OR_RETURN(const auto outcome, directory_.Request(org, std::move(request),
                                                          provisioning_timeout_, context.Cause()));
  RETURN_IF_ERROR(outcome.status);
  // Behind the outcome, which the directory has by now: what it held before is not what is
  // answered.
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  // Where nothing had to change, what is there is in effect at the newest control event.
  const Offset position =
      outcome.changes_offset == kNoOffset ? entry->last_control : outcome.changes_offset;
  HttpResponse response;
  response.body = fmt::format("{{\"position\":\"{}\"}}", position.value());
  AddEtag(outcome.etag.empty() ? EtagOf(*entry, target) : outcome.etag, response);
  Answer answer(std::move(response));
  if (wait.has_value()) {
    answer.wait = AnswerWait{.reached = applied_.Reached(org, position), .timeout = *wait};
  }
  return answer;
}

absl::StatusOr<Answer> DefinitionRoutes::Put(RequestContext& context) const {
  const KindRow& kind = KindOf(context);
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(v1::ProvisioningRequest request,
                   ParsePut(kind.kind, context.match.name, context.body));
  return Carry(org, Target(kind, context.match.name), std::move(request), context);
}

absl::StatusOr<Answer> DefinitionRoutes::Delete(RequestContext& context) const {
  const KindRow& kind = KindOf(context);
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  v1::ProvisioningRequest request;
  if (kind.kind == Kind::kEntity) {
    request.mutable_delete_entity()->set_name(context.match.name);
  } else if (kind.kind == Kind::kProfile) {
    request.mutable_delete_profile()->set_name(context.match.name);
  } else {
    request.mutable_delete_role()->set_name(context.match.name);
  }
  return Carry(org, Target(kind, context.match.name), std::move(request), context);
}

absl::StatusOr<Answer> DefinitionRoutes::Get(RequestContext& context) const {
  const KindRow& kind = KindOf(context);
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  std::optional<std::string> json;
  WithDefinitions(*entry->model, kind.kind, [&](const auto& definitions) {
    if (const auto found = definitions.find(context.match.name); found != definitions.end()) {
      json = JsonOf(*found->second);
    }
  });
  if (!json.has_value()) {
    return Error(absl::StatusCode::kNotFound, fmt::format("{}_not_found", kind.name),
                 fmt::format("organisation '{}' has no {} '{}'", org.value(), kind.name,
                             context.match.name));
  }
  const std::string etag = EtagOf(*entry, Target(kind, context.match.name));
  HttpResponse response;
  AddEtag(etag, response);
  if (kind.kind == Kind::kEntity) {
    response.headers.emplace_back("Vary", "Accept");
  }
  if (NotModified(context.http, etag)) {
    response.status = 304;
  } else if (kind.kind == Kind::kEntity && WantsProto(context.http)) {
    // For an app's build: the messages that read this entity's rows.
    response.content_type = kProtoFile;
    response.body = schemas::EntitySchemaToProtoFile(
        entry->model->entities().find(context.match.name)->second->proto(), "sluice.rows");
  } else {
    response.body = *std::move(json);
  }
  return response;
}

absl::StatusOr<Answer> DefinitionRoutes::List(RequestContext& context) const {
  const KindRow& kind = KindOf(context);
  ASSIGN_OR_RETURN(const OrgId org, context.Org());
  ASSIGN_OR_RETURN(const auto entry, FindOrg(directory_.directory(), org));
  // Each as GET answers it, with its name and ETag first.
  std::string body = fmt::format("{{\"{}\":[", kind.list);
  WithDefinitions(*entry->model, kind.kind, [&](const auto& definitions) {
    for (const auto& [name, definition] : definitions) {
      body.append(body.back() == '[' ? "{\"name\":" : ",{\"name\":");
      AppendJsonString(name, &body);
      body.append(",\"etag\":");
      AppendJsonString(EtagOf(*entry, Target(kind, name)), &body);
      body.push_back(',');
      body.append(JsonOf(*definition).substr(1));
    }
  });
  body.append("]}");
  return HttpResponse{.body = std::move(body)};
}

}  // namespace sluice::gateways

#include "gateways/sync/entities_handler.h"

#include <algorithm>

#include "schemas/attribute_type.h"
#include "schemas/entity_schema.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

void AppendMember(std::string_view name, std::string_view value, std::string* out) {
  schemas::AppendJsonString(name, out);
  *out += ':';
  schemas::AppendJsonString(value, out);
}

void AppendEntity(const projectors::CallerEntity& entity, std::string* out) {
  *out += '{';
  AppendMember("entity", entity.schema->name(), out);
  *out += ',';
  AppendMember("primary_key", entity.schema->key().name, out);
  *out += R"(,"attributes":[)";
  bool first = true;
  for (const schemas::Attribute& attribute : entity.schema->attributes()) {
    if (std::ranges::binary_search(entity.denied, attribute.id)) {
      continue;
    }
    *out += first ? "{" : ",{";
    first = false;
    AppendMember("name", attribute.name, out);
    *out += ',';
    AppendMember("type", schemas::AttributeTypeName(attribute.type), out);
    if (!attribute.references.empty()) {
      *out += ',';
      AppendMember("references", attribute.references, out);
    }
    *out += '}';
  }
  *out += "]}";
}

// On a thread that may block.
absl::StatusOr<std::string> Build(SyncContext& context, const OrgId& org,
                                  const projectors::CallerClaims& caller) {
  ASSIGN_OR_RETURN(const auto snapshot, SnapshotOf(context, org));
  ASSIGN_OR_RETURN(const auto entities, snapshot->model()->EntitiesOf(caller));
  std::string body = R"({"entities":[)";
  for (const projectors::CallerEntity& entity : entities) {
    body += &entity == &entities.front() ? "" : ",";
    AppendEntity(entity, &body);
  }
  return body + "]}";
}

}  // namespace

net::awaitable<HttpResponse> HandleEntities(SyncContext& context, const HttpRequest& request) {
  const absl::StatusOr<std::shared_ptr<const Principal>> principal =
      co_await Authorize(context, request);
  if (!principal.ok()) {
    co_return ProblemResponse(principal.status());
  }
  const absl::StatusOr<OrgId> org = OrgId::Parse(request.target.org);
  if (!org.ok()) {
    co_return ProblemResponse(org.status());
  }
  const projectors::CallerClaims caller = ClaimsOf(**principal);
  absl::StatusOr<std::string> body =
      co_await OnStoreThread(context, [&] { return Build(context, *org, caller); });
  if (!body.ok()) {
    co_return ProblemResponse(body.status());
  }
  HttpResponse response;
  response.body = *std::move(body);
  co_return response;
}

}  // namespace sluice::gateways

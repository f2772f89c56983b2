#include "gateways/admin/router.h"

namespace sluice::gateways {
namespace {

constexpr RouteInfo<AdminRoute> kRoutes[] = {
    {AdminRoute::kListOrgs, "GET", "/v1/orgs", Scope::kAdmin, "listOrgs"},
    {AdminRoute::kPutOrg, "PUT", "/v1/orgs/{org}", Scope::kAdmin, "putOrg"},
    {AdminRoute::kGetOrg, "GET", "/v1/orgs/{org}", Scope::kAdmin, "getOrg"},
    {AdminRoute::kDeleteOrg, "DELETE", "/v1/orgs/{org}", Scope::kAdmin, "deleteOrg"},
    {AdminRoute::kListDefinitions, "GET", "/v1/orgs/{org}/entities", Scope::kAdmin, "listEntities"},
    {AdminRoute::kPutDefinition, "PUT", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin,
     "putEntity"},
    {AdminRoute::kGetDefinition, "GET", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin,
     "getEntity"},
    {AdminRoute::kDeleteDefinition, "DELETE", "/v1/orgs/{org}/entities/{name}", Scope::kAdmin,
     "deleteEntity"},
    {AdminRoute::kListDefinitions, "GET", "/v1/orgs/{org}/profiles", Scope::kAdmin, "listProfiles"},
    {AdminRoute::kPutDefinition, "PUT", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin,
     "putProfile"},
    {AdminRoute::kGetDefinition, "GET", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin,
     "getProfile"},
    {AdminRoute::kDeleteDefinition, "DELETE", "/v1/orgs/{org}/profiles/{name}", Scope::kAdmin,
     "deleteProfile"},
    {AdminRoute::kListDefinitions, "GET", "/v1/orgs/{org}/roles", Scope::kAdmin, "listRoles"},
    {AdminRoute::kPutDefinition, "PUT", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "putRole"},
    {AdminRoute::kGetDefinition, "GET", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin, "getRole"},
    {AdminRoute::kDeleteDefinition, "DELETE", "/v1/orgs/{org}/roles/{name}", Scope::kAdmin,
     "deleteRole"},
    {AdminRoute::kListSources, "GET", "/v1/orgs/{org}/sources", Scope::kAdmin, "listSources"},
    {AdminRoute::kPutSource, "PUT", "/v1/orgs/{org}/sources/{name}", Scope::kAdmin, "putSource"},
    {AdminRoute::kGetSource, "GET", "/v1/orgs/{org}/sources/{name}", Scope::kAdmin, "getSource"},
    {AdminRoute::kDeleteSource, "DELETE", "/v1/orgs/{org}/sources/{name}", Scope::kAdmin,
     "deleteSource"},
    {AdminRoute::kCheckSource, "POST", "/v1/orgs/{org}/sources/{name}/check", Scope::kAdmin,
     "checkSource"},
    {AdminRoute::kRunSource, "POST", "/v1/orgs/{org}/sources/{name}/run", Scope::kAdmin,
     "runSource"},
    {AdminRoute::kResealSource, "POST", "/v1/orgs/{org}/sources/{name}/reseal", Scope::kAdmin,
     "resealSource"},
    {AdminRoute::kListDeadLetters, "GET", "/v1/orgs/{org}/deadletters", Scope::kAdmin,
     "listDeadLetters"},
    {AdminRoute::kGetDeadLetter, "GET", "/v1/orgs/{org}/deadletters/{name}", Scope::kAdmin,
     "getDeadLetter"},
    {AdminRoute::kDropDeadLetter, "DELETE", "/v1/orgs/{org}/deadletters/{name}", Scope::kAdmin,
     "dropDeadLetter"},
    {AdminRoute::kReplayDeadLetter, "POST", "/v1/orgs/{org}/deadletters/{name}/replay",
     Scope::kAdmin, "replayDeadLetter"},
    {AdminRoute::kPostEvents, "POST", "/v1/events", Scope::kAdmin, "postEvents"},
    {AdminRoute::kIngest, "POST", "/v1/orgs/{org}/changes", Scope::kIngest, "postChanges"},
    {AdminRoute::kHealthz, "GET", "/healthz", std::nullopt, "getHealthz"},
    {AdminRoute::kReadyz, "GET", "/readyz", std::nullopt, "getReadyz"},
    {AdminRoute::kMetrics, "GET", "/metrics", Scope::kAdmin, "getMetrics"},
    {AdminRoute::kOpenApi, "GET", "/openapi.json", std::nullopt, "getOpenApi"},
};

}  // namespace

std::span<const RouteInfo<AdminRoute>> AdminRoutes() { return kRoutes; }

AdminRouteMatch MatchRoute(std::string_view method, std::string_view path) {
  return FindRoute(AdminRoutes(), method, path);
}

}  // namespace sluice::gateways

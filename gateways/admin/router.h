#pragma once

#include <span>
#include <string_view>

#include "gateways/http/router.h"

namespace sluice::gateways {

// The requests that the admin listener answers; openapi.json describes the same ones.
enum class AdminRoute {
  kListOrgs,
  kPutOrg,
  kGetOrg,
  kDeleteOrg,
  kListDefinitions,  // of the kind that the path names: entities, profiles or roles
  kPutDefinition,
  kGetDefinition,
  kDeleteDefinition,
  kListSources,
  kPutSource,
  kGetSource,
  kDeleteSource,
  kCheckSource,
  kRunSource,
  kResealSource,
  kListDeadLetters,
  kGetDeadLetter,
  kDropDeadLetter,
  kReplayDeadLetter,
  kPostEvents,
  kIngest,
  kHealthz,
  kReadyz,
  kMetrics,
  kOpenApi,
};

using AdminRouteMatch = RouteMatch<AdminRoute>;

[[nodiscard]] std::span<const RouteInfo<AdminRoute>> AdminRoutes();

// `path` is as sent.
[[nodiscard]] AdminRouteMatch MatchRoute(std::string_view method, std::string_view path);

}  // namespace sluice::gateways

#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "gateways/auth/authenticator.h"
#include "gateways/http/http_types.h"

// Which of a listener's requests one is. Pure.
namespace sluice::gateways {

// A row of a listener's table: one method of one path. `Id` is the listener's enum of them.
template <typename Id>
struct RouteInfo {
  Id route;
  std::string_view method;     // GET takes HEAD, too
  std::string_view pattern;    // "/v1/orgs/{org}/entities/{name}"
  std::optional<Scope> scope;  // none: open to everybody
  std::string_view operation;  // its label in metrics and the access log
};

struct PathParameters {
  std::string org;   // the path's {org}, decoded, unchecked
  std::string name;  // the path's {name}, decoded, unchecked
};

template <typename Id>
struct RouteMatch : PathParameters {
  const RouteInfo<Id>* info = nullptr;  // nullptr: there is nothing at this path, of which `org` is
                                        // known all the same where it is below one
  std::string allow;  // not empty: the path takes these methods, not the one given, and `info` is
                      // the first row of the path

  [[nodiscard]] bool found() const { return info != nullptr && allow.empty(); }
};

// `path` is as sent: it is cut at '/' before its parts are decoded, so that no other spelling of a
// slash makes another path. A parameter is not empty. nullopt where the pattern is not the path's.
[[nodiscard]] std::optional<PathParameters> MatchPath(std::string_view pattern,
                                                      std::string_view path);

// The organisation that a path below /v1/orgs/ names, decoded and unchecked, whatever comes behind
// it; empty for none.
[[nodiscard]] std::string OrgOfPath(std::string_view path);

template <typename Id>
[[nodiscard]] RouteMatch<Id> FindRoute(std::span<const RouteInfo<Id>> routes,
                                       std::string_view method, std::string_view path) {
  RouteMatch<Id> match;
  for (const RouteInfo<Id>& row : routes) {
    std::optional<PathParameters> parameters = MatchPath(row.pattern, path);
    if (!parameters.has_value()) {
      continue;
    }
    const bool get = row.method == "GET";
    if (row.method == method || (get && method == "HEAD")) {
      return {*std::move(parameters), &row, ""};
    }
    if (match.info == nullptr) {
      match = {*std::move(parameters), &row, ""};
    }
    match.allow.append(match.allow.empty() ? "" : ", ").append(get ? "GET, HEAD" : row.method);
  }
  if (match.info == nullptr) {
    match.org = OrgOfPath(path);  // whose clients ask for what is not there, the access log tells
  }
  return match;
}

// The answer to a request that has no route, where the match is not found(): 404 "not_found", or,
// where only the method is wrong, 405 "method_not_allowed" with the header Allow.
[[nodiscard]] HttpResponse NoRouteResponse(std::string_view method, std::string_view allow);

}  // namespace sluice::gateways

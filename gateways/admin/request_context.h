#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "eventlog/base/ids.h"
#include "gateways/admin/http_server.h"
#include "gateways/admin/router.h"
#include "gateways/auth/authenticator.h"

namespace sluice::gateways {

// One request on its way through the admin gateway.
struct RequestContext {
  HttpRequest& http;
  RouteMatch match;
  std::shared_ptr<const Principal> principal;  // nullptr on open routes

  // The path's organisation; code "invalid_argument" where it is no name for one.
  [[nodiscard]] absl::StatusOr<OrgId> Org() const { return OrgId::Parse(match.org); }
};

inline constexpr std::chrono::milliseconds kWaitMax{60'000};

// `?wait=10s`, cut to a minute; nullopt where it is not given. kInvalidArgument for what is no
// duration.
[[nodiscard]] absl::StatusOr<std::optional<std::chrono::milliseconds>> WaitOf(
    const HttpRequest& request);

}  // namespace sluice::gateways

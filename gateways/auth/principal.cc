#include <fmt/format.h>

#include "gateways/auth/authenticator.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

std::string_view ScopeName(Scope scope) {
  switch (scope) {
    case Scope::kAdmin:
      return "sluice.admin";
    case Scope::kIngest:
      return "sluice.ingest";
    case Scope::kAudit:
      return "sluice.audit";
    case Scope::kSync:
      return "sluice.sync";
    case Scope::kMetrics:
      return "sluice.metrics";
  }
  return "";
}

absl::Status RequireScope(const Principal& principal, Scope scope) {
  if (principal.Has(scope)) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(fmt::format("the token lacks the scope {}", ScopeName(scope)));
}

absl::Status RequireOrg(const Principal& principal, std::string_view org) {
  if (!principal.org.empty() && principal.org == org) {
    return absl::OkStatus();
  }
  return absl::PermissionDeniedError(fmt::format("the token is not for the organisation {}", org));
}

absl::Status RequireOrgIfBound(const Principal& principal, std::string_view org) {
  return principal.org.empty() ? absl::OkStatus() : RequireOrg(principal, org);
}

absl::Status RequireUnexpired(const Principal& principal, SystemTime now) {
  if (now < principal.good_until) {
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kUnauthenticated, "token_expired",
      "the token has expired while its request was under way: what was not answered before "
      "was not taken, send it with a new one");
}

}  // namespace sluice::gateways

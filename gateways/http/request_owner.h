#pragma once

#include <string>
#include <utility>

#include "gateways/auth/authenticator.h"
#include "gateways/http/owner.h"

namespace sluice::gateways {

// For whom a request takes its share of a listener's places and bytes: the organisation of its
// token, and within it whoever it names; or the latter alone where it is good for all.
[[nodiscard]] inline Owner OwnerOf(const Principal& principal) {
  std::string caller = "sub:" + principal.issuer + " " + principal.subject;
  return principal.org.empty() ? Owner{.name = std::move(caller), .caller = {}}
                               : Owner{.name = "org:" + principal.org, .caller = std::move(caller)};
}

}  // namespace sluice::gateways

#pragma once

#include <string>

#include "gateways/auth/authenticator.h"

namespace sluice::gateways {

// For whom a request takes its share of a listener's places and bytes: the organisation of its
// token, or whoever it names where it is good for all.
[[nodiscard]] inline std::string OwnerOf(const Principal& principal) {
  return principal.org.empty() ? "sub:" + principal.issuer + " " + principal.subject
                               : "org:" + principal.org;
}

}  // namespace sluice::gateways

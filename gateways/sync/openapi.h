#pragma once

#include <string_view>

namespace sluice::gateways {

// The text of openapi.json, compiled in.
extern const std::string_view kOpenApi;

}  // namespace sluice::gateways

#pragma once

#include <string_view>

namespace sluice::gateways {

// The text of openapi.json, embedded by the build.
[[nodiscard]] std::string_view OpenApiJson();

}  // namespace sluice::gateways

#pragma once

#include <string_view>

#include "absl/status/statusor.h"

namespace sluice::gateways {

enum class JsonShape { kObject, kArray };

// Is `json` one valid JSON object or array, wholly? kInvalidArgument: code "invalid_json" where it
// is not JSON (or nested deeper than 64), "invalid_argument" where it is another value.
[[nodiscard]] absl::StatusOr<JsonShape> CheckJson(std::string_view json);

}  // namespace sluice::gateways

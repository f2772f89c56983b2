#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/odata/csdl.h"

namespace sluice::gateways {

// Reads CSDL JSON (OData 4.01). kFailedPrecondition, code "metadata_invalid". Thread-safe.
[[nodiscard]] absl::StatusOr<Csdl> ParseCsdlJson(std::string_view json);

}  // namespace sluice::gateways

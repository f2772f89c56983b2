#pragma once

#include <span>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "schemas/base/ids.h"
#include "schemas/entity_schema.h"

// The operations of gateways/docs/api.md, section 3, as JSON, shared by delta and stream.
namespace sluice::gateways {

// Appends {"op":"put",…}. kDataLoss for row bytes that are malformed; `out` is then cut back.
[[nodiscard]] absl::Status AppendPut(const schemas::EntitySchema& schema,
                                     std::span<const schemas::AttributeId> denied,
                                     std::string_view key, Position position, std::string_view row,
                                     std::string* out);

// Appends {"op":"remove",…}.
void AppendRemove(std::string_view entity, std::string_view key, Position position,
                  std::string* out);

}  // namespace sluice::gateways

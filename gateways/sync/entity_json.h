#pragma once

#include <span>
#include <string>

#include "projectors/staging/org_model.h"

namespace sluice::gateways {

// The entities as one caller may see them, as JSON array: names, keys, and the columns in the order
// of their ids, as `GET …/entities` and a stream's checkpoint have them.
[[nodiscard]] std::string EntitiesJson(std::span<const projectors::CallerEntity> entities);

}  // namespace sluice::gateways

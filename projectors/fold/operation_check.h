#pragma once

#include "absl/status/status.h"
#include "projectors/model/org_model.h"

namespace sluice::projectors {

// Can `op` be applied to a row of `schema` (nullptr: no such entity at this position)? Otherwise
// why not, with the codes of gateways/docs/api.md, section 2: who else writes to the log may have
// written anything.
[[nodiscard]] absl::Status CheckOperation(const EntitySchema* schema, const v1::Operation& op);

// The same of an operation of a set with `only_changes`, which has other kinds. `alone`: the set
// has no other.
[[nodiscard]] absl::Status CheckSourceOperation(const EntitySchema* schema, const v1::Operation& op,
                                                bool alone);

}  // namespace sluice::projectors

#pragma once

#include <set>
#include <string_view>

#include "absl/status/statusor.h"
#include "projectors/rules/expression.h"
#include "schemas/entity_schema.h"

namespace sluice::projectors {

// The typed expression that `text` is, with the attributes of `schema`; those that it names are
// added to `attributes`. Errors as Filter::Parse().
[[nodiscard]] absl::StatusOr<ExpressionPtr> ParseFilterExpression(
    std::string_view text, const EntitySchema& schema, std::set<AttributeId>* attributes);

}  // namespace sluice::projectors

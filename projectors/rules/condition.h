#pragma once

#include <memory>

#include "projectors/rules/expression.h"

namespace sluice::projectors {

// Compiles an expression without parameters.
[[nodiscard]] std::shared_ptr<const Condition> CompileCondition(ExpressionPtr expression);

}  // namespace sluice::projectors

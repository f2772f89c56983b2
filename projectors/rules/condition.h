#pragma once

#include <memory>

#include "projectors/rules/expression.h"

namespace sluice::projectors {

// Compiles an expression without parameters, of which it keeps nothing.
[[nodiscard]] std::shared_ptr<const Condition> CompileCondition(const Expression& expression);

}  // namespace sluice::projectors

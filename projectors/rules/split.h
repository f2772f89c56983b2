#pragma once

#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "projectors/rules/expression.h"

namespace sluice::projectors {

struct SplitAlternative {
  std::vector<ClaimTerm> terms;  // ascending, unique
  ExpressionPtr condition;       // without parameters; nullptr: always true
};

// `expression` as a disjunction of conjunctions of claim terms, ascending by terms, one for each
// set of them; the rest of each is its condition. What holds no parameter stays whole. A row is in
// one of them just where the expression is true: and and or are true by the truth of their operands
// alone, also with nulls, and claim terms stand under nothing else. Code "invalid_filter" beyond
// kFilterAlternativesMax or kFilterCanonicalBytesMax; `text` is for the column.
[[nodiscard]] absl::StatusOr<std::vector<SplitAlternative>> SplitFilter(
    const ExpressionPtr& expression, std::string_view text);

}  // namespace sluice::projectors

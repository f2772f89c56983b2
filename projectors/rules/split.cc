#include "projectors/rules/split.h"

#include <algorithm>
#include <map>
#include <utility>

#include "projectors/rules/filter_lexer.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using Kind = Expression::Kind;
using Alternatives = std::vector<SplitAlternative>;

// A product holds each pair of conditions before equal ones are joined.
constexpr size_t kProductBytesMax = 2 * kFilterCanonicalBytesMax;

size_t TextSize(const SplitAlternative& alternative) {
  return alternative.condition == nullptr ? 0 : alternative.condition->text.size();
}

std::vector<ClaimTerm> Union(const std::vector<ClaimTerm>& a, const std::vector<ClaimTerm>& b) {
  std::vector<ClaimTerm> both;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

class Splitter {
 public:
  explicit Splitter(std::string_view text) : text_(text) {}

  absl::StatusOr<Alternatives> Split(const ExpressionPtr& expression) const;

 private:
  // What is OR-ed, by its terms; a nullptr makes the others of its terms needless.
  using Joined = std::map<std::vector<ClaimTerm>, std::vector<ExpressionPtr>>;

  absl::StatusOr<Alternatives> SplitOr(const Expression& expression) const;
  absl::StatusOr<Alternatives> SplitAnd(const Expression& expression) const;
  absl::StatusOr<Alternatives> Product(const Alternatives& a, const Alternatives& b,
                                       const Expression& expression) const;
  absl::StatusOr<Alternatives> Merge(Joined joined, const Expression& expression) const;
  absl::Status TooLarge(const Expression& expression) const;

  std::string_view text_;
};

absl::Status Splitter::TooLarge(const Expression& expression) const {
  return FilterError(text_, expression.parameter.value_or(0),
                     "the conditions beside parameters here take more than {} bytes once the "
                     "filter is split by its parameters; write it as several rules",
                     kFilterCanonicalBytesMax);
}

absl::StatusOr<Alternatives> Splitter::Split(const ExpressionPtr& expression) const {
  if (!expression->parameter.has_value()) {
    const bool always = expression->kind == Kind::kConstant && expression->constant == Truth::kTrue;
    return Alternatives{{{}, always ? nullptr : expression}};
  }
  switch (expression->kind) {
    case Kind::kOr:
      return SplitOr(*expression);
    case Kind::kAnd:
      return SplitAnd(*expression);
    default:
      return Alternatives{{{expression->claim}, nullptr}};
  }
}

absl::StatusOr<Alternatives> Splitter::SplitOr(const Expression& expression) const {
  Joined joined;
  for (const ExpressionPtr& child : expression.children) {
    ASSIGN_OR_RETURN(Alternatives alternatives, Split(child));
    for (SplitAlternative& alternative : alternatives) {
      joined[std::move(alternative.terms)].push_back(std::move(alternative.condition));
    }
  }
  return Merge(std::move(joined), expression);
}

absl::StatusOr<Alternatives> Splitter::SplitAnd(const Expression& expression) const {
  std::vector<ExpressionPtr> plain;
  Alternatives result = {{{}, nullptr}};
  for (const ExpressionPtr& child : expression.children) {
    if (!child->parameter.has_value()) {
      plain.push_back(child);
      continue;
    }
    ASSIGN_OR_RETURN(const Alternatives alternatives, Split(child));
    ASSIGN_OR_RETURN(result, Product(result, alternatives, expression));
  }
  ASSIGN_OR_RETURN(const Alternatives rest, Split(MakeAnd(std::move(plain))));
  return Product(result, rest, expression);
}

absl::StatusOr<Alternatives> Splitter::Product(const Alternatives& a, const Alternatives& b,
                                               const Expression& expression) const {
  size_t size = 0;
  Joined joined;
  for (const SplitAlternative& left : a) {
    for (const SplitAlternative& right : b) {
      size += TextSize(left) + TextSize(right);
      if (size > kProductBytesMax) {
        return TooLarge(expression);
      }
      ExpressionPtr condition = left.condition == nullptr ? right.condition
                                : right.condition == nullptr
                                    ? left.condition
                                    : MakeAnd({left.condition, right.condition});
      joined[Union(left.terms, right.terms)].push_back(std::move(condition));
    }
  }
  return Merge(std::move(joined), expression);
}

absl::StatusOr<Alternatives> Splitter::Merge(Joined joined, const Expression& expression) const {
  if (joined.size() > kFilterAlternativesMax) {
    return FilterError(text_, expression.parameter.value_or(0),
                       "the parameters here combine in {} ways, more than {}; write several rules",
                       joined.size(), kFilterAlternativesMax);
  }
  size_t size = 0;
  Alternatives result;
  for (auto& [terms, conditions] : joined) {
    const bool always =
        std::find(conditions.begin(), conditions.end(), nullptr) != conditions.end();
    SplitAlternative alternative{terms, nullptr};
    if (!always) {
      alternative.condition = MakeOr(std::move(conditions));
      if (alternative.condition->kind == Kind::kConstant &&
          alternative.condition->constant == Truth::kTrue) {
        alternative.condition = nullptr;
      }
    }
    size += TextSize(alternative);
    result.push_back(std::move(alternative));
  }
  if (size > kFilterCanonicalBytesMax) {
    return TooLarge(expression);
  }
  return result;
}

}  // namespace

absl::StatusOr<std::vector<SplitAlternative>> SplitFilter(const ExpressionPtr& expression,
                                                          std::string_view text) {
  return Splitter(text).Split(expression);
}

}  // namespace sluice::projectors

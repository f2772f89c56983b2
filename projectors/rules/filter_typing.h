#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "projectors/rules/expression.h"
#include "projectors/rules/filter_lexer.h"

// From what the parser reads to typed expressions: which operand fits which, and where parameters
// may stand. Errors are "invalid_filter" with the column of what does not fit.
namespace sluice::projectors {

// An operand as it stands in the text; its final type may depend on what it is compared with.
struct FilterTerm {
  enum class Kind : uint8_t {
    kNull,
    kNumber,   // `source`
    kLiteral,  // any other: what FilterLiteral has of its family
    kAttribute,
    kParameter,
    kExpression,
  };
  Kind kind = Kind::kNull;
  Family family = Family::kNull;  // that it has by itself
  size_t offset = 0;
  std::string_view source;  // as it is written; empty for an expression
  std::string bytes;
  int64_t scalar = 0;
  double number = 0;
  const schemas::Attribute* attribute = nullptr;
  Claim claim = Claim::kUser;
  ExpressionPtr expression;
};

class FilterTyping {
 public:
  // `text`: the whole filter, for columns.
  explicit FilterTyping(std::string_view text) : text_(text) {}

  // What stands where a boolean is needed. `operation`, such as "not", for the error.
  absl::StatusOr<ExpressionPtr> Boolean(const FilterTerm& term, std::string_view operation) const;
  // `operator_offset` is where the operator stands.
  absl::StatusOr<ExpressionPtr> Compare(Comparison comparison, size_t operator_offset,
                                        const FilterTerm& a, const FilterTerm& b) const;
  // `a in (items)`; `a in @parameter`.
  absl::StatusOr<ExpressionPtr> In(const FilterTerm& a, const std::vector<FilterTerm>& items) const;
  absl::StatusOr<ExpressionPtr> InParameter(const FilterTerm& a, const FilterTerm& parameter) const;
  absl::StatusOr<ExpressionPtr> Call(Function function, const FilterTerm& a,
                                     const FilterTerm& b) const;
  absl::StatusOr<ExpressionPtr> Not(const FilterTerm& term) const;

 private:
  template <typename... Args>
  absl::Status ErrorAt(const FilterTerm& term, fmt::format_string<Args...> reason,
                       Args&&... args) const {
    return FilterError(text_, term.offset, reason, std::forward<Args>(args)...);
  }
  absl::Status Mismatch(const FilterTerm& term, const FilterTerm& partner) const;
  absl::Status CheckNoParameter(const FilterTerm& term, std::string_view place) const;
  // `term` as an operand of `family`; `partner`: what it is compared with.
  absl::StatusOr<Operand> Resolve(const FilterTerm& term, Family family,
                                  const FilterTerm& partner) const;
  absl::StatusOr<Operand> ResolveText(const FilterTerm& term, const FilterTerm& partner) const;
  absl::StatusOr<ExpressionPtr> ClaimEquals(const FilterTerm& parameter,
                                            const FilterTerm& other) const;
  absl::StatusOr<ExpressionPtr> ClaimOf(const FilterTerm& parameter, const FilterTerm& other) const;

  std::string_view text_;
};

}  // namespace sluice::projectors

#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "projectors/rules/filter.h"
#include "projectors/rules/filter_value.h"

// The typed expressions of a filter, always in their canonical form: the functions below order,
// fold and join what they are given, so that equal meaning more often has equal text.
namespace sluice::projectors {

struct Expression;
using ExpressionPtr = std::shared_ptr<const Expression>;

// A literal of its final type. Owns its bytes.
struct FilterLiteral {
  Family family = Family::kNull;
  bool is_integer = false;
  int64_t scalar = 0;
  double number = 0;
  std::string bytes;
  FilterValue view() const { return {family, is_integer, scalar, number, bytes}; }
};

// What an operator is applied to.
struct Operand {
  enum class Kind : uint8_t { kLiteral, kAttribute, kExpression };
  Kind kind = Kind::kLiteral;
  FilterLiteral literal;
  AttributeId attribute;
  v1::AttributeType type = v1::ATTRIBUTE_TYPE_UNSPECIFIED;
  ExpressionPtr expression;  // its truth as a bool
};

struct Expression {
  enum class Kind : uint8_t {
    kConstant,
    kAttribute,  // one operand: a bool attribute
    kCompare,    // two operands
    kIn,         // the operand, then the items
    kCall,       // two operands
    kNot,        // one child
    kAnd,        // two children or more
    kOr,
    kClaim,
  };
  Kind kind = Kind::kConstant;
  Truth constant = Truth::kNull;
  Comparison comparison = Comparison::kEq;
  Function function = Function::kContains;
  std::vector<Operand> operands;
  std::vector<ExpressionPtr> children;
  ClaimTerm claim;
  std::optional<size_t> parameter;  // where the text names a parameter in this expression
  uint32_t depth = 1;
  std::string text;  // canonical
};

[[nodiscard]] ExpressionPtr MakeConstant(Truth truth);
[[nodiscard]] ExpressionPtr MakeAttribute(Operand attribute);
// Operands of one family, or null. `5 lt a` becomes `a gt 5`.
[[nodiscard]] ExpressionPtr MakeComparison(Comparison comparison, Operand a, Operand b);
// `operand` is no literal; the items are literals of its family or null, at least one.
[[nodiscard]] ExpressionPtr MakeIn(Operand operand, std::vector<Operand> items);
[[nodiscard]] ExpressionPtr MakeCall(Function function, Operand a, Operand b);
[[nodiscard]] ExpressionPtr MakeNot(ExpressionPtr operand);
[[nodiscard]] ExpressionPtr MakeAnd(std::vector<ExpressionPtr> operands);
[[nodiscard]] ExpressionPtr MakeOr(std::vector<ExpressionPtr> operands);
// `parameter`: its place in the text.
[[nodiscard]] ExpressionPtr MakeClaim(ClaimTerm term, size_t parameter);

// The operand that `expression` is: a bool literal for a constant, its attribute for an attribute.
[[nodiscard]] Operand ToOperand(ExpressionPtr expression);

[[nodiscard]] std::string ClaimText(const ClaimTerm& term);
[[nodiscard]] std::string_view FunctionName(Function function);

// Compiles an expression without parameters, of which it keeps nothing.
[[nodiscard]] std::shared_ptr<const Condition> CompileCondition(const Expression& expression);

}  // namespace sluice::projectors

#include "projectors/rules/filter_parser.h"

#include <fmt/format.h>

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "projectors/rules/filter_lexer.h"
#include "projectors/rules/filter_typing.h"
#include "schemas/base/ascii.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/field_value.h"

namespace sluice::projectors {
namespace {

using TermKind = FilterTerm::Kind;
using TokenKind = FilterToken::Kind;

constexpr std::string_view kParameters = "@user, @teams, @businessunit and @roles";

// How tightly an operator with two operands binds them; `in` and `not` bind tighter.
enum class Binding : uint8_t { kNone, kOr, kAnd, kEquality, kOrder };

struct Operator {
  Binding binding = Binding::kNone;  // of no operator
  Comparison comparison = Comparison::kEq;
};

Operator OperatorOf(std::string_view word) {
  if (word.size() == 2) {
    return word == "eq"   ? Operator{Binding::kEquality, Comparison::kEq}
           : word == "or" ? Operator{Binding::kOr}
           : word == "ne" ? Operator{Binding::kEquality, Comparison::kNe}
           : word == "gt" ? Operator{Binding::kOrder, Comparison::kGt}
           : word == "ge" ? Operator{Binding::kOrder, Comparison::kGe}
           : word == "lt" ? Operator{Binding::kOrder, Comparison::kLt}
           : word == "le" ? Operator{Binding::kOrder, Comparison::kLe}
                          : Operator{};
  }
  return word == "and" ? Operator{Binding::kAnd} : Operator{};
}

bool IsOperator(std::string_view word) {
  return word == "in" || OperatorOf(word).binding != Binding::kNone;
}

Binding TighterThan(Binding binding) {
  return static_cast<Binding>(static_cast<uint8_t>(binding) + 1);
}

std::optional<Function> FunctionOf(std::string_view word) {
  return word == "contains"     ? std::optional(Function::kContains)
         : word == "startswith" ? std::optional(Function::kStartsWith)
         : word == "endswith"   ? std::optional(Function::kEndsWith)
                                : std::nullopt;
}

std::optional<Claim> ClaimOfParameter(std::string_view parameter) {
  return parameter == "@user"           ? std::optional(Claim::kUser)
         : parameter == "@teams"        ? std::optional(Claim::kTeams)
         : parameter == "@businessunit" ? std::optional(Claim::kBusinessUnit)
         : parameter == "@roles"        ? std::optional(Claim::kRoles)
                                        : std::nullopt;
}

// Recursive descent by OData 4.01's table of precedence (part 2, 5.1.1.17): in, then not, then
// gt ge lt le, then eq ne, then and, then or; each level is read from the left. The operators with
// two operands are one method (precedence climbing): a method a level would hand each operand
// through all of them.
class Parser {
 public:
  Parser(std::string_view text, const EntitySchema& schema, std::set<AttributeId>* attributes)
      : text_(text), schema_(schema), attributes_(*attributes), lexer_(text), typing_(text) {}

  absl::StatusOr<ExpressionPtr> Parse();

 private:
  // What operators of this binding or a tighter one make.
  absl::StatusOr<FilterTerm> Operation(Binding least);
  // The rest of what begins with the operand `first`, up to an operator of another binding.
  absl::StatusOr<FilterTerm> List(Binding binding, const FilterTerm& first);
  absl::StatusOr<FilterTerm> Compare(Operator here, const FilterTerm& left);
  Operator Here() const {
    return token_.kind == TokenKind::kWord ? OperatorOf(token_.text) : Operator{};
  }
  absl::StatusOr<FilterTerm> Unary();
  absl::StatusOr<FilterTerm> Membership();
  absl::StatusOr<ExpressionPtr> InList(const FilterTerm& operand);
  absl::StatusOr<FilterTerm> Primary();
  absl::StatusOr<FilterTerm> Grouped();
  absl::StatusOr<FilterTerm> Word();
  absl::StatusOr<FilterTerm> Call(Function function, size_t offset);
  absl::StatusOr<FilterTerm> Attribute(std::string_view word, size_t offset);
  // The literal or parameter at the current token, nullopt where there is none.
  absl::StatusOr<std::optional<FilterTerm>> Literal();

  bool AtWord(std::string_view word) const {
    return token_.kind == TokenKind::kWord && token_.text == word;
  }
  absl::Status Advance();
  absl::Status Expect(TokenKind kind, std::string_view what);
  absl::Status Unexpected(std::string_view expected) const;
  absl::Status Enter(size_t offset);
  absl::StatusOr<FilterTerm> Wrap(absl::StatusOr<ExpressionPtr> expression, size_t offset) const;

  const std::string_view text_;
  const EntitySchema& schema_;
  std::set<AttributeId>& attributes_;
  FilterLexer lexer_;
  const FilterTyping typing_;
  FilterToken token_;
  uint32_t nesting_ = 0;
};

absl::Status Parser::Advance() {
  ASSIGN_OR_RETURN(token_, lexer_.Next());
  return absl::OkStatus();
}

absl::Status Parser::Unexpected(std::string_view expected) const {
  if (token_.kind == TokenKind::kEnd) {
    return FilterError(text_, token_.offset, "expected {}, and the filter ends", expected);
  }
  const std::string lower = ToLower(token_.text);
  const bool shouted = token_.kind == TokenKind::kWord && lower != token_.text &&
                       (lower == "not" || IsOperator(lower));
  return FilterError(text_, token_.offset, "expected {}, found {}{}", expected,
                     QuoteForError(token_.text),
                     shouted ? "; operators are written in lower case" : "");
}

absl::Status Parser::Expect(TokenKind kind, std::string_view what) {
  return token_.kind == kind ? Advance() : Unexpected(what);
}

absl::Status Parser::Enter(size_t offset) {
  if (++nesting_ > kFilterNestingMax) {
    return FilterError(text_, offset, "nested more than {} deep; write it flatter",
                       kFilterNestingMax);
  }
  return absl::OkStatus();
}

absl::StatusOr<FilterTerm> Parser::Wrap(absl::StatusOr<ExpressionPtr> expression,
                                        size_t offset) const {
  RETURN_IF_ERROR(expression.status());
  FilterTerm term;
  term.kind = TermKind::kExpression;
  term.family = Family::kBool;
  term.offset = offset;
  term.expression = *std::move(expression);
  if (term.expression->depth > kFilterNestingMax) {
    return FilterError(text_, offset, "nested more than {} deep; write it flatter",
                       kFilterNestingMax);
  }
  return term;
}

absl::StatusOr<ExpressionPtr> Parser::Parse() {
  RETURN_IF_ERROR(Advance());
  ASSIGN_OR_RETURN(const FilterTerm term, Operation(Binding::kOr));
  if (token_.kind != TokenKind::kEnd) {
    return Unexpected("an operator (eq ne gt ge lt le in and or) or the end");
  }
  return typing_.Boolean(term, "a filter");
}

absl::StatusOr<FilterTerm> Parser::Operation(Binding least) {
  ASSIGN_OR_RETURN(FilterTerm term, Unary());
  for (Operator here = Here(); here.binding >= least; here = Here()) {
    if (here.binding <= Binding::kAnd) {
      ASSIGN_OR_RETURN(term, List(here.binding, term));
    } else {
      ASSIGN_OR_RETURN(term, Compare(here, term));
    }
  }
  return term;
}

absl::StatusOr<FilterTerm> Parser::List(Binding binding, const FilterTerm& first) {
  const std::string_view word = binding == Binding::kAnd ? "and" : "or";
  std::vector<ExpressionPtr> operands;
  ASSIGN_OR_RETURN(operands.emplace_back(), typing_.Boolean(first, word));
  while (Here().binding == binding) {
    RETURN_IF_ERROR(Advance());
    ASSIGN_OR_RETURN(const FilterTerm operand, Operation(TighterThan(binding)));
    ASSIGN_OR_RETURN(operands.emplace_back(), typing_.Boolean(operand, word));
  }
  return Wrap(binding == Binding::kAnd ? MakeAnd(std::move(operands)) : MakeOr(std::move(operands)),
              first.offset);
}

absl::StatusOr<FilterTerm> Parser::Compare(Operator here, const FilterTerm& left) {
  const size_t operator_offset = token_.offset;
  RETURN_IF_ERROR(Advance());
  ASSIGN_OR_RETURN(const FilterTerm right, Operation(TighterThan(here.binding)));
  return Wrap(typing_.Compare(here.comparison, operator_offset, left, right), left.offset);
}

absl::StatusOr<FilterTerm> Parser::Unary() {
  if (!AtWord("not")) {
    return Membership();
  }
  const size_t offset = token_.offset;
  RETURN_IF_ERROR(Enter(offset));
  RETURN_IF_ERROR(Advance());
  ASSIGN_OR_RETURN(const FilterTerm operand, Unary());
  --nesting_;
  return Wrap(typing_.Not(operand), offset);
}

absl::StatusOr<FilterTerm> Parser::Membership() {
  ASSIGN_OR_RETURN(FilterTerm term, Primary());
  while (AtWord("in")) {
    RETURN_IF_ERROR(Advance());
    if (token_.kind == TokenKind::kOpen) {
      ASSIGN_OR_RETURN(term, Wrap(InList(term), term.offset));
      continue;
    }
    if (token_.kind != TokenKind::kParameter) {
      return Unexpected("a list in parentheses, @teams or @roles");
    }
    ASSIGN_OR_RETURN(const std::optional<FilterTerm> parameter, Literal());
    ASSIGN_OR_RETURN(term, Wrap(typing_.InParameter(term, *parameter), term.offset));
  }
  return term;
}

absl::StatusOr<ExpressionPtr> Parser::InList(const FilterTerm& operand) {
  std::vector<FilterTerm> items;
  do {
    RETURN_IF_ERROR(Advance());  // over the parenthesis or the comma
    const size_t offset = token_.offset;
    ASSIGN_OR_RETURN(std::optional<FilterTerm> item, Literal());
    if (!item.has_value()) {
      return Unexpected("a literal, @user or @businessunit");
    }
    if (items.size() == kFilterInItemsMax) {
      return FilterError(text_, offset, "more than {} items in a list; join several `in` with or",
                         kFilterInItemsMax);
    }
    items.push_back(*std::move(item));
  } while (token_.kind == TokenKind::kComma);
  RETURN_IF_ERROR(Expect(TokenKind::kClose, "a comma or the list's closing parenthesis"));
  return typing_.In(operand, items);
}

absl::StatusOr<FilterTerm> Parser::Primary() {
  if (token_.kind == TokenKind::kOpen) {
    return Grouped();
  }
  ASSIGN_OR_RETURN(std::optional<FilterTerm> literal, Literal());
  return literal.has_value() ? *std::move(literal) : Word();
}

absl::StatusOr<FilterTerm> Parser::Grouped() {
  RETURN_IF_ERROR(Enter(token_.offset));
  RETURN_IF_ERROR(Advance());
  ASSIGN_OR_RETURN(FilterTerm term, Operation(Binding::kOr));
  RETURN_IF_ERROR(Expect(TokenKind::kClose, "an operator or a closing parenthesis"));
  --nesting_;
  return term;
}

absl::StatusOr<std::optional<FilterTerm>> Parser::Literal() {
  FilterTerm term;
  term.kind = TermKind::kLiteral;
  term.offset = token_.offset;
  term.source = token_.text;
  term.scalar = token_.scalar;
  term.bytes = std::move(token_.value);
  const std::string_view text = token_.text;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  switch (token_.kind) {
    case TokenKind::kWord:
      if (text == "null") {
        term.kind = TermKind::kNull;
      } else if (text == "true" || text == "false") {
        term.family = Family::kBool;
        term.scalar = text == "true" ? 1 : 0;
      } else if (text == "NaN" || text == "INF") {
        term.family = Family::kDouble;
        term.number = text == "INF" ? kInfinity : std::numeric_limits<double>::quiet_NaN();
      } else {
        return std::optional<FilterTerm>();
      }
      break;
    case TokenKind::kNumber:
      term.kind = text == "-INF" ? TermKind::kLiteral : TermKind::kNumber;
      term.family = text == "-INF" ? Family::kDouble : Family::kExact;
      term.number = -kInfinity;
      break;
    case TokenKind::kString:
      term.family = Family::kString;
      break;
    case TokenKind::kBinary:
      term.family = Family::kBytes;
      break;
    case TokenKind::kUuid:
      term.family = Family::kUuid;
      break;
    case TokenKind::kDatetime:
      term.family = Family::kDatetime;
      break;
    case TokenKind::kDate:
      term.family = Family::kDate;
      break;
    case TokenKind::kTime:
      term.family = Family::kTime;
      break;
    case TokenKind::kParameter: {
      const auto claim = ClaimOfParameter(text);
      if (!claim.has_value()) {
        return FilterError(text_, token_.offset, "there is no parameter {}; there are {}",
                           QuoteForError(text), kParameters);
      }
      term.kind = TermKind::kParameter;
      term.claim = *claim;
      break;
    }
    default:
      return std::optional<FilterTerm>();
  }
  RETURN_IF_ERROR(Advance());
  return std::optional<FilterTerm>(std::move(term));
}

absl::StatusOr<FilterTerm> Parser::Word() {
  if (token_.kind != TokenKind::kWord) {
    return Unexpected("an attribute, a literal, a parameter, not or an opening parenthesis");
  }
  const std::string_view word = token_.text;
  const size_t offset = token_.offset;
  RETURN_IF_ERROR(Advance());
  if (token_.kind != TokenKind::kOpen) {
    return Attribute(word, offset);
  }
  const auto function = FunctionOf(word);
  if (!function.has_value()) {
    return FilterError(text_, offset,
                       "there is no function {}; there are contains, startswith and endswith",
                       QuoteForError(word));
  }
  return Call(*function, offset);
}

absl::StatusOr<FilterTerm> Parser::Call(Function function, size_t offset) {
  RETURN_IF_ERROR(Enter(offset));
  RETURN_IF_ERROR(Advance());
  ASSIGN_OR_RETURN(const FilterTerm first, Operation(Binding::kOr));
  RETURN_IF_ERROR(Expect(TokenKind::kComma, "a comma and the function's second argument"));
  ASSIGN_OR_RETURN(const FilterTerm second, Operation(Binding::kOr));
  RETURN_IF_ERROR(Expect(TokenKind::kClose, "the function's closing parenthesis"));
  --nesting_;
  return Wrap(typing_.Call(function, first, second), offset);
}

absl::StatusOr<FilterTerm> Parser::Attribute(std::string_view word, size_t offset) {
  FilterTerm term;
  term.kind = TermKind::kAttribute;
  term.offset = offset;
  term.source = word;
  term.attribute = schema_.Find(word);
  if (term.attribute != nullptr) {
    term.family = FamilyOf(term.attribute->type);
    attributes_.insert(term.attribute->id);
    return term;
  }
  if (IsOperator(word)) {
    return FilterError(text_, offset,
                       "expected an attribute, a literal or a parameter, found the operator {}",
                       word);
  }
  return FilterErrorOf(
      "unknown_attribute", text_, offset,
      fmt::format("entity '{}' has no attribute {}", schema_.name(), QuoteForError(word)));
}

}  // namespace

absl::StatusOr<ExpressionPtr> ParseFilterExpression(std::string_view text,
                                                    const EntitySchema& schema,
                                                    std::set<AttributeId>* attributes) {
  return Parser(text, schema, attributes).Parse();
}

}  // namespace sluice::projectors

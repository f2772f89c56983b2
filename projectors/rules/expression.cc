#include "projectors/rules/expression.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "schemas/base/date.h"
#include "schemas/base/datetime.h"
#include "schemas/base/text_codec.h"
#include "schemas/base/time_of_day.h"

namespace sluice::projectors {
namespace {

using Kind = Expression::Kind;

constexpr std::array<std::string_view, 6> kComparisons = {"eq", "ne", "gt", "ge", "lt", "le"};

// How tightly an expression's text holds together; a weaker one needs parentheses.
enum TextBinding { kBindsOr = 1, kBindsAnd, kBindsEquality, kBindsOrder, kBindsNot, kBindsAll };

TextBinding BindingOf(const Expression& expression) {
  switch (expression.kind) {
    case Kind::kOr:
      return kBindsOr;
    case Kind::kAnd:
      return kBindsAnd;
    case Kind::kCompare:
      return expression.comparison == Comparison::kEq || expression.comparison == Comparison::kNe
                 ? kBindsEquality
                 : kBindsOrder;
    case Kind::kNot:
      return kBindsNot;
    default:
      return kBindsAll;
  }
}

void AppendWithin(const Expression& expression, TextBinding needed, std::string* text) {
  const bool alone = BindingOf(expression) >= needed;
  text->append(alone ? "" : "(").append(expression.text).append(alone ? "" : ")");
}

std::string Quoted(std::string_view text) {
  std::string quoted;
  quoted.reserve(text.size() + 2);
  quoted.push_back('\'');
  for (size_t end = 0; (end = text.find('\'')) != std::string_view::npos;) {
    quoted.append(text.substr(0, end)).append("''");
    text.remove_prefix(end + 1);
  }
  return quoted.append(text).append("'");
}

std::string DoubleText(double number) {
  if (!std::isfinite(number)) {
    return std::isnan(number) ? "NaN" : number > 0 ? "INF" : "-INF";
  }
  char text[32];
  return {text, std::to_chars(text, text + sizeof(text), number).ptr};
}

std::string LiteralText(const FilterLiteral& literal) {
  switch (literal.family) {
    case Family::kNull:
      return "null";
    case Family::kString:
      return Quoted(literal.bytes);
    case Family::kExact:
      return literal.is_integer ? std::to_string(literal.scalar) : literal.bytes;
    case Family::kDouble:
      return DoubleText(literal.number);
    case Family::kBool:
      return literal.scalar != 0 ? "true" : "false";
    case Family::kDatetime:
      return FormatDatetime(literal.scalar);
    case Family::kDate:
      return FormatDate(literal.scalar);
    case Family::kTime:
      return FormatTimeOfDay(literal.scalar);
    case Family::kUuid: {
      std::string text(kUuidTextSize, ' ');
      EncodeUuid(literal.bytes, text.data());
      return text;
    }
    case Family::kBytes: {
      std::string text(Base64Size(literal.bytes.size()), ' ');
      EncodeBase64(literal.bytes, text.data());
      return fmt::format("binary'{}'", text);
    }
  }
  return "";
}

std::string AttributeText(AttributeId attribute) { return "a" + std::to_string(attribute.value()); }

std::string OperandText(const Operand& operand, TextBinding needed) {
  switch (operand.kind) {
    case Operand::Kind::kLiteral:
      return LiteralText(operand.literal);
    case Operand::Kind::kAttribute:
      return AttributeText(operand.attribute);
    case Operand::Kind::kExpression: {
      std::string text;
      AppendWithin(*operand.expression, needed, &text);
      return text;
    }
  }
  return "";
}

bool IsLiteral(const Operand& operand) { return operand.kind == Operand::Kind::kLiteral; }
bool IsNull(const Operand& operand) {
  return IsLiteral(operand) && operand.literal.family == Family::kNull;
}

ExpressionPtr MakeConstant(bool value) {
  return MakeConstant(value ? Truth::kTrue : Truth::kFalse);
}

// Depth and parameter from what it is made of.
void Adopt(Expression& expression) {
  const auto take = [&expression](const Expression& inner) {
    expression.depth = std::max(expression.depth, inner.depth + 1);
    if (inner.parameter.has_value()) {
      expression.parameter =
          std::min(expression.parameter.value_or(*inner.parameter), *inner.parameter);
    }
  };
  for (const ExpressionPtr& child : expression.children) {
    take(*child);
  }
  for (const Operand& operand : expression.operands) {
    if (operand.kind == Operand::Kind::kExpression) {
      take(*operand.expression);
    }
  }
}

std::shared_ptr<Expression> New(Kind kind) {
  auto expression = std::make_shared<Expression>();
  expression->kind = kind;
  return expression;
}

ExpressionPtr Finish(std::shared_ptr<Expression> expression) {
  Adopt(*expression);
  return expression;
}

Comparison Mirror(Comparison comparison) {
  constexpr Comparison kMirrored[] = {Comparison::kEq, Comparison::kNe, Comparison::kLt,
                                      Comparison::kLe, Comparison::kGt, Comparison::kGe};
  return kMirrored[static_cast<size_t>(comparison)];
}

// Attributes stand before expressions, literals last; equals are ordered by their text.
bool StandsBefore(const Operand& a, const Operand& b) {
  const auto rank = [](const Operand& operand) {
    return operand.kind == Operand::Kind::kAttribute    ? 0
           : operand.kind == Operand::Kind::kExpression ? 1
                                                        : 2;
  };
  if (rank(a) != rank(b)) {
    return rank(a) < rank(b);
  }
  if (a.kind == Operand::Kind::kAttribute) {
    return a.attribute < b.attribute;
  }
  return OperandText(a, kBindsAll) < OperandText(b, kBindsAll);
}

// and, or: one flat, ordered list without repetitions and without what makes no difference.
ExpressionPtr MakeList(Kind kind, std::vector<ExpressionPtr> operands) {
  const bool is_and = kind == Kind::kAnd;
  const Truth neutral = is_and ? Truth::kTrue : Truth::kFalse;
  const auto made = New(kind);
  Expression& list = *made;
  for (ExpressionPtr& operand : operands) {
    if (operand->kind == kind) {
      list.children.insert(list.children.end(), operand->children.begin(), operand->children.end());
      continue;
    }
    if (operand->kind == Kind::kConstant && operand->constant == Not(neutral)) {
      return operand;  // decides, whatever the others are
    }
    if (operand->kind != Kind::kConstant || operand->constant != neutral) {
      list.children.push_back(std::move(operand));
    }
  }
  std::sort(list.children.begin(), list.children.end(),
            [](const ExpressionPtr& a, const ExpressionPtr& b) { return a->text < b->text; });
  const auto repeated = std::unique(
      list.children.begin(), list.children.end(),
      [](const ExpressionPtr& a, const ExpressionPtr& b) { return a->text == b->text; });
  list.children.erase(repeated, list.children.end());
  if (list.children.empty()) {
    return MakeConstant(neutral);
  }
  if (list.children.size() == 1) {
    return list.children.front();
  }
  size_t size = 0;
  for (const ExpressionPtr& child : list.children) {
    size += child->text.size() + std::string_view(" and ()").size();
  }
  list.text.reserve(size);
  for (const ExpressionPtr& child : list.children) {
    list.text.append(list.text.empty() ? "" : is_and ? " and " : " or ");
    AppendWithin(*child, is_and ? kBindsAnd : kBindsOr, &list.text);
  }
  return Finish(made);
}

}  // namespace

std::string_view FunctionName(Function function) {
  constexpr std::string_view kNames[] = {"contains", "startswith", "endswith"};
  return kNames[static_cast<size_t>(function)];
}

std::string ClaimText(const ClaimTerm& term) {
  constexpr std::string_view kCompared[] = {" eq @user", " in @teams", " eq @businessunit",
                                            " in @roles"};
  return (term.attribute.value() == 0 ? Quoted(term.constant) : AttributeText(term.attribute))
      .append(kCompared[static_cast<size_t>(term.claim) - 1]);
}

ExpressionPtr MakeConstant(Truth truth) {
  auto constant = std::make_shared<Expression>();
  constant->constant = truth;
  constant->text = truth == Truth::kNull ? "null" : truth == Truth::kTrue ? "true" : "false";
  return Finish(std::move(constant));
}

ExpressionPtr MakeAttribute(Operand attribute) {
  auto expression = New(Kind::kAttribute);
  expression->text = OperandText(attribute, kBindsAll);
  expression->operands.push_back(std::move(attribute));
  return Finish(std::move(expression));
}

ExpressionPtr MakeComparison(Comparison comparison, Operand a, Operand b) {
  if (IsLiteral(a) && IsLiteral(b)) {
    return MakeConstant(Compare(comparison, a.literal.view(), b.literal.view()));
  }
  const bool equality = comparison == Comparison::kEq || comparison == Comparison::kNe;
  if (!equality && (IsNull(a) || IsNull(b))) {
    return MakeConstant(false);
  }
  const bool greater = comparison == Comparison::kGt || comparison == Comparison::kGe;
  if (StandsBefore(b, a) || (greater && !StandsBefore(a, b))) {  // a1 gt a1 is a1 lt a1
    std::swap(a, b);
    comparison = Mirror(comparison);
  }
  auto expression = New(Kind::kCompare);
  expression->comparison = comparison;
  // Comparisons of one level are read from the left, so the right one needs to bind tighter.
  expression->text = OperandText(a, kBindsEquality);
  expression->text.append(" ").append(kComparisons[static_cast<size_t>(comparison)]).append(" ");
  expression->text.append(OperandText(b, kBindsOrder));
  expression->operands.reserve(2);
  expression->operands.push_back(std::move(a));
  expression->operands.push_back(std::move(b));
  return Finish(std::move(expression));
}

ExpressionPtr MakeIn(Operand operand, std::vector<Operand> items) {
  std::vector<std::pair<std::string, size_t>> ordered;  // places among the items, by their texts
  ordered.reserve(items.size());
  for (const Operand& item : items) {
    ordered.emplace_back(OperandText(item, kBindsAll), ordered.size());
  }
  std::ranges::sort(ordered);
  const auto repeated =
      std::ranges::unique(ordered, {}, [](const auto& item) -> const auto& { return item.first; });
  ordered.erase(repeated.begin(), repeated.end());
  if (ordered.size() == 1) {
    return MakeComparison(Comparison::kEq, std::move(operand),
                          std::move(items[ordered.front().second]));
  }
  auto expression = New(Kind::kIn);
  expression->text = OperandText(operand, kBindsAll) + " in (";
  expression->operands.reserve(1 + ordered.size());
  expression->operands.push_back(std::move(operand));
  for (const auto& [text, place] : ordered) {
    expression->text.append(expression->operands.size() == 1 ? "" : ",").append(text);
    expression->operands.push_back(std::move(items[place]));
  }
  expression->text.push_back(')');
  return Finish(std::move(expression));
}

ExpressionPtr MakeCall(Function function, Operand a, Operand b) {
  if (IsNull(a) || IsNull(b)) {
    return MakeConstant(Truth::kNull);
  }
  if (IsLiteral(a) && IsLiteral(b)) {
    return MakeConstant(Call(function, a.literal.view(), b.literal.view()));
  }
  auto expression = New(Kind::kCall);
  expression->function = function;
  expression->text = fmt::format("{}({},{})", FunctionName(function), OperandText(a, kBindsOr),
                                 OperandText(b, kBindsOr));
  expression->operands.push_back(std::move(a));
  expression->operands.push_back(std::move(b));
  return Finish(std::move(expression));
}

ExpressionPtr MakeNot(ExpressionPtr operand) {
  if (operand->kind == Kind::kConstant) {
    return MakeConstant(Not(operand->constant));
  }
  if (operand->kind == Kind::kNot) {
    return operand->children.front();
  }
  auto expression = New(Kind::kNot);
  expression->text = "not ";
  AppendWithin(*operand, kBindsAll, &expression->text);
  expression->children.push_back(std::move(operand));
  return Finish(std::move(expression));
}

ExpressionPtr MakeAnd(std::vector<ExpressionPtr> operands) {
  return MakeList(Kind::kAnd, std::move(operands));
}

ExpressionPtr MakeOr(std::vector<ExpressionPtr> operands) {
  return MakeList(Kind::kOr, std::move(operands));
}

ExpressionPtr MakeClaim(ClaimTerm term, size_t parameter) {
  auto expression = New(Kind::kClaim);
  expression->text = ClaimText(term);
  expression->claim = std::move(term);
  expression->parameter = parameter;
  return Finish(std::move(expression));
}

Operand ToOperand(ExpressionPtr expression) {
  Operand operand;
  if (expression->kind == Kind::kAttribute) {
    return expression->operands.front();
  }
  if (expression->kind == Kind::kConstant) {
    operand.literal.family = expression->constant == Truth::kNull ? Family::kNull : Family::kBool;
    operand.literal.scalar = expression->constant == Truth::kTrue ? 1 : 0;
    return operand;
  }
  operand.kind = Operand::Kind::kExpression;
  operand.expression = std::move(expression);
  return operand;
}

}  // namespace sluice::projectors

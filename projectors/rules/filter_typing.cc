#include "projectors/rules/filter_typing.h"

#include <fmt/format.h>

#include <charconv>
#include <limits>

#include "schemas/attribute_type.h"
#include "schemas/base/date.h"
#include "schemas/base/datetime.h"
#include "schemas/base/decimal.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"
#include "schemas/base/time_of_day.h"
#include "schemas/field_value.h"

namespace sluice::projectors {
namespace {

using TermKind = FilterTerm::Kind;

// The family in which two terms are compared: an attribute's type decides, then what is no number
// (a number may be a double, where the other side is INF), then what is not null.
Family CommonFamily(const FilterTerm& a, const FilterTerm& b) {
  if (a.kind == TermKind::kAttribute || b.kind == TermKind::kNull) {
    return a.family;
  }
  if (b.kind == TermKind::kAttribute || a.kind == TermKind::kNull || a.kind == TermKind::kNumber) {
    return b.family;
  }
  return a.family;
}

std::string Describe(const FilterTerm& term) {
  switch (term.kind) {
    case TermKind::kNull:
      return "null";
    case TermKind::kExpression:
      return "an expression that is true or false";
    case TermKind::kParameter:
      return fmt::format("the parameter {}", term.source);
    case TermKind::kAttribute:
      return fmt::format("attribute {} of type {}", term.attribute->name,
                         schemas::AttributeTypeName(term.attribute->type));
    default:
      break;
  }
  // By Family.
  constexpr std::string_view kNames[] = {"null",     "string", "number", "double", "bool",
                                         "datetime", "date",   "time",   "uuid",   "bytes"};
  return fmt::format("the {} {}", kNames[static_cast<size_t>(term.family)],
                     QuoteForError(term.source));
}

bool HasOrder(Family family) {
  switch (family) {
    case Family::kBool:
    case Family::kUuid:
    case Family::kBytes:
      return false;
    default:
      return true;
  }
}

bool IsOrder(Comparison comparison) {
  return comparison != Comparison::kEq && comparison != Comparison::kNe;
}

Operand LiteralOperand(Family family, int64_t scalar, double number, std::string bytes) {
  Operand operand;
  operand.literal = {family, false, scalar, number, std::move(bytes)};
  return operand;
}

// `text` is a canonical decimal.
Operand ExactOperand(std::string text) {
  Operand operand = LiteralOperand(Family::kExact, 0, 0, std::move(text));
  FilterLiteral& literal = operand.literal;
  const char* const end = literal.bytes.data() + literal.bytes.size();
  const auto parsed = std::from_chars(literal.bytes.data(), end, literal.scalar);
  literal.is_integer = parsed.ec == std::errc() && parsed.ptr == end;
  if (literal.is_integer) {
    literal.bytes.clear();
  } else {
    literal.scalar = 0;
  }
  return operand;
}

bool IsSet(Claim claim) { return claim == Claim::kTeams || claim == Claim::kRoles; }

}  // namespace

absl::Status FilterTyping::Mismatch(const FilterTerm& term, const FilterTerm& partner) const {
  return ErrorAt(term, "{} cannot be compared with {}", Describe(term), Describe(partner));
}

absl::Status FilterTyping::CheckNoParameter(const FilterTerm& term, std::string_view place) const {
  const bool inside = term.kind == TermKind::kExpression && term.expression->parameter.has_value();
  if (!inside && term.kind != TermKind::kParameter) {
    return absl::OkStatus();
  }
  return FilterError(text_, inside ? *term.expression->parameter : term.offset,
                     "a parameter cannot stand {}; it may be compared by eq or in, and such "
                     "comparisons joined by and or or",
                     place);
}

absl::StatusOr<ExpressionPtr> FilterTyping::Boolean(const FilterTerm& term,
                                                    std::string_view operation) const {
  switch (term.kind) {
    case TermKind::kExpression:
      return term.expression;
    case TermKind::kNull:
      return MakeConstant(Truth::kNull);
    case TermKind::kLiteral:
      if (term.family == Family::kBool) {
        return MakeConstant(term.scalar != 0 ? Truth::kTrue : Truth::kFalse);
      }
      break;
    case TermKind::kAttribute:
      if (term.attribute->type == v1::ATTRIBUTE_TYPE_BOOL) {
        ASSIGN_OR_RETURN(Operand operand, Resolve(term, Family::kBool, term));
        return MakeAttribute(std::move(operand));
      }
      break;
    case TermKind::kParameter:
      return ErrorAt(term, "{} is not compared with anything; write `attribute {} {}`", term.source,
                     IsSet(term.claim) ? "in" : "eq", term.source);
    default:
      break;
  }
  const std::string_view hint =
      operation == "not" ? "; not binds tighter than a comparison, so write not (a eq b)" : "";
  return ErrorAt(term, "{} is neither true nor false, as {} needs it{}", Describe(term), operation,
                 hint);
}

absl::StatusOr<Operand> FilterTyping::ResolveText(const FilterTerm& term,
                                                  const FilterTerm& partner) const {
  const auto explain = [&](std::string_view reason) {
    return ErrorAt(term, "{} {}", QuoteForError(term.source), reason);
  };
  const auto scalar = [&](Family family, const absl::StatusOr<int64_t>& value) {
    return value.ok() ? absl::StatusOr<Operand>(LiteralOperand(family, *value, 0, ""))
                      : explain(Message(value.status()));
  };
  switch (partner.kind == TermKind::kAttribute ? partner.attribute->type
                                               : v1::ATTRIBUTE_TYPE_UNSPECIFIED) {
    case v1::ATTRIBUTE_TYPE_DATETIME:
      return scalar(Family::kDatetime, ParseDatetime(term.bytes));
    case v1::ATTRIBUTE_TYPE_DATE:
      return scalar(Family::kDate, ParseDate(term.bytes));
    case v1::ATTRIBUTE_TYPE_TIME:
      return scalar(Family::kTime, ParseTimeOfDay(term.bytes));
    case v1::ATTRIBUTE_TYPE_DECIMAL: {
      auto text = CanonicalDecimal(term.bytes);
      return text.ok() ? absl::StatusOr<Operand>(ExactOperand(*std::move(text)))
                       : explain(Message(text.status()));
    }
    case v1::ATTRIBUTE_TYPE_UUID: {
      auto bytes = DecodeUuid(term.bytes);
      return bytes.has_value()
                 ? absl::StatusOr<Operand>(LiteralOperand(Family::kUuid, 0, 0, *std::move(bytes)))
                 : explain("is not a uuid");
    }
    default:
      return Mismatch(term, partner);
  }
}

absl::StatusOr<Operand> FilterTyping::Resolve(const FilterTerm& term, Family family,
                                              const FilterTerm& partner) const {
  if (term.kind == TermKind::kNull) {
    return Operand();
  }
  if (term.kind == TermKind::kNumber && (family == Family::kExact || family == Family::kDouble)) {
    const auto explain = [&](const absl::Status& status) {
      return ErrorAt(term, "{} {}", QuoteForError(term.source), Message(status));
    };
    if (family == Family::kExact) {
      auto text = CanonicalDecimal(term.source);
      return text.ok() ? absl::StatusOr<Operand>(ExactOperand(*std::move(text)))
                       : explain(text.status());
    }
    const auto number = ParseDouble(term.source);
    return number.ok() ? absl::StatusOr<Operand>(LiteralOperand(family, 0, *number, ""))
                       : explain(number.status());
  }
  if (term.family != family) {
    return term.kind == TermKind::kLiteral && term.family == Family::kString
               ? ResolveText(term, partner)
               : Mismatch(term, partner);
  }
  switch (term.kind) {
    case TermKind::kAttribute: {
      Operand operand;
      operand.kind = Operand::Kind::kAttribute;
      operand.attribute = term.attribute->id;
      operand.type = term.attribute->type;
      return operand;
    }
    case TermKind::kExpression:
      return ToOperand(term.expression);
    default:
      return LiteralOperand(family, term.scalar, term.number, term.bytes);
  }
}

absl::StatusOr<ExpressionPtr> FilterTyping::Compare(Comparison comparison, size_t operator_offset,
                                                    const FilterTerm& a,
                                                    const FilterTerm& b) const {
  for (const FilterTerm* term : {&a, &b}) {
    if (term->kind == TermKind::kParameter && comparison == Comparison::kEq) {
      return ClaimEquals(*term, term == &a ? b : a);
    }
    RETURN_IF_ERROR(CheckNoParameter(*term, comparison == Comparison::kEq
                                                ? "in a comparison of comparisons"
                                                : "in a comparison other than eq"));
  }
  const Family family = CommonFamily(a, b);
  // A literal that does not fit is named rather than the attribute that it should fit.
  ASSIGN_OR_RETURN(Operand left, Resolve(a, family, b));
  ASSIGN_OR_RETURN(Operand right, Resolve(b, family, a));
  if (IsOrder(comparison) && !HasOrder(family)) {
    return FilterError(text_, operator_offset, "{} has no order; compare it by eq, ne or in",
                       Describe(a.kind == TermKind::kNull ? b : a));
  }
  return MakeComparison(comparison, std::move(left), std::move(right));
}

absl::StatusOr<ExpressionPtr> FilterTyping::ClaimEquals(const FilterTerm& parameter,
                                                        const FilterTerm& other) const {
  if (IsSet(parameter.claim)) {
    return ErrorAt(parameter, "{} is a set; write `attribute in {}`", parameter.source,
                   parameter.source);
  }
  return ClaimOf(parameter, other);
}

absl::StatusOr<ExpressionPtr> FilterTyping::InParameter(const FilterTerm& a,
                                                        const FilterTerm& parameter) const {
  if (!IsSet(parameter.claim)) {
    return ErrorAt(parameter, "{} is one value; write `attribute eq {}`", parameter.source,
                   parameter.source);
  }
  return ClaimOf(parameter, a);
}

absl::StatusOr<ExpressionPtr> FilterTyping::ClaimOf(const FilterTerm& parameter,
                                                    const FilterTerm& other) const {
  ClaimTerm term;
  term.claim = parameter.claim;
  if (other.kind == TermKind::kAttribute) {
    if (!schemas::CanHoldOwner(other.attribute->type)) {
      return ErrorAt(parameter,
                     "{} cannot be compared with a claim; a string, int32, int64 or uuid can",
                     Describe(other));
    }
    term.attribute = other.attribute->id;
  } else if (other.kind == TermKind::kLiteral && other.family == Family::kString) {
    term.constant = other.bytes;
  } else if (other.kind == TermKind::kLiteral && other.family == Family::kUuid) {
    term.constant.resize(kUuidTextSize);
    EncodeUuid(other.bytes, term.constant.data());
  } else if (const auto value = ParseInteger(other.source, std::numeric_limits<int64_t>::min(),
                                             std::numeric_limits<int64_t>::max());
             other.kind == TermKind::kNumber && value.ok()) {
    term.constant = std::to_string(*value);
  } else {
    RETURN_IF_ERROR(CheckNoParameter(other, "beside another one"));
    return ErrorAt(other.kind == TermKind::kExpression ? parameter : other,
                   "{} cannot be compared with the claim {}; an attribute, a string, an integer "
                   "or a uuid can",
                   Describe(other), parameter.source);
  }
  return MakeClaim(std::move(term), parameter.offset);
}

absl::StatusOr<ExpressionPtr> FilterTyping::In(const FilterTerm& a,
                                               const std::vector<FilterTerm>& items) const {
  RETURN_IF_ERROR(CheckNoParameter(a, "on the left of a list"));
  std::vector<ExpressionPtr> any;
  std::vector<Operand> literals;
  literals.reserve(items.size());
  const bool is_literal = a.kind != TermKind::kAttribute && a.kind != TermKind::kExpression;
  for (const FilterTerm& item : items) {
    if (is_literal || item.kind == TermKind::kParameter) {
      ASSIGN_OR_RETURN(ExpressionPtr equal, Compare(Comparison::kEq, item.offset, a, item));
      any.push_back(std::move(equal));
      continue;
    }
    ASSIGN_OR_RETURN(Operand literal, Resolve(item, a.family, a));
    literals.push_back(std::move(literal));
  }
  if (!literals.empty()) {
    ASSIGN_OR_RETURN(Operand operand, Resolve(a, a.family, a));
    if (operand.kind == Operand::Kind::kLiteral) {  // an expression that is always the same
      for (Operand& literal : literals) {
        any.push_back(MakeComparison(Comparison::kEq, operand, std::move(literal)));
      }
    } else {
      any.push_back(MakeIn(std::move(operand), std::move(literals)));
    }
  }
  return MakeOr(std::move(any));
}

absl::StatusOr<ExpressionPtr> FilterTyping::Call(Function function, const FilterTerm& a,
                                                 const FilterTerm& b) const {
  const auto resolve = [&](const FilterTerm& term) -> absl::StatusOr<Operand> {
    RETURN_IF_ERROR(CheckNoParameter(term, "in a function"));
    if (term.kind != TermKind::kNull && term.family != Family::kString) {
      return ErrorAt(term, "{} takes strings, and this is {}", FunctionName(function),
                     Describe(term));
    }
    return Resolve(term, Family::kString, term);
  };
  ASSIGN_OR_RETURN(Operand left, resolve(a));
  ASSIGN_OR_RETURN(Operand right, resolve(b));
  return MakeCall(function, std::move(left), std::move(right));
}

absl::StatusOr<ExpressionPtr> FilterTyping::Not(const FilterTerm& term) const {
  ASSIGN_OR_RETURN(ExpressionPtr operand, Boolean(term, "not"));
  RETURN_IF_ERROR(CheckNoParameter(term, "under not"));
  return MakeNot(std::move(operand));
}

}  // namespace sluice::projectors

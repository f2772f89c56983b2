#include "tests/support/rows/plain_filter.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::testing {
namespace {

using Kind = PlainFilter::Kind;

std::string LiteralText(const std::optional<PlainValue>& literal) {
  if (!literal.has_value()) {
    return "null";
  }
  switch (literal->type) {
    case PlainType::kString: {
      std::string text = "'";
      for (const char c : literal->text) {
        text.append(c == '\'' ? 2 : 1, c);
      }
      return text + "'";
    }
    case PlainType::kDatetime:  // the same instant, in UTC or not
      return fmt::format("2026-01-{:02}T0{}", literal->number,
                         literal->number % 2 == 0 ? "1:00:00+01:00" : "0:00:00Z");
    case PlainType::kDate:  // in quotes or not
      return literal->number % 2 == 0 ? TextOf(*literal) : "'" + TextOf(*literal) + "'";
    case PlainType::kTime:  // digits that are cut off are no difference
      return TextOf(*literal) + (literal->number % 2 == 0 ? "" : "999");
    case PlainType::kDecimal:  // needless zeros are no difference
      return TextOf(*literal) + (literal->number % 1'000 == 0 ? ".00" : "0");
    default:
      return TextOf(*literal);
  }
}

std::string ClaimText(const PlainFilter& filter) {
  const std::string left =
      filter.attribute.empty() ? LiteralText(filter.literals[0]) : filter.attribute;
  const bool set = filter.op == "@teams" || filter.op == "@roles";
  if (set) {
    return left + " in " + filter.op;
  }
  return filter.swapped ? filter.op + " eq " + left : left + " eq " + filter.op;
}

std::string JoinedText(const PlainFilter& filter) {
  std::string text;
  for (const PlainFilter& child : filter.children) {
    // `and` binds tighter than `or`.
    const bool wrap = filter.kind == Kind::kAnd && child.kind == Kind::kOr;
    text += text.empty() ? "" : filter.kind == Kind::kAnd ? " and " : " or ";
    text += wrap ? "(" + FilterText(child) + ")" : FilterText(child);
  }
  return text;
}

// null equals null and nothing else, and is in no order.
bool Compare(const std::string& op, const std::optional<PlainValue>& a,
             const std::optional<PlainValue>& b) {
  if (!a.has_value() || !b.has_value()) {
    const bool equal = a.has_value() == b.has_value();
    return op == "eq" ? equal : op == "ne" && !equal;
  }
  const int order = Order(*a, *b);
  return op == "eq"   ? order == 0
         : op == "ne" ? order != 0
         : op == "gt" ? order > 0
         : op == "ge" ? order >= 0
         : op == "lt" ? order < 0
                      : order <= 0;
}

bool Call(const std::string& op, const std::string& text, const std::string& part) {
  if (op == "contains") {
    return text.find(part) != std::string::npos;
  }
  return op == "startswith" ? text.starts_with(part) : text.ends_with(part);
}

bool MatchesClaim(const std::string& claim, const std::string& value, const CallerClaims& claims) {
  if (value.size() > kPlainClaimBytesMax) {
    return false;
  }
  if (claim == "@user") {
    return !claims.user.empty() && claims.user == value;
  }
  if (claim == "@businessunit") {
    return claims.business_unit == value;
  }
  const std::vector<std::string>& values = claim == "@teams" ? claims.teams : claims.roles;
  return std::ranges::find(values, value) != values.end();
}

// Of `and` with `decides` false, of `or` with true: one such operand decides, unknown comes next.
Truth Join(const PlainFilter& filter, bool decides, const Lookup& row, const CallerClaims& claims) {
  Truth result = !decides;
  for (const PlainFilter& child : filter.children) {
    const Truth truth = Evaluate(child, row, claims);
    if (truth == decides) {
      return decides;
    }
    result = truth.has_value() ? result : std::nullopt;
  }
  return result;
}

}  // namespace

std::string FilterText(const PlainFilter& filter) {
  switch (filter.kind) {
    case Kind::kCompare: {
      const std::string right =
          filter.other.empty() ? LiteralText(filter.literals[0]) : filter.other;
      return filter.swapped ? fmt::format("{} {} {}", right, filter.op, filter.attribute)
                            : fmt::format("{} {} {}", filter.attribute, filter.op, right);
    }
    case Kind::kIn: {
      std::string items;
      for (const auto& literal : filter.literals) {
        items += (items.empty() ? "" : ",") + LiteralText(literal);
      }
      return fmt::format("{} in ({})", filter.attribute, items);
    }
    case Kind::kCall:
      return fmt::format("{}({},{})", filter.op, filter.attribute, LiteralText(filter.literals[0]));
    case Kind::kBool:
      return filter.attribute;
    case Kind::kClaim:
      return ClaimText(filter);
    case Kind::kNot:
      return "not (" + FilterText(filter.children[0]) + ")";
    case Kind::kAnd:
    case Kind::kOr:
      return JoinedText(filter);
  }
  return "";
}

Truth Evaluate(const PlainFilter& filter, const Lookup& row, const CallerClaims& claims) {
  switch (filter.kind) {
    case Kind::kCompare: {
      const std::optional<PlainValue> left = row(filter.attribute);
      const std::optional<PlainValue> right =
          filter.other.empty() ? filter.literals[0] : row(filter.other);
      return filter.swapped ? Compare(filter.op, right, left) : Compare(filter.op, left, right);
    }
    case Kind::kIn: {
      const std::optional<PlainValue> value = row(filter.attribute);
      return std::ranges::any_of(
          filter.literals, [&](const auto& literal) { return Compare("eq", value, literal); });
    }
    case Kind::kCall: {
      const std::optional<PlainValue> value = row(filter.attribute);
      return value.has_value() ? Truth(Call(filter.op, value->text, filter.literals[0]->text))
                               : std::nullopt;
    }
    case Kind::kBool: {
      const std::optional<PlainValue> value = row(filter.attribute);
      return value.has_value() ? Truth(value->number != 0) : std::nullopt;
    }
    case Kind::kClaim: {
      const std::optional<PlainValue> value =
          filter.attribute.empty() ? filter.literals[0] : row(filter.attribute);
      return value.has_value() && MatchesClaim(filter.op, TextOf(*value), claims);
    }
    case Kind::kNot: {
      const Truth truth = Evaluate(filter.children[0], row, claims);
      return truth.has_value() ? Truth(!*truth) : std::nullopt;
    }
    case Kind::kAnd:
      return Join(filter, false, row, claims);
    case Kind::kOr:
      return Join(filter, true, row, claims);
  }
  return std::nullopt;
}

void CollectAttributes(const PlainFilter& filter, std::set<std::string>* names) {
  for (const std::string& name : {filter.attribute, filter.other}) {
    if (!name.empty()) {
      names->insert(name);
    }
  }
  for (const PlainFilter& child : filter.children) {
    CollectAttributes(child, names);
  }
}

}  // namespace sluice::testing

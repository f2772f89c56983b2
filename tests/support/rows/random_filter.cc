#include "tests/support/rows/random_org.h"

namespace sluice::testing {
namespace {

using Kind = PlainFilter::Kind;

bool IsNumber(PlainType type) {
  return type == PlainType::kInt32 || type == PlainType::kInt64 || type == PlainType::kDecimal;
}

}  // namespace

// From few values, so that rows have them.
PlainValue RandomOrg::RandomLiteral(const PlainAttribute& attribute) {
  switch (attribute.type) {
    case PlainType::kString:
      return Text(dice_.Pick<std::string>(
          {"a", "ab", "it's", "B", "u1", "u2", "t1", "b1", "k1", label_ + "1"}));
    case PlainType::kBool:
      return Number(PlainType::kBool, dice_.Chance(50) ? 1 : 0);
    case PlainType::kDatetime:
      return Number(PlainType::kDatetime, static_cast<int64_t>(dice_.Between(1, 5)));
    case PlainType::kDate:
      return Number(attribute.type, static_cast<int64_t>(dice_.Below(PlainDates().size())));
    case PlainType::kTime:
      return Number(attribute.type, static_cast<int64_t>(dice_.Below(PlainTimes().size())));
    default:
      // Fractions too: types of numbers compare with each other by value.
      return dice_.Chance(70) ? Number(PlainType::kInt64,
                                       static_cast<int64_t>(dice_.Between(0, 16)) * 1'000 - 8'000)
                              : Number(PlainType::kDecimal,
                                       static_cast<int64_t>(dice_.Between(0, 32)) * 500 - 8'000);
  }
}

PlainFilter RandomOrg::RandomCompare(const PlainEntity& entity, const PlainAttribute& attribute) {
  PlainFilter filter{.kind = Kind::kCompare, .op = "eq", .attribute = attribute.name};
  filter.op = attribute.type == PlainType::kBool
                  ? dice_.Pick<std::string>({"eq", "ne"})
                  : dice_.Pick<std::string>({"eq", "ne", "gt", "ge", "lt", "le"});
  filter.swapped = dice_.Chance(25);
  const PlainAttribute& other = dice_.Pick(entity.attributes);
  if (dice_.Chance(25) &&
      (other.type == attribute.type || (IsNumber(other.type) && IsNumber(attribute.type)))) {
    filter.other = other.name;
  } else if (dice_.Chance(15) && attribute.type != PlainType::kBool) {
    filter.literals.push_back(std::nullopt);
  } else {
    filter.literals.push_back(RandomLiteral(attribute));
  }
  return filter;
}

PlainFilter RandomOrg::RandomLeaf(const PlainEntity& entity) {
  const PlainAttribute& attribute = dice_.Pick(entity.attributes);
  if (attribute.type == PlainType::kBool && dice_.Chance(50)) {
    return {.kind = Kind::kBool, .attribute = attribute.name};
  }
  if (attribute.type == PlainType::kString && dice_.Chance(35)) {
    PlainFilter filter{.kind = Kind::kCall, .attribute = attribute.name};
    filter.op = dice_.Pick<std::string>({"contains", "startswith", "endswith"});
    filter.literals.push_back(Text(dice_.Pick<std::string>({"a", "b", "1", "'s", ""})));
    return filter;
  }
  if (attribute.type != PlainType::kBool && dice_.Chance(25)) {
    PlainFilter filter{.kind = Kind::kIn, .attribute = attribute.name};
    for (size_t i = dice_.Between(1, 3); i > 0; --i) {
      filter.literals.push_back(dice_.Chance(15) ? std::nullopt
                                                 : std::optional(RandomLiteral(attribute)));
    }
    return filter;
  }
  return RandomCompare(entity, attribute);
}

PlainFilter RandomOrg::RandomClaim(const PlainEntity& entity) {
  PlainFilter filter{.kind = Kind::kClaim};
  filter.op = dice_.Pick<std::string>({"@user", "@teams", "@businessunit", "@roles"});
  filter.swapped = dice_.Chance(30);
  const PlainAttribute& attribute = dice_.Pick(entity.attributes);
  const bool holds_owner =
      attribute.type == PlainType::kString || attribute.type == PlainType::kInt64;
  if (holds_owner && dice_.Chance(60)) {
    filter.attribute = attribute.name;
  } else if (dice_.Chance(70)) {
    filter.attribute = filter.op == "@user"           ? "owner"
                       : filter.op == "@teams"        ? "team"
                       : filter.op == "@businessunit" ? "unit"
                                                      : "kind";
  } else {
    filter.literals.push_back(Text(dice_.Pick<std::string>({"u1", "t1", "b1", "r1", "r2"})));
  }
  return filter;
}

// Parameters stand under `and` and `or` only.
PlainFilter RandomOrg::RandomFilter(const PlainEntity& entity, int depth, bool may_claim) {
  if (depth == 0 || dice_.Chance(20)) {
    return may_claim && dice_.Chance(45) ? RandomClaim(entity) : RandomLeaf(entity);
  }
  if (dice_.Chance(20)) {
    PlainFilter filter{.kind = Kind::kNot};
    filter.children.push_back(RandomFilter(entity, depth - 1, false));
    return filter;
  }
  PlainFilter filter{.kind = dice_.Chance(50) ? Kind::kAnd : Kind::kOr};
  for (size_t i = 0; i < 2; ++i) {
    filter.children.push_back(RandomFilter(entity, depth - 1, may_claim));
  }
  return filter;
}

}  // namespace sluice::testing

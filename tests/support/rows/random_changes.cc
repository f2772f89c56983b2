#include <algorithm>

#include "tests/support/rows/random_org.h"

namespace sluice::testing {
namespace {

constexpr size_t kKeys = 6;

}  // namespace

std::string RandomOrg::RandomKey(const PlainEntity& entity, size_t range) {
  const std::string number = std::to_string(dice_.Between(1, range));
  return entity.name == "e1" ? number : "k" + number;
}

std::optional<PlainValue> RandomOrg::RandomValue(const PlainAttribute& attribute) {
  if (!attribute.references.empty()) {
    // Sometimes a key that no row ever has.
    const auto number = static_cast<int64_t>(dice_.Between(1, kKeys + 1));
    return dice_.Chance(12) ? std::nullopt
           : attribute.type == PlainType::kInt64
               ? std::optional(Number(PlainType::kInt64, number * 1'000))
               : std::optional(Text("k" + std::to_string(number)));
  }
  const std::string& name = attribute.name;
  if (name == "label") {  // always there: it tells whose row it is
    return Text(label_ + std::to_string(dice_.Below(1'000)));
  }
  if (dice_.Chance(15)) {
    return std::nullopt;
  }
  if (name == "owner" || name == "deputy") {
    return Text(dice_.Pick<std::string>({"u1", "u2", "u3"}));
  }
  if (name == "team") {
    return Text(
        dice_.Pick<std::string>({"t1", "t2", "t3", "t1", "t2", "t3", kLongTeam, kTooLongTeam}));
  }
  if (name == "unit") {
    return Text(dice_.Pick<std::string>({"b1", "b2"}));
  }
  if (name == "kind") {
    return Text(dice_.Pick<std::string>({"a", "ab", "it's", "B", "r1"}));
  }
  switch (attribute.type) {
    case PlainType::kString:
    case PlainType::kBool:
    case PlainType::kDatetime:
    case PlainType::kDate:
    case PlainType::kTime:
      return RandomLiteral(attribute);
    case PlainType::kDecimal:
      return Number(attribute.type, static_cast<int64_t>(dice_.Between(0, 32)) * 500 - 8'000);
    default:
      return Number(attribute.type, static_cast<int64_t>(dice_.Between(0, 16)) * 1'000 - 8'000);
  }
}

PlainOp RandomOrg::RandomOp() {
  auto it = head_.entities().begin();
  std::advance(it, static_cast<std::ptrdiff_t>(dice_.Below(head_.entities().size())));
  const PlainEntity& entity = it->second.schema;
  PlainOp op{.entity = entity.id, .key = RandomKey(entity, kKeys)};
  if (dice_.Chance(25)) {
    op.version = static_cast<int64_t>(dice_.Between(1, 20));
  }
  const size_t dice = dice_.Below(100);
  if (dice < 18) {
    op.kind = v1::Operation::KIND_DELETE;
    return op;
  }
  if (dice < 55) {
    op.kind = v1::Operation::KIND_PATCH;
  }
  const bool patch = op.kind == v1::Operation::KIND_PATCH;
  const PlainAttribute& key = entity.attributes.front();
  if (!patch || dice_.Chance(30)) {
    op.row[key.id] = key.type == PlainType::kString ? Text(op.key)
                                                    : Number(key.type, std::stoll(op.key) * 1'000);
  }
  for (size_t i = 1; i < entity.attributes.size(); ++i) {
    const PlainAttribute& attribute = entity.attributes[i];
    if (patch && !dice_.Chance(20)) {
      continue;
    }
    const std::optional<PlainValue> value = RandomValue(attribute);
    if (value.has_value()) {
      op.row[attribute.id] = *value;
    } else if (patch) {
      op.cleared.push_back(attribute.id);
    }
  }
  std::ranges::sort(op.cleared);
  return op;
}

RandomOrg::What RandomOrg::Changes() {
  if (!sent_.empty() && dice_.Chance(10)) {
    return dice_.Pick(sent_);  // perhaps long ago, perhaps of an entity that is gone
  }
  PlainSet set;
  const size_t ops = dice_.Chance(8) ? dice_.Between(8, 20) : dice_.Between(1, 4);
  for (size_t i = 0; i < ops && !head_.entities().empty(); ++i) {
    set.ops.push_back(RandomOp());
  }
  set.source = dice_.Chance(50) ? "crm" : "erp";
  if (dice_.Chance(60)) {
    set.id = "s" + std::to_string(next_set_++);
    sent_.push_back(set);
  }
  return set;
}

}  // namespace sluice::testing

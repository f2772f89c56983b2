#include "tests/support/rows/random_org.h"

#include <algorithm>

namespace sluice::testing {
namespace {

const std::vector<std::string> kRoles = {"r1", "r2", "r3"};
const std::vector<std::string> kProfiles = {"p1", "p2", "p3"};
// Attributes that come and go, each always of one type.
const std::vector<std::pair<std::string, PlainType>> kExtras = {
    {"x1", PlainType::kInt32},    {"x2", PlainType::kDecimal}, {"x3", PlainType::kBool},
    {"x4", PlainType::kDatetime}, {"x5", PlainType::kString},  {"x6", PlainType::kDate},
    {"x7", PlainType::kTime}};

CallerClaims RandomClaims(Dice* dice) {
  CallerClaims claims;
  claims.user = dice->Pick<std::string>({"u1", "u2", "u3"});
  claims.roles = dice->Some(kRoles, 70);
  if (dice->Chance(20)) {
    claims.roles.push_back("ghost");
  }
  claims.teams = dice->Some<std::string>({"t1", "t2", "t3", "7", kLongTeam, kTooLongTeam}, 40);
  if (dice->Chance(75)) {
    claims.business_unit = dice->Pick<std::string>({"b1", "b2"});
  }
  return claims;
}

}  // namespace

RandomOrg::RandomOrg(uint64_t seed, const std::string& label, int64_t window)
    : dice_(seed), label_(label), head_(window) {
  for (size_t i = dice_.Between(2, 4); i > 0; --i) {
    names_.push_back("e" + std::to_string(i));
  }
  for (const std::string& name : names_) {
    for (size_t i = dice_.Between(1, 3); i > 0; --i) {
      references_[name]["ref" + std::to_string(i)] = dice_.Pick(names_);
    }
  }
  for (size_t i = dice_.Between(4, 7); i > 0; --i) {
    claims_.push_back(RandomClaims(&dice_));
  }
  // Profiles and roles name entities, so those come first; all are made when their turn is.
  start_.push_back(PlainEvent::Opened());
  for (const std::string& name : names_) {
    start_.push_back(PlainEntity{.name = name});
  }
  for (size_t i = dice_.Between(2, kRoles.size()); i > 0; --i) {
    start_.push_back(PlainRole{.name = kRoles[i - 1]});
  }
  for (size_t i = dice_.Between(1, kProfiles.size()); i > 0; --i) {
    start_.push_back(PlainProfile{.name = kProfiles[i - 1]});
  }
}

PlainEvent RandomOrg::Next(int64_t offset) {
  PlainEvent event{.offset = offset};
  if (!start_.empty()) {
    event.what = std::move(start_.front());
    start_.pop_front();
    if (auto* entity = std::get_if<PlainEntity>(&event.what)) {
      *entity = NewEntity(entity->name);
    } else if (auto* role = std::get_if<PlainRole>(&event.what)) {
      *role = RandomRole(role->name);
    } else if (auto* profile = std::get_if<PlainProfile>(&event.what)) {
      *profile = RandomProfile(profile->name);
    }
  } else {
    event.what = dice_.Chance(12) ? Definition() : Changes();
  }
  head_.Apply(event);
  return event;
}

RandomOrg::What RandomOrg::Definition() {
  using Deleted = PlainEvent::Deleted;
  const size_t dice = dice_.Below(100);
  if (dice < 35) {
    return RandomProfile(dice_.Pick(kProfiles));
  }
  if (dice < 42 && !head_.profiles().empty()) {
    return Deleted{Deleted::What::kProfile, dice_.Pick(kProfiles)};
  }
  if (dice < 60) {
    return RandomRole(dice_.Pick(kRoles));
  }
  if (dice < 64) {
    return Deleted{Deleted::What::kRole, dice_.Pick(kRoles)};
  }
  return ChangeEntity();
}

void RandomOrg::AddAttribute(PlainEntity* entity, const std::string& name, PlainType type,
                             const std::string& references) {
  entity->attributes.push_back({entity->next_attribute_id++, name, type, references});
}

PlainEntity RandomOrg::NewEntity(const std::string& name) {
  PlainEntity entity{.id = next_entity_++, .name = name};
  // Keys of the first entity are numbers.
  AddAttribute(&entity, "id", name == "e1" ? PlainType::kInt64 : PlainType::kString);
  AddAttribute(&entity, "kind", PlainType::kString);
  AddAttribute(&entity, "label", PlainType::kString);
  AddAttribute(&entity, "n", PlainType::kInt64);
  for (const char* owner : {"owner", "deputy", "team", "unit"}) {
    AddAttribute(&entity, owner, PlainType::kString);
  }
  for (const auto& [kind, attribute] :
       {std::pair{v1::RULE_KIND_USER, "owner"}, std::pair{v1::RULE_KIND_TEAM, "team"},
        std::pair{v1::RULE_KIND_BUSINESS_UNIT, "unit"}}) {
    if (dice_.Chance(80)) {
      entity.ownership[kind] = attribute;
    }
  }
  for (const auto& [reference, to] : references_[name]) {
    if (dice_.Chance(90)) {
      AddAttribute(&entity, reference, to == "e1" ? PlainType::kInt64 : PlainType::kString, to);
    }
  }
  for (const auto& [extra, type] : kExtras) {
    if (dice_.Chance(50)) {
      AddAttribute(&entity, extra, type);
    }
  }
  return entity;
}

// A filter, ownership or reference that a profile uses, keeps its attribute (409 attribute_in_use).
bool RandomOrg::InUse(const PlainEntity& entity, const PlainAttribute& attribute) const {
  for (const auto& [name, profile] : head_.profiles()) {
    const auto rules = profile.entities.find(entity.name);
    for (size_t i = 0; rules != profile.entities.end() && i < rules->second.size(); ++i) {
      std::set<std::string> names;
      if (rules->second[i].filter != nullptr) {
        CollectAttributes(*rules->second[i].filter, &names);
      }
      if (names.contains(attribute.name)) {
        return true;
      }
    }
  }
  return false;
}

RandomOrg::What RandomOrg::ChangeEntity() {
  using Deleted = PlainEvent::Deleted;
  const std::string& name = dice_.Pick(names_);
  const auto found = head_.entities().find(name);
  if (found == head_.entities().end()) {
    return NewEntity(name);
  }
  PlainEntity entity = found->second.schema;
  const size_t dice = dice_.Below(100);
  if (dice < 22) {
    return Deleted{Deleted::What::kEntity, name, entity.id};
  }
  const auto owner = entity.ownership.find(v1::RULE_KIND_USER);
  if (dice < 40 && owner != entity.ownership.end()) {
    owner->second = owner->second == "owner" ? "deputy" : "owner";
    return entity;
  }
  const auto& [extra, type] = dice_.Pick(kExtras);
  const PlainAttribute* attribute = entity.Find(extra);
  if (attribute == nullptr) {
    AddAttribute(&entity, extra, type);
  } else if (!InUse(entity, *attribute)) {
    entity.removed.push_back(*attribute);
    std::erase_if(entity.attributes, [&](const auto& a) { return a.name == extra; });
  }
  return entity;
}

PlainRule RandomOrg::RandomRule(const PlainEntity& entity,
                                const std::vector<std::string>& sources) {
  // Both directions, to and from entities that come before this one: so there is no circle.
  std::vector<PlainRule> related;
  for (const auto& [name, other] : head_.entities()) {
    for (const PlainAttribute& attribute : other.schema.attributes) {
      const std::string& source = name == entity.name ? attribute.references : name;
      if (!attribute.references.empty() &&
          (name == entity.name || attribute.references == entity.name) &&
          std::ranges::find(sources, source) != sources.end()) {
        related.push_back({v1::RULE_KIND_RELATED, name, attribute.name, nullptr});
      }
    }
  }
  const size_t dice = dice_.Below(100);
  if (!related.empty() && dice < 60) {
    return dice_.Pick(related);
  }
  if (dice < 85 && !entity.ownership.empty()) {
    auto kind = entity.ownership.begin();
    std::advance(kind, static_cast<std::ptrdiff_t>(dice_.Below(entity.ownership.size())));
    return {kind->first, "", "", nullptr};
  }
  if (dice < 95) {
    return {v1::RULE_KIND_FILTER, "", "",
            std::make_shared<const PlainFilter>(RandomFilter(entity, 2, true))};
  }
  return {};
}

PlainProfile RandomOrg::RandomProfile(const std::string& name) {
  PlainProfile profile{.name = name};
  std::vector<std::string> order = names_;
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1], order[dice_.Below(i)]);
  }
  std::vector<std::string> sources;
  for (const std::string& entity : order) {
    const auto found = head_.entities().find(entity);
    if (found != head_.entities().end() && dice_.Chance(85)) {
      for (size_t i = dice_.Between(1, 3); i > 0; --i) {
        profile.entities[entity].push_back(RandomRule(found->second.schema, sources));
      }
      sources.push_back(entity);
    }
  }
  profile.roles = dice_.Some(kRoles, 60);
  return profile;
}

PlainRole RandomOrg::RandomRole(const std::string& name) {
  PlainRole role{.name = name, .offline = dice_.Chance(92)};
  for (const auto& [entity, known] : head_.entities()) {
    if (!dice_.Chance(85)) {
      continue;
    }
    PlainRole::Grant& grant = role.entities[entity];
    grant.read = dice_.Chance(90);
    for (const PlainAttribute& attribute : known.schema.attributes) {
      if (attribute.name != "id" && dice_.Chance(10)) {
        grant.denied.insert(attribute.name);
      }
    }
  }
  return role;
}

}  // namespace sluice::testing

#include <algorithm>

#include "tests/support/rows/plain_model.h"

// Who may have which rows (gateways/docs/api.md, section 4), by brute force.
namespace sluice::testing {
namespace {

using Reads = std::function<bool(const std::string& entity)>;

// What one profile gives one caller.
class ProfileRows {
 public:
  ProfileRows(const PlainModel& model, const PlainProfile& profile, const CallerClaims& claims,
              const Reads& reads)
      : model_(model), profile_(profile), claims_(claims), reads_(reads) {}

  bool Has(const std::string& entity, const std::string& key) {
    const auto [known, added] = known_.try_emplace({entity, key}, false);
    if (added) {
      const bool has = Find(entity, key);
      known_[{entity, key}] = has;
      return has;
    }
    return known->second;
  }

 private:
  bool Find(const std::string& name, const std::string& key) {
    const auto entity = model_.entities().find(name);
    const auto rules = profile_.entities.find(name);
    if (entity == model_.entities().end() || rules == profile_.entities.end() || !reads_(name)) {
      return false;
    }
    const auto row = entity->second.rows.find(key);
    return row != entity->second.rows.end() && row->second.live &&
           std::ranges::any_of(rules->second, [&](const PlainRule& rule) {
             return Gives(rule, entity->second, key, row->second);
           });
  }

  bool Gives(const PlainRule& rule, const PlainModel::Entity& entity, const std::string& key,
             const PlainModel::Row& row) {
    switch (rule.kind) {
      case v1::RULE_KIND_ALL:
        return true;
      case v1::RULE_KIND_FILTER:
        return PassesFilter(*rule.filter, entity.schema, row);
      case v1::RULE_KIND_RELATED:
        return IsRelated(rule, entity.schema, key, row);
      default:
        return Owns(rule.kind, entity.schema, row);
    }
  }

  static std::optional<PlainValue> ValueOf(const PlainEntity& schema, const std::string& attribute,
                                           const PlainModel::Row& row) {
    const PlainAttribute* found = schema.Find(attribute);
    const auto value = found == nullptr ? row.values.end() : row.values.find(found->id);
    return value == row.values.end() ? std::nullopt : std::optional(value->second);
  }

  bool PassesFilter(const PlainFilter& filter, const PlainEntity& schema,
                    const PlainModel::Row& row) const {
    std::set<std::string> names;
    CollectAttributes(filter, &names);
    for (const std::string& name : names) {
      if (schema.Find(name) == nullptr) {
        return false;  // the entity was made anew without it: no such filter can be
      }
    }
    const auto lookup = [&](const std::string& name) { return ValueOf(schema, name, row); };
    return Evaluate(filter, lookup, claims_).value_or(false);
  }

  bool Owns(v1::RuleKind kind, const PlainEntity& schema, const PlainModel::Row& row) const {
    const auto attribute = schema.ownership.find(kind);
    if (attribute == schema.ownership.end()) {
      return false;
    }
    const std::optional<PlainValue> owner = ValueOf(schema, attribute->second, row);
    if (!owner.has_value()) {
      return false;
    }
    const std::string text = TextOf(*owner);
    if (text.size() > kPlainClaimBytesMax) {
      return false;
    }
    if (kind == v1::RULE_KIND_USER) {
      return claims_.user == text && !text.empty();
    }
    return kind == v1::RULE_KIND_TEAM
               ? std::ranges::find(claims_.teams, text) != claims_.teams.end()
               : claims_.business_unit == text;
  }

  bool IsRelated(const PlainRule& rule, const PlainEntity& schema, const std::string& key,
                 const PlainModel::Row& row) {
    const auto holder = model_.entities().find(rule.entity);
    const PlainAttribute* reference =
        holder == model_.entities().end() ? nullptr : holder->second.schema.Find(rule.attribute);
    if (reference == nullptr || reference->references.empty()) {
      return false;
    }
    if (rule.entity == schema.name) {  // rows that point at one that the caller has
      const std::optional<PlainValue> value = ValueOf(schema, rule.attribute, row);
      return value.has_value() && Has(reference->references, TextOf(*value));
    }
    return reference->references == schema.name &&
           std::ranges::any_of(holder->second.rows, [&](const auto& other) {
             const auto value = ValueOf(holder->second.schema, rule.attribute, other.second);
             return other.second.live && value.has_value() && TextOf(*value) == key &&
                    Has(rule.entity, other.first);
           });
  }

  const PlainModel& model_;
  const PlainProfile& profile_;
  const CallerClaims& claims_;
  const Reads& reads_;
  std::map<RowName, bool> known_;
};

void AddRows(const PlainModel& model, ProfileRows* rows, std::set<RowName>* to) {
  for (const auto& [name, entity] : model.entities()) {
    for (const auto& [key, row] : entity.rows) {
      if (rows->Has(name, key)) {
        to->insert({name, key});
      }
    }
  }
}

bool GrantsRead(const PlainRole& role, const std::string& entity) {
  const auto grant = role.entities.find(entity);
  return grant != role.entities.end() && grant->second.read;
}

PlainColumns VisibleColumns(const PlainEntity& schema, const PlainModel::Row& row,
                            const std::vector<const PlainRole*>& roles) {
  PlainColumns columns;
  for (const PlainAttribute& attribute : schema.attributes) {
    const bool is_key = attribute.name == schema.attributes.front().name;
    const bool sent = is_key || std::ranges::any_of(roles, [&](const PlainRole* role) {
                        return GrantsRead(*role, schema.name) &&
                               !role->entities.at(schema.name).denied.contains(attribute.name);
                      });
    const auto value = row.values.find(attribute.id);
    if (sent && value != row.values.end()) {
      columns[attribute.id] = JsonOf(value->second);
    }
  }
  return columns;
}

}  // namespace

std::optional<PlainRows> PlainModel::RowsOf(const CallerClaims& claims) const {
  const std::vector<const PlainRole*> roles = RolesOf(claims);
  if (std::ranges::none_of(roles, [](const PlainRole* role) { return role->offline; })) {
    return std::nullopt;
  }
  const Reads reads = [&](const std::string& entity) {
    return std::ranges::any_of(roles,
                               [&](const PlainRole* role) { return GrantsRead(*role, entity); });
  };
  std::set<RowName> names;
  for (const auto& [name, profile] : profiles_) {
    const bool holds = std::ranges::any_of(roles, [&](const PlainRole* role) {
      return std::ranges::find(profile.roles, role->name) != profile.roles.end();
    });
    if (holds) {
      ProfileRows of_profile(*this, profile, claims, reads);
      AddRows(*this, &of_profile, &names);
    }
  }
  PlainRows rows;
  for (const RowName& name : names) {
    const Entity& entity = entities_.at(name.first);
    rows[name] = VisibleColumns(entity.schema, entity.rows.at(name.second), roles);
  }
  return rows;
}

std::set<RowName> PlainModel::RowsWhateverTheRoles(const CallerClaims& claims) const {
  const Reads reads = [](const std::string&) { return true; };
  std::set<RowName> names;
  for (const auto& [name, profile] : profiles_) {
    ProfileRows of_profile(*this, profile, claims, reads);
    AddRows(*this, &of_profile, &names);
  }
  return names;
}

}  // namespace sluice::testing

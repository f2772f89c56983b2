#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "projectors/staging/org_model.h"
#include "schemas/status.h"

// What a caller may hold by an OrgModel.
namespace sluice::projectors {
namespace {

using RolesByName = std::map<std::string_view, const v1::Role*>;

// The roles of the caller's that exist, ascending. kPermissionDenied where none has `offline`.
absl::StatusOr<RolesByName> RolesOf(const OrgModel& model, const CallerClaims& caller) {
  RolesByName roles;
  bool offline = false;
  for (const std::string& name : caller.roles) {
    const auto role = model.roles().find(name);
    if (role != model.roles().end()) {
      roles.emplace(role->first, &role->second);
      offline = offline || role->second.offline();
    }
  }
  if (!offline) {
    return Error(absl::StatusCode::kPermissionDenied, "offline_not_allowed",
                 "none of the caller's roles allows offline use; add `offline` to one of them");
  }
  return roles;
}

// What the caller's roles grant of one entity: nullopt where none reads it, otherwise the columns
// that every role which reads it denies.
std::optional<std::vector<AttributeId>> DeniedColumns(const RolesByName& roles,
                                                      const EntitySchema& schema) {
  std::optional<std::set<AttributeId>> denied;
  for (const auto& [name, role] : roles) {
    std::set<AttributeId> by_role;
    bool reads = false;
    for (const v1::EntityGrant& grant : role->entities()) {
      if (grant.entity() != schema.name() || !grant.read()) {
        continue;
      }
      reads = true;
      for (const std::string& column : grant.deny_columns()) {
        const schemas::Attribute* attribute = schema.Find(column);
        if (attribute != nullptr && attribute->id != schema.key().id) {
          by_role.insert(attribute->id);
        }
      }
    }
    if (!reads) {
      continue;
    }
    if (!denied.has_value()) {
      denied = std::move(by_role);
    } else {
      std::erase_if(*denied, [&](AttributeId id) { return !by_role.contains(id); });
    }
  }
  if (!denied.has_value()) {
    return std::nullopt;
  }
  return std::vector<AttributeId>(denied->begin(), denied->end());
}

// Follows the rules of a caller's profiles.
class CallerBuckets {
 public:
  CallerBuckets(const RuleSet& rules, const RolesByName& roles, const CallerClaims& caller,
                size_t buckets_max)
      : rules_(rules), roles_(roles), caller_(caller), max_(buckets_max) {}

  // `rule`'s source, if it has one, has been added before.
  absl::Status Add(const SyncRule& rule) {
    const auto [of_rule, added] = of_rule_.try_emplace(rule.number);
    const Columns* columns = added ? ColumnsOf(rule.entity) : nullptr;
    if (columns == nullptr) {
      return absl::OkStatus();
    }
    std::vector<BucketName> names;
    if (rule.kind == v1::RULE_KIND_RELATED) {
      // Of rows that the caller has, so none where no role reads their entity.
      for (const BucketKey source : of_rule_[rule.source]) {
        names.push_back(DerivedBucket(rule, source));
      }
    } else {
      names = BucketsOfCaller(rule, *columns->schema, caller_, max_);
    }
    for (BucketName& name : names) {
      const BucketKey key = name.key;
      of_rule->second.push_back(key);
      buckets_.try_emplace(key, CallerBucket{std::move(name), columns->schema, columns->denied});
    }
    if (buckets_.size() > max_) {
      return Error(absl::StatusCode::kPermissionDenied, "too_many_buckets",
                   fmt::format("rule {} of entity {} takes the caller to {} buckets or more, the "
                               "limit is {}; use fewer teams or a wider rule",
                               rule.id, columns->schema->name(), buckets_.size(), max_));
    }
    return absl::OkStatus();
  }

  std::vector<CallerBucket> Take() {
    std::vector<CallerBucket> result;
    result.reserve(buckets_.size());
    for (auto& [key, bucket] : buckets_) {
      result.push_back(std::move(bucket));
    }
    return result;
  }

 private:
  struct Columns {
    std::shared_ptr<const EntitySchema> schema;
    std::vector<AttributeId> denied;
  };

  // nullptr where none of the roles reads the entity.
  const Columns* ColumnsOf(EntityId entity) {
    const auto [found, added] = columns_.try_emplace(entity);
    if (added) {
      const std::shared_ptr<const EntitySchema>& schema = rules_.Find(entity)->schema;
      auto denied = DeniedColumns(roles_, *schema);
      if (denied.has_value()) {
        found->second = Columns{schema, *std::move(denied)};
      }
    }
    return found->second.has_value() ? &*found->second : nullptr;
  }

  const RuleSet& rules_;
  const RolesByName& roles_;
  const CallerClaims& caller_;
  const size_t max_;
  std::map<EntityId, std::optional<Columns>> columns_;
  std::map<uint32_t, std::vector<BucketKey>> of_rule_;
  std::map<BucketKey, CallerBucket> buckets_;
};

}  // namespace

absl::StatusOr<std::vector<CallerEntity>> OrgModel::EntitiesOf(const CallerClaims& caller) const {
  ASSIGN_OR_RETURN(const RolesByName roles, RolesOf(*this, caller));
  std::vector<CallerEntity> entities;
  for (const auto& [name, schema] : entities_) {
    if (auto denied = DeniedColumns(roles, *schema); denied.has_value()) {
      entities.push_back({schema, *std::move(denied)});
    }
  }
  return entities;
}

absl::StatusOr<std::vector<CallerBucket>> OrgModel::BucketsOf(const CallerClaims& caller,
                                                              size_t buckets_max) const {
  ASSIGN_OR_RETURN(const RolesByName roles, RolesOf(*this, caller));
  CallerBuckets buckets(*rules_, roles, caller, buckets_max);
  for (const auto& [name, profile] : profiles_) {
    const bool holds = std::ranges::any_of(
        profile.roles(), [&](const std::string& role) { return roles.contains(role); });
    if (!holds) {
      continue;
    }
    for (const SyncRule* rule : rules_->OfProfile(name)) {
      RETURN_IF_ERROR(buckets.Add(*rule));
    }
  }
  return buckets.Take();
}

}  // namespace sluice::projectors

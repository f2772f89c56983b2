#include <algorithm>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "projectors/staging/org_model.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"
#include "xxhash.h"

// What the rules of an OrgModel mean: the buckets of a row, and those of a caller.
namespace sluice::projectors {
namespace {

std::string_view KindName(v1::RuleKind kind) {
  switch (kind) {
    case v1::RULE_KIND_ALL:
      return "all";
    case v1::RULE_KIND_USER:
      return "user";
    case v1::RULE_KIND_TEAM:
      return "team";
    case v1::RULE_KIND_BUSINESS_UNIT:
      return "business_unit";
    default:
      return "other";
  }
}

AttributeId OwnershipAttribute(v1::RuleKind kind, const v1::Ownership& ownership) {
  switch (kind) {
    case v1::RULE_KIND_USER:
      return AttributeId(ownership.user());
    case v1::RULE_KIND_TEAM:
      return AttributeId(ownership.team());
    case v1::RULE_KIND_BUSINESS_UNIT:
      return AttributeId(ownership.business_unit());
    default:
      return AttributeId();
  }
}

// The roles of the caller's that exist, ascending. kPermissionDenied where none has `offline`.
absl::StatusOr<std::map<std::string_view, const v1::Role*>> RolesOf(const OrgModel& model,
                                                                    const CallerClaims& caller) {
  std::map<std::string_view, const v1::Role*> roles;
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
std::optional<std::vector<AttributeId>> DeniedColumns(
    const std::map<std::string_view, const v1::Role*>& roles, const EntitySchema& schema) {
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

// The buckets that a caller's claims choose of `rule`. A claim that cannot be a value of the
// attribute matches no row, so it names no bucket.
std::vector<BucketName> BucketsOfCaller(const SyncRule& rule, const EntitySchema& schema,
                                        const CallerClaims& caller) {
  if (rule.kind == v1::RULE_KIND_ALL) {
    return {MakeBucketName(rule, std::nullopt)};
  }
  std::vector<std::string_view> values;
  if (rule.kind == v1::RULE_KIND_USER && !caller.user.empty()) {
    values.push_back(caller.user);
  } else if (rule.kind == v1::RULE_KIND_TEAM) {
    values.assign(caller.teams.begin(), caller.teams.end());
  } else if (rule.kind == v1::RULE_KIND_BUSINESS_UNIT && caller.business_unit.has_value()) {
    values.push_back(*caller.business_unit);
  }
  std::vector<BucketName> buckets;
  const schemas::Attribute* attribute = schema.Find(rule.attribute);
  for (const std::string_view value : values) {
    absl::StatusOr<std::string> text = schemas::CanonicalText(attribute->type, value);
    if (text.ok()) {
      buckets.push_back(MakeBucketName(rule, *text));
    }
  }
  return buckets;
}

}  // namespace

std::optional<SyncRule> CompileRule(const v1::Rule& rule, const EntitySchema& schema) {
  SyncRule compiled{.entity = schema.id(), .kind = rule.kind(), .attribute = {}, .id = {}};
  switch (rule.kind()) {
    case v1::RULE_KIND_ALL:
      compiled.id = fmt::format("e{}|all", schema.id().value());
      return compiled;
    case v1::RULE_KIND_USER:
    case v1::RULE_KIND_TEAM:
    case v1::RULE_KIND_BUSINESS_UNIT:
      compiled.attribute = OwnershipAttribute(rule.kind(), schema.proto().ownership());
      if (schema.Find(compiled.attribute) == nullptr) {
        return std::nullopt;
      }
      compiled.id = fmt::format("e{}|{}:a{}", schema.id().value(), KindName(rule.kind()),
                                compiled.attribute.value());
      return compiled;
    default:
      return std::nullopt;
  }
}

BucketName MakeBucketName(const SyncRule& rule, std::optional<std::string_view> value) {
  BucketName bucket;
  bucket.name.reserve(rule.id.size() + 1 + value.value_or("").size());
  bucket.name = rule.id;
  if (value.has_value()) {
    bucket.name += '=';
    bucket.name += *value;
  }
  bucket.key = BucketKey(XXH64(bucket.name.data(), bucket.name.size(), 0));
  return bucket;
}

absl::StatusOr<std::vector<BucketName>> BucketsOfRow(const SyncRule& rule,
                                                     const EntitySchema& schema,
                                                     std::string_view row) {
  std::vector<BucketName> buckets;
  if (rule.kind == v1::RULE_KIND_ALL) {
    buckets.push_back(MakeBucketName(rule, std::nullopt));
    return buckets;
  }
  const schemas::Attribute* attribute = schema.Find(rule.attribute);
  if (attribute == nullptr) {
    return Error(
        absl::StatusCode::kInternal, "internal",
        fmt::format("rule {} compares an attribute that {} does not have", rule.id, schema.name()));
  }
  ASSIGN_OR_RETURN(const std::optional<std::string> value, schemas::AttributeText(*attribute, row));
  if (value.has_value()) {
    buckets.push_back(MakeBucketName(rule, *value));
  }
  return buckets;
}

absl::StatusOr<std::vector<CallerEntity>> OrgModel::EntitiesOf(const CallerClaims& caller) const {
  ASSIGN_OR_RETURN(const auto roles, RolesOf(*this, caller));
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
  ASSIGN_OR_RETURN(const auto roles, RolesOf(*this, caller));
  // The rules that reach the caller, each once however many profiles have it.
  std::map<SyncRule, std::shared_ptr<const EntitySchema>> rules;
  for (const auto& [profile_name, profile] : profiles_) {
    const bool holds = std::ranges::any_of(
        profile.roles(), [&](const std::string& role) { return roles.contains(role); });
    for (int i = 0; holds && i < profile.entities_size(); ++i) {
      const auto schema = entities_.find(profile.entities(i).entity());
      if (schema == entities_.end()) {
        continue;
      }
      for (const v1::Rule& rule : profile.entities(i).rules()) {
        std::optional<SyncRule> compiled = CompileRule(rule, *schema->second);
        if (compiled.has_value()) {
          rules.emplace(*std::move(compiled), schema->second);
        }
      }
    }
  }
  std::map<EntityId, std::optional<std::vector<AttributeId>>> denied;
  std::map<BucketKey, CallerBucket> buckets;
  for (const auto& [rule, schema] : rules) {
    auto columns = denied.find(schema->id());
    if (columns == denied.end()) {
      columns = denied.emplace(schema->id(), DeniedColumns(roles, *schema)).first;
    }
    if (!columns->second.has_value()) {
      continue;
    }
    for (BucketName& bucket : BucketsOfCaller(rule, *schema, caller)) {
      const BucketKey key = bucket.key;
      buckets.try_emplace(key, CallerBucket{std::move(bucket), schema, *columns->second});
    }
    if (buckets.size() > buckets_max) {
      return Error(absl::StatusCode::kPermissionDenied, "too_many_buckets",
                   fmt::format("rule {} of entity {} takes the caller to {} buckets, the limit is "
                               "{}; use fewer teams or a wider rule",
                               rule.id, schema->name(), buckets.size(), buckets_max));
    }
  }
  std::vector<CallerBucket> result;
  result.reserve(buckets.size());
  for (auto& [key, bucket] : buckets) {
    result.push_back(std::move(bucket));
  }
  return result;
}

}  // namespace sluice::projectors

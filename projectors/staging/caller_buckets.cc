#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "projectors/staging/org_model.h"
#include "projectors/store/byte_codec.h"
#include "schemas/sha256.h"
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
      roles.emplace(role->first, role->second.get());
      offline = offline || role->second->offline();
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
std::optional<std::set<std::string_view>> DeniedNames(const RolesByName& roles,
                                                      const EntitySchema& schema) {
  std::optional<std::set<std::string_view>> denied;
  for (const auto& [name, role] : roles) {
    std::set<std::string_view> by_role;
    bool reads = false;
    for (const v1::EntityGrant& grant : role->entities()) {
      if (grant.entity() == schema.name() && grant.read()) {
        reads = true;
        by_role.insert(grant.deny_columns().begin(), grant.deny_columns().end());
      }
    }
    if (!reads) {
      continue;
    }
    if (!denied.has_value()) {
      denied = std::move(by_role);
    } else {
      std::erase_if(*denied, [&](std::string_view column) { return !by_role.contains(column); });
    }
  }
  if (denied.has_value()) {
    denied->erase(schema.key().name);
  }
  return denied;
}

std::vector<AttributeId> IdsOf(const std::set<std::string_view>& denied,
                               const EntitySchema& schema) {
  std::vector<AttributeId> ids;
  for (const std::string_view name : denied) {
    if (const schemas::Attribute* attribute = schema.Find(name); attribute != nullptr) {
      ids.push_back(attribute->id);
    }
  }
  std::ranges::sort(ids);
  return ids;
}

// CallerBucket::columns: the first 8 bytes of SHA-256 over numbers of 32 bits, big-endian and
// ascending. Of a column denied, the id that its name was given first, with the highest bit: to the
// caller nothing changes when the attribute is removed, or defined again. Of another, the ids that
// its name had before the newest: a holder of rows from then has values under that name that are
// not its own.
uint64_t ColumnsHash(const std::set<std::string_view>& denied, const EntitySchema& schema) {
  std::map<std::string_view, std::set<uint32_t>> ids;
  for (const schemas::Attribute& attribute : schema.attributes()) {
    ids[attribute.name].insert(attribute.id.value());
  }
  for (const v1::RemovedAttribute& attribute : schema.proto().removed()) {
    ids[attribute.name()].insert(attribute.id());
  }
  constexpr uint32_t kDenied = uint32_t{1} << 31;
  std::set<uint32_t> numbers;
  for (const auto& [name, of_name] : ids) {
    if (denied.contains(name)) {
      numbers.insert(*of_name.begin() | kDenied);
    } else {
      numbers.insert(of_name.begin(), std::prev(of_name.end()));
    }
  }
  std::string bytes;
  for (const uint32_t number : numbers) {
    PutFixed32(number, &bytes);
  }
  return bytes.empty() ? 0 : DigestWord(Sha256(bytes), 0);
}

// Follows the rules of a caller's profiles.
class CallerBuckets {
 public:
  CallerBuckets(const RuleSet& rules, const RolesByName& roles, const CallerClaims& caller,
                size_t buckets_max)
      : rules_(rules), roles_(roles), caller_(caller), max_(buckets_max) {}

  // `rule`'s source, if it has one, has been added before.
  absl::Status Add(std::string_view profile, const SyncRule& rule) {
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
      names = BucketsOfCaller(rule, *columns->schema, caller_, CountedMax());
    }
    if (buckets_.size() + names.size() > max_) {
      return TooMany(profile, rule, *columns, names.size());
    }
    for (BucketName& name : names) {
      const BucketKey key = name.key;
      of_rule->second.push_back(key);
      buckets_.try_emplace(key, CallerBucket{std::move(name), columns->schema, columns->denied,
                                             columns->hash, kNoOffset});
    }
    return absl::OkStatus();
  }

  std::vector<CallerBucket> Take(Offset defined) {
    std::vector<CallerBucket> result;
    result.reserve(buckets_.size());
    for (auto& [key, bucket] : buckets_) {
      result.push_back(std::move(bucket));
      result.back().defined = defined;
    }
    return result;
  }

 private:
  struct Columns {
    std::shared_ptr<const EntitySchema> schema;
    std::vector<AttributeId> denied;
    uint64_t hash = 0;
  };

  // So far a rule's buckets are counted, for a refusal that tells how many there are.
  size_t CountedMax() const { return std::max<size_t>(max_, 10'000); }

  absl::Status TooMany(std::string_view profile, const SyncRule& rule, const Columns& columns,
                       size_t of_rule) const {
    const std::string_view more = of_rule > CountedMax() ? "more than " : "";
    of_rule = std::min(of_rule, CountedMax());
    return Error(absl::StatusCode::kPermissionDenied, "too_many_buckets",
                 fmt::format("rule {} of entity {} in profile {} makes {}{} buckets for the "
                             "caller, {}{} with the rules before it; the limit is {}: use a wider "
                             "rule, or fewer values in the caller's claims",
                             rule.text, columns.schema->name(), profile, more, of_rule, more,
                             buckets_.size() + of_rule, max_));
  }

  // nullptr where none of the roles reads the entity.
  const Columns* ColumnsOf(EntityId entity) {
    const auto [found, added] = columns_.try_emplace(entity);
    if (added) {
      const std::shared_ptr<const EntitySchema>& schema = rules_.Find(entity)->schema;
      if (const auto denied = DeniedNames(roles_, *schema); denied.has_value()) {
        found->second = Columns{schema, IdsOf(*denied, *schema), ColumnsHash(*denied, *schema)};
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
    if (const auto denied = DeniedNames(roles, *schema); denied.has_value()) {
      entities.push_back({schema, IdsOf(*denied, *schema)});
    }
  }
  return entities;
}

absl::StatusOr<std::vector<CallerBucket>> OrgModel::BucketsOf(const CallerClaims& caller,
                                                              size_t buckets_max) const {
  ASSIGN_OR_RETURN(const RolesByName roles, RolesOf(*this, caller));
  CallerBuckets buckets(*rules_, roles, caller, buckets_max);
  int64_t defined = 0;
  for (const auto& [name, role] : roles) {
    defined = std::max(defined, role->defined_at());
  }
  for (const auto& [name, profile] : profiles_) {
    const bool holds = std::ranges::any_of(
        profile->roles(), [&](const std::string& role) { return roles.contains(role); });
    if (!holds) {
      continue;
    }
    defined = std::max(defined, profile->defined_at());
    for (const std::shared_ptr<const SyncRule>& rule : rules_->OfProfile(name)) {
      RETURN_IF_ERROR(buckets.Add(name, *rule));
    }
  }
  return buckets.Take(Offset(defined));
}

}  // namespace sluice::projectors

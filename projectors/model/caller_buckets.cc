#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "projectors/model/org_model.h"
#include "schemas/base/byte_codec.h"
#include "schemas/base/sha256.h"
#include "schemas/base/status.h"

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
    return Error(StatusCode::kPermissionDenied, "offline_not_allowed",
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
// ascending; 0 where there are none. Each name that the entity's attributes have or had gives:
//
//   the name is            numbers                            so that
//   denied                 its first id, with the high bit    defining it again changes nothing
//   shown, of several ids  each id but the newest             rows sent under those do not count
//   shown, of one id       none                               who sees all columns has the hash 0
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
      : rules_(rules),
        roles_(roles),
        claims_(caller),
        max_(buckets_max),
        bytes_max_(kNameBytes * std::max<size_t>(max_, 1'000)) {}

  // `rule`'s source, if it has one, has been added before.
  absl::Status Add(std::string_view profile, const SyncRule& rule) {
    const auto [of_rule, added] = of_rule_.try_emplace(rule.number);
    const Columns* columns = added ? ColumnsOf(rule.entity) : nullptr;
    if (columns == nullptr) {
      return absl::OkStatus();
    }
    const NamesRoom room{max_ - buckets_.size(), bytes_max_ - name_bytes_};
    ClaimedBuckets claimed;
    if (rule.kind == v1::RULE_KIND_RELATED) {
      // Of rows that the caller has, so none where no role reads their entity.
      const std::vector<BucketKey>& sources = of_rule_[rule.source];
      claimed.count = sources.size();
      for (size_t i = 0; i < sources.size() && claimed.count <= room.buckets; ++i) {
        claimed.names.push_back(DerivedBucket(rule, sources[i]));
      }
    } else {
      claimed = BucketsOfCaller(rule, *columns->entity->schema, claims_, room);
    }
    if (claimed.names.size() < claimed.count) {
      return TooMany(profile, rule, *columns, claimed);
    }
    name_bytes_ += claimed.bytes;
    for (BucketName& name : claimed.names) {
      const BucketKey key = name.key;
      of_rule->second.push_back(key);
      buckets_.try_emplace(
          key, CallerBucket{std::move(name), columns->entity, columns->hash, kNoOffset});
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
  // Of a bucket's name, on the average. Some attributes that are compared with claims take far
  // less.
  static constexpr size_t kNameBytes = 1'024;
  // As many buckets as a refusal tells of.
  static constexpr uint64_t kToldMax = 1'000'000'000;

  struct Columns {
    std::shared_ptr<const CallerEntity> entity;
    uint64_t hash = 0;
  };

  absl::Status TooMany(std::string_view profile, const SyncRule& rule, const Columns& columns,
                       const ClaimedBuckets& claimed) const {
    const std::string where = fmt::format("rule {} of entity {} in profile {}", rule.text,
                                          columns.entity->schema->name(), profile);
    if (claimed.count <= max_ - buckets_.size()) {
      return Error(StatusCode::kPermissionDenied, "too_many_buckets",
                   "{} makes {} buckets for the caller whose names have {} bytes, {} with those of "
                   "the rules before it; the limit is {}: compare fewer attributes with claims, or "
                   "give the claims shorter values",
                   where, claimed.count, claimed.bytes, name_bytes_ + claimed.bytes, bytes_max_);
    }
    const std::string_view more = claimed.count > kToldMax ? "more than " : "";
    const uint64_t count = std::min(claimed.count, kToldMax);
    return Error(StatusCode::kPermissionDenied, "too_many_buckets",
                 "{} makes {}{} buckets for the caller, {}{} with the rules before it; the limit "
                 "is {}: use a wider rule, or fewer values in the caller's claims",
                 where, more, count, more, buckets_.size() + count, max_);
  }

  // nullptr where none of the roles reads the entity.
  const Columns* ColumnsOf(EntityId entity) {
    const auto [found, added] = columns_.try_emplace(entity);
    if (added) {
      const std::shared_ptr<const EntitySchema>& schema = rules_.Find(entity)->schema;
      if (const auto denied = DeniedNames(roles_, *schema); denied.has_value()) {
        found->second =
            Columns{std::make_shared<CallerEntity>(CallerEntity{schema, IdsOf(*denied, *schema)}),
                    ColumnsHash(*denied, *schema)};
      }
    }
    return found->second.has_value() ? &*found->second : nullptr;
  }

  const RuleSet& rules_;
  const RolesByName& roles_;
  ClaimTexts claims_;
  const size_t max_;
  const size_t bytes_max_;
  size_t name_bytes_ = 0;
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

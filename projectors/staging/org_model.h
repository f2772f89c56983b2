#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/base/ids.h"
#include "eventlog/event.h"
#include "schemas/entity_schema.h"

namespace sluice::projectors {

using schemas::AttributeId;
using schemas::EntityId;
using schemas::EntitySchema;

// Who asks: what a sync token's claims say of the caller. An absent claim matches nothing.
struct CallerClaims {
  std::string user;  // `sub`
  std::vector<std::string> roles;
  std::vector<std::string> teams;
  std::optional<std::string> business_unit;
};

// One way in which rows of an entity come to callers, the same for all profiles that name it.
struct SyncRule {
  EntityId entity;
  v1::RuleKind kind = v1::RULE_KIND_UNSPECIFIED;
  AttributeId attribute;  // the ownership attribute that a `user`, `team` rule compares
  std::string id;         // canonical text, such as "e3|user:a5"; equal rules are one rule
  friend bool operator==(const SyncRule&, const SyncRule&) = default;
  friend auto operator<=>(const SyncRule& a, const SyncRule& b) { return a.id <=> b.id; }
};

// The rule that a profile's `rule` makes for the entity; nullopt where it makes none: kinds that
// the fold does not evaluate, and ownership that the entity does not have.
[[nodiscard]] std::optional<SyncRule> CompileRule(const v1::Rule& rule, const EntitySchema& schema);

// The buckets of `rule` that a row is in: at most one for the kinds of today. Pure.
struct BucketName {
  BucketKey key;     // XXH64 (seed 0) of `name`
  std::string name;  // rule id, for parameters "=" and the value: "e3|user:a5=U1"
  friend auto operator<=>(const BucketName&, const BucketName&) = default;
};
[[nodiscard]] BucketName MakeBucketName(const SyncRule& rule,
                                        std::optional<std::string_view> value);
[[nodiscard]] absl::StatusOr<std::vector<BucketName>> BucketsOfRow(const SyncRule& rule,
                                                                   const EntitySchema& schema,
                                                                   std::string_view row);

// A bucket as one caller may see it.
struct CallerBucket {
  BucketName bucket;
  std::shared_ptr<const EntitySchema> schema;
  std::vector<AttributeId> denied;  // columns that no role of the caller's shows, ascending
  friend bool operator<(const CallerBucket& a, const CallerBucket& b) {
    return a.bucket.key < b.bucket.key;
  }
};

// An entity as one caller may see it.
struct CallerEntity {
  std::shared_ptr<const EntitySchema> schema;
  std::vector<AttributeId> denied;  // as in CallerBucket
};

// An organisation's definitions as of one position: the fold of its control events. Immutable:
// Apply makes a new one, so that readers keep theirs. Thread-safe for that reason.
class OrgModel {
 public:
  // Before the first OrgOpened.
  [[nodiscard]] static std::shared_ptr<const OrgModel> Empty();
  // After the OrgClosed of `incarnation`.
  [[nodiscard]] static std::shared_ptr<const OrgModel> Closed(uint32_t incarnation);
  // As Serialize() wrote it. kDataLoss otherwise.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const OrgModel>> Parse(
      std::string_view bytes);
  [[nodiscard]] std::string Serialize() const;

  // Is `type` (a ce_type) one of the control events?
  [[nodiscard]] static bool IsControlEvent(std::string_view type);
  // The model after a control event. kInvalidArgument, code "malformed_event", where the payload
  // can't be read or contradicts the model: the caller dead-letters it and keeps the model.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const OrgModel>> Apply(
      const eventlog::Event& event) const;

  uint32_t incarnation() const { return incarnation_; }
  bool open() const { return open_; }
  const std::string& display_name() const { return display_name_; }
  const std::map<std::string, std::shared_ptr<const EntitySchema>, std::less<>>& entities() const {
    return entities_;
  }
  std::shared_ptr<const EntitySchema> FindEntity(EntityId id) const;  // nullptr where there is none
  const std::map<std::string, v1::Profile, std::less<>>& profiles() const { return profiles_; }
  const std::map<std::string, v1::Role, std::less<>>& roles() const { return roles_; }

  // The rules of an entity over all profiles, ascending and unique. Names that profiles use for
  // entities that do not exist (any more) make no rule.
  std::span<const SyncRule> RulesOf(EntityId entity) const;

  // What the caller may hold: ascending, unique. kPermissionDenied, code "offline_not_allowed"
  // where no role of the caller's has `offline`; code "too_many_buckets" past `buckets_max`, naming
  // the rule.
  [[nodiscard]] absl::StatusOr<std::vector<CallerBucket>> BucketsOf(const CallerClaims& caller,
                                                                    size_t buckets_max) const;

  // The entities that some role of the caller's reads, by name; whether any rule brings rows of
  // them is another matter. Errors as for BucketsOf, but for the limit.
  [[nodiscard]] absl::StatusOr<std::vector<CallerEntity>> EntitiesOf(
      const CallerClaims& caller) const;

 private:
  OrgModel() = default;
  absl::Status Open(const eventlog::Event& event);
  absl::Status Define(const eventlog::Event& event);
  absl::Status DefineEntity(const eventlog::Event& event);
  void Compile();  // what is derived, from the rest

  uint32_t incarnation_ = 0;
  bool open_ = false;
  std::string display_name_;
  std::map<std::string, std::shared_ptr<const EntitySchema>, std::less<>> entities_;
  std::map<std::string, v1::Profile, std::less<>> profiles_;
  std::map<std::string, v1::Role, std::less<>> roles_;
  std::map<EntityId, std::shared_ptr<const EntitySchema>> entities_by_id_;  // derived
  std::map<EntityId, std::vector<SyncRule>> rules_;                         // derived
};

}  // namespace sluice::projectors

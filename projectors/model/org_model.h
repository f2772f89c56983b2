#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/event.h"
#include "projectors/model/rule_set.h"
#include "projectors/model/sync_rules.h"
#include "schemas/base/ids.h"
#include "schemas/entity_schema.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::projectors {

using Sources = std::map<std::string, v1::SourceBinding, std::less<>>;

// An entity as one caller may see it.
struct CallerEntity {
  std::shared_ptr<const EntitySchema> schema;
  std::vector<AttributeId> denied;  // columns that no role of the caller's shows, ascending
};

// A bucket as one caller may see it.
struct CallerBucket {
  BucketName bucket;
  std::shared_ptr<const CallerEntity> entity;  // one for all buckets of it
  // A hash of what the caller sees of the entity (gateways/docs/sync.md, "The hash of the
  // columns"): where it changes, rows sent before do not count. 0: every column, and no name was
  // given twice.
  uint64_t columns = 0;
  // When a profile or role of the caller's was last defined: it may not have had the bucket before.
  Offset defined = kNoOffset;
  friend bool operator<(const CallerBucket& a, const CallerBucket& b) {
    return a.bucket.key < b.bucket.key;
  }
};

// An organisation's definitions as of one position: the fold of its control events. Immutable:
// Apply makes a new one, so that readers keep theirs. Thread-safe for that reason.
class OrgModel {
 public:
  // Before the first OrgOpened.
  [[nodiscard]] static std::shared_ptr<const OrgModel> Empty();
  // After the OrgClosed of `incarnation`.
  [[nodiscard]] static std::shared_ptr<const OrgModel> Closed(uint32_t incarnation);
  // As Empty(), for who needs the definitions alone: neither it nor what Apply() makes of it has
  // rules, and both are cheap.
  [[nodiscard]] static std::shared_ptr<const OrgModel> WithoutRules();
  // As Serialize() wrote it. kDataLoss otherwise.
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const OrgModel>> Parse(
      std::string_view bytes);
  [[nodiscard]] std::string Serialize() const;

  // Is `type` (a ce_type) one of the control events?
  [[nodiscard]] static bool IsControlEvent(std::string_view type);
  // The model after a control event. kInvalidArgument, code "malformed_event", where the payload
  // can't be read or contradicts the model: the caller dead-letters it and keeps the model. Where
  // the event stands is remembered of profiles and roles, if `offset` says it. One that answers a
  // request which has been answered changes nothing.
  [[nodiscard]] absl::StatusOr<std::shared_ptr<const OrgModel>> Apply(
      const eventlog::Event& event, Offset offset = kNoOffset) const;

  // Does the event answer a request (Event::answers) of which, or of a later one, a control event
  // has been applied already? A sequencer that repeats itself after a crash wrote it, or one that
  // was paused while another took over: whatever it says, newer definitions stand. Being a rule of
  // the fold, it holds on every replica alike.
  [[nodiscard]] bool Answered(const eventlog::Event& event) const {
    return event.answers != kNoOffset && event.answers <= answered_;
  }

  uint32_t incarnation() const { return incarnation_; }
  bool open() const { return open_; }
  const std::string& display_name() const { return display_name_; }
  const Schemas& entities() const { return entities_; }
  std::shared_ptr<const EntitySchema> FindEntity(EntityId id) const;  // nullptr where there is none
  const Definitions<v1::Profile>& profiles() const { return profiles_; }
  const Definitions<v1::Role>& roles() const { return roles_; }
  const Sources& sources() const { return sources_; }
  const v1::SourceBinding* FindSource(std::string_view name) const;  // nullptr: there is none
  // EntitySchema::source of the entities that the source has.
  [[nodiscard]] static std::string OwnerName(const v1::SourceBinding& source);
  // The source whose rows the entity has, as EntitySchema::source; empty where anybody may write
  // them: it has none, or one that has been deleted. Of a source of another organisation
  // ("debezium:@home/shop") only that one knows: it counts.
  [[nodiscard]] std::string_view OwnerOf(const v1::EntitySchema& schema) const;
  // An EntitySchema::source for people of the entity's organisation: of another one they are not
  // told what it is called, nor what its source is.
  [[nodiscard]] static std::string OwnerText(std::string_view owner);

  // The rules of all profiles, compiled.
  const RuleSet& rules() const { return *rules_; }

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
  absl::Status Define(const eventlog::Event& event, Offset offset);
  absl::Status DefineEntity(const eventlog::Event& event);
  absl::Status DefineSource(const v1::SourceDefined& defined, std::string_view type);
  void IndexEntities();

  uint32_t incarnation_ = 0;
  bool open_ = false;
  Offset answered_ = kNoOffset;  // the highest Event::answers of those applied
  std::string display_name_;
  Schemas entities_;
  Definitions<v1::Profile> profiles_;
  Definitions<v1::Role> roles_;
  Sources sources_;
  std::map<EntityId, std::shared_ptr<const EntitySchema>> entities_by_id_;  // derived
  bool has_rules_ = true;
  std::shared_ptr<const RuleSet> rules_ = RuleSet::None();  // derived, but for the rules' numbers
};

}  // namespace sluice::projectors

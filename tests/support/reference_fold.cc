#include "tests/support/reference_fold.h"

#include <algorithm>

#include "schemas/row_codec.h"
#include "xxhash.h"

namespace sluice::testing {
namespace {

using projectors::Record;
using projectors::RecordKey;
using schemas::EntitySchema;

BucketKey KeyOf(const std::string& name) { return BucketKey(XXH64(name.data(), name.size(), 0)); }

bool KeyLess(const std::string& a, const std::string& b) { return KeyOf(a) < KeyOf(b); }

std::optional<std::string> TextOf(const EntitySchema& schema, uint32_t attribute,
                                  const std::string& bytes) {
  const schemas::Attribute* found = schema.Find(schemas::AttributeId(attribute));
  if (found == nullptr) {
    return std::nullopt;
  }
  return schemas::AttributeText(*found, bytes).value();
}

}  // namespace

void ReferenceFold::Apply(const eventlog::StoredEvent& stored) {
  const eventlog::Event& event = stored.event;
  v1::ChangeSet set;
  v1::OrgOpened opened;
  if (event.type == "sluice.v1.ChangeSet") {
    if (!open_ || !set.ParseFromString(event.value)) {
      ++rejected_;
    } else {
      ApplySet(stored.offset, set);
    }
  } else if (event.type == "sluice.v1.OrgOpened" && opened.ParseFromString(event.value)) {
    open_ = true;
  } else if (!open_) {
    rejected_ += event.type == "sluice.v1.OrgClosed" ? 0 : 1;
  } else if (event.type == "sluice.v1.OrgClosed") {
    open_ = false;
    closed_ = true;
  } else {
    std::set<uint32_t> before;
    for (const auto& [name, schema] : entities_) {
      before.insert(schema->id().value());
    }
    if (ApplyDefinition(event)) {
      MoveRows(stored.offset, before);
    } else {
      ++rejected_;
    }
  }
  applied_.position = stored.offset;
  applied_.event_hash = eventlog::EventHash(event);
  const Offset horizon(stored.offset.value() - options_.tombstone_horizon);
  applied_.horizon = std::max(applied_.horizon, horizon);
}

bool ReferenceFold::ApplyDefinition(const eventlog::Event& event) {
  v1::EntityDefined entity;
  v1::EntityDeleted gone;
  v1::ProfileDefined profile;
  v1::ProfileDeleted no_profile;
  if (event.type == "sluice.v1.EntityDefined") {
    if (!entity.ParseFromString(event.value)) {
      return false;
    }
    const auto schema = EntitySchema::FromProto(entity.schema());
    const auto same = entities_.find(entity.schema().name());
    const bool known_id = names_.contains(entity.schema().entity_id());
    if (!schema.ok() || (same != entities_.end() && same->second->id() != (*schema)->id()) ||
        (same == entities_.end() && known_id)) {
      return false;
    }
    entities_[entity.schema().name()] = *schema;
    names_[entity.schema().entity_id()] = entity.schema().name();
    return true;
  }
  if (event.type == "sluice.v1.EntityDeleted" && gone.ParseFromString(event.value)) {
    std::erase_if(entities_,
                  [&](const auto& e) { return e.second->id().value() == gone.entity_id(); });
    return true;
  }
  if (event.type == "sluice.v1.ProfileDefined" && profile.ParseFromString(event.value)) {
    profiles_[profile.profile().name()] = profile.profile();
    return true;
  }
  if (event.type == "sluice.v1.ProfileDeleted" && no_profile.ParseFromString(event.value)) {
    profiles_.erase(no_profile.name());
    return true;
  }
  return event.type == "sluice.v1.RoleDefined" || event.type == "sluice.v1.RoleDeleted";
}

std::set<std::string> ReferenceFold::BucketsOf(uint32_t entity, const std::string& bytes) const {
  std::set<std::string> names;
  for (const auto& [profile_name, profile] : profiles_) {
    for (const v1::EntityRules& rules : profile.entities()) {
      const auto found = entities_.find(rules.entity());
      if (found == entities_.end() || found->second->id().value() != entity) {
        continue;
      }
      const EntitySchema& schema = *found->second;
      const v1::Ownership& owner = schema.proto().ownership();
      const std::string prefix = "e" + std::to_string(entity) + "|";
      const auto owned = [&](const std::string& kind, uint32_t attribute) {
        const std::optional<std::string> text = TextOf(schema, attribute, bytes);
        if (text.has_value()) {
          names.insert(prefix + kind + ":a" + std::to_string(attribute) + "=" + *text);
        }
      };
      for (const v1::Rule& rule : rules.rules()) {
        if (rule.kind() == v1::RULE_KIND_ALL) {
          names.insert(prefix + "all");
        } else if (rule.kind() == v1::RULE_KIND_USER) {
          owned("user", owner.user());
        } else if (rule.kind() == v1::RULE_KIND_TEAM) {
          owned("team", owner.team());
        } else if (rule.kind() == v1::RULE_KIND_BUSINESS_UNIT) {
          owned("business_unit", owner.business_unit());
        }
      }
    }
  }
  return names;
}

// After a definition: rows of the entities by name, in key order, buckets by key; one index after
// the other for what changes.
void ReferenceFold::MoveRows(Offset offset, const std::set<uint32_t>& entities_before) {
  uint32_t index = 0;
  std::map<std::string, uint32_t> by_name;
  for (const uint32_t id : entities_before) {
    by_name[names_[id]] = id;
  }
  for (const auto& [name, id] : by_name) {
    const bool deleted = !entities_.contains(name);
    std::vector<Key> keys;
    for (const auto& [key, row] : rows_) {
      if (key.first == id) {
        keys.push_back(key);
      }
    }
    for (const Key& key : keys) {
      Row& row = rows_[key];
      const std::set<std::string> now =
          row.live && !deleted ? BucketsOf(id, row.bytes) : std::set<std::string>();
      if (row.live && deleted) {
        row.live = false;
        row.bytes.clear();
        row.last = Position{offset, index};
      }
      std::vector<std::string> changed;
      for (const auto& [bucket, place] : row.buckets) {
        if (place.member && !now.contains(bucket)) {
          changed.push_back(bucket);
        }
      }
      for (const std::string& bucket : now) {
        const auto place = row.buckets.find(bucket);
        if (place == row.buckets.end() || !place->second.member) {
          changed.push_back(bucket);
        }
      }
      std::sort(changed.begin(), changed.end(), KeyLess);
      for (const std::string& bucket : changed) {
        row.buckets[bucket] = Place{{offset, index++}, now.contains(bucket)};
      }
      bucket_names_.insert(now.begin(), now.end());
      if (deleted && row.buckets.empty()) {
        rows_.erase(key);
      }
    }
  }
}

bool ReferenceFold::Applicable(const v1::Operation& op) const {
  const EntitySchema* schema = nullptr;
  for (const auto& [name, entity] : entities_) {
    if (entity->id().value() == op.entity_id()) {
      schema = entity.get();
    }
  }
  if (schema == nullptr || !schemas::ValidateKey(op.key()).ok()) {
    return false;
  }
  const auto canonical = schemas::CanonicalText(schema->key().type, op.key());
  if (!canonical.ok() || *canonical != op.key()) {
    return false;
  }
  if (op.kind() == v1::Operation::KIND_DELETE) {
    return true;
  }
  if (!schemas::ValidateRow(*schema, op.row()).ok()) {
    return false;
  }
  const std::optional<std::string> key = TextOf(*schema, schema->key().id.value(), op.row());
  if (op.kind() == v1::Operation::KIND_UPSERT) {
    return key == op.key();
  }
  const bool clears_ids = std::ranges::all_of(op.cleared(), [&](uint32_t id) {
    return id != 0 && id != schema->key().id.value() && id < schema->proto().next_attribute_id();
  });
  return op.kind() == v1::Operation::KIND_PATCH && clears_ids && key.value_or(op.key()) == op.key();
}

void ReferenceFold::ApplySet(Offset offset, const v1::ChangeSet& set) {
  const std::string id = set.source() + '\0' + set.id();
  const auto seen = sets_.find(id);
  if (!set.id().empty() && seen != sets_.end() &&
      offset.value() - seen->second.value() <= options_.dedup_window) {
    ++duplicates_;
    return;
  }
  for (const v1::Operation& op : set.ops()) {
    if (!Applicable(op)) {
      ++rejected_;
      return;
    }
  }
  for (int i = 0; i < set.ops_size(); ++i) {
    ApplyOp(Position{offset, static_cast<uint32_t>(i)}, set.ops(i));
  }
  if (!set.id().empty()) {
    sets_[id] = offset;
  }
}

void ReferenceFold::ApplyOp(Position position, const v1::Operation& op) {
  const Key key(op.entity_id(), op.key());
  const auto found = rows_.find(key);
  const bool live = found != rows_.end() && found->second.live;
  if (op.has_version() && found != rows_.end() && found->second.version.has_value() &&
      *found->second.version >= op.version()) {
    return;
  }
  const bool remove = op.kind() == v1::Operation::KIND_DELETE;
  if (!live && (op.kind() == v1::Operation::KIND_PATCH || (remove && !op.has_version()))) {
    return;
  }
  Row& row = rows_[key];
  row.last = position;
  if (op.has_version()) {
    row.version = op.version();
  }
  row.live = !remove;
  if (remove) {
    row.bytes.clear();
  } else if (op.kind() == v1::Operation::KIND_UPSERT) {
    row.bytes = op.row();
  } else {
    std::vector<schemas::AttributeId> cleared(op.cleared().begin(), op.cleared().end());
    std::sort(cleared.begin(), cleared.end());
    row.bytes = schemas::PatchRow(row.bytes, op.row(), cleared).value();
  }
  const std::set<std::string> now =
      remove ? std::set<std::string>() : BucketsOf(op.entity_id(), row.bytes);
  for (auto& [bucket, place] : row.buckets) {
    if (place.member) {
      place = Place{position, false};
    }
  }
  for (const std::string& bucket : now) {
    row.buckets[bucket] = Place{position, true};
  }
  bucket_names_.insert(now.begin(), now.end());
  if (remove && !row.version.has_value() && row.buckets.empty()) {
    rows_.erase(key);
  }
}

StoreContent ReferenceFold::Content() const {
  StoreContent content;
  content.applied = applied_;
  content.change_sets = sets_;
  for (const std::string& name : bucket_names_) {
    content.buckets[KeyOf(name)].name = name;
  }
  for (const auto& [key, row] : rows_) {
    Record record{row.last, row.version, !row.live, {}, row.bytes};
    const schemas::EntityId entity(key.first);
    for (const auto& [name, place] : row.buckets) {
      const BucketKey bucket = KeyOf(name);
      record.memberships.push_back({bucket, place.position, place.member});
      content.deltas[{bucket, place.position}] = {place.member, entity, key.second,
                                                  place.member ? row.bytes : ""};
      if (place.member) {
        const std::string term = names_.at(key.first) + '\0' + key.second + '\0' +
                                 std::to_string(place.position.offset.value()) + "." +
                                 std::to_string(place.position.index);
        content.buckets[bucket].count += 1;
        content.buckets[bucket].checksum += XXH64(term.data(), term.size(), 0);
      }
    }
    std::sort(record.memberships.begin(), record.memberships.end(),
              [](const auto& a, const auto& b) { return a.bucket < b.bucket; });
    content.applied.records += row.live ? 1 : 0;
    content.records[RecordKey{entity, key.second}] = std::move(record);
  }
  return content;
}

}  // namespace sluice::testing

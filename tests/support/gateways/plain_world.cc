#include "tests/support/gateways/plain_world.h"

#include <cstdlib>

#include "projectors/fold/fold.h"
#include "schemas/row_codec.h"

namespace sluice::testing {
namespace {

constexpr int kTags = 5;
constexpr size_t kKeys = 24;

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (!value.ok()) {
    std::abort();
  }
  return *std::move(value);
}

}  // namespace

PlainWorld::PlainWorld(uint64_t seed) : random_(seed) {
  org_.applied.position = Offset(0);
  Define("account");
  Define("contact");
  org_.checksum = [this](const PlainOrg::RowKey& key, Position position) {
    for (const auto& [name, entity] : entities_) {
      if (entity.schema->id() == key.entity) {
        return projectors::RowChecksum(name, key.key, position);
      }
    }
    return uint64_t{0};
  };
}

void PlainWorld::Define(const std::string& name) {
  v1::EntitySchema proto;
  proto.set_entity_id(next_entity_++);
  proto.set_name(name);
  proto.set_primary_key(1);
  proto.set_next_attribute_id(4);
  uint32_t id = 1;
  for (const char* attribute : {"id", "first", "second"}) {
    auto* added = proto.add_attributes();
    added->set_id(id++);
    added->set_name(attribute);
    added->set_type(v1::ATTRIBUTE_TYPE_STRING);
  }
  Entity entity;
  entity.schema = Must(schemas::EntitySchema::FromProto(proto));
  entity.rules = {0, 1, 2};
  entities_[name] = std::move(entity);
}

BucketKey PlainWorld::KeyOf(const Entity& entity, int tag) const {
  return {entity.schema->id().value() * 100 + static_cast<uint64_t>(tag), 0};
}

std::set<BucketKey> PlainWorld::BucketsOfRow(const Entity& entity, const Row& row) const {
  std::set<BucketKey> buckets;
  for (const int tag : row.tags) {
    if (entity.rules.contains(tag)) {
      buckets.insert(KeyOf(entity, tag));
    }
  }
  return buckets;
}

std::string PlainWorld::Bytes(const Entity& entity, const std::string& key, const Row& row) {
  const std::string json =
      "{\"id\":\"" + key + "\",\"first\":\"" + row.first + "\",\"second\":\"" + row.second + "\"}";
  return Must(schemas::RowEncoder().Encode(*entity.schema, json)).bytes;
}

void PlainWorld::ChangeSet() {
  const Offset offset(org_.applied.position.value() + 1 + static_cast<int64_t>(Below(3)));
  uint32_t index = 0;
  std::set<PlainOrg::RowKey> written;  // the fold shows what a set leaves, not how it came about
  for (size_t ops = 1 + Below(5); ops > 0; --ops) {
    auto it = entities_.begin();
    std::advance(it, Below(entities_.size()));
    Entity& entity = it->second;
    const std::string key = "k" + std::to_string(Below(kKeys));
    const PlainOrg::RowKey row_key{entity.schema->id(), key};
    if (!written.insert(row_key).second) {
      continue;
    }
    const Position position{offset, index++};
    if (Below(4) == 0) {
      if (entity.rows.erase(key) > 0) {
        org_.Delete(row_key, position);
      }
      continue;
    }
    const std::string value = std::to_string(next_value_++);  // so that each write is another row
    Row row{value, value, {}};
    for (int tag = 0; tag < kTags; ++tag) {
      if (Below(3) == 0) {
        row.tags.insert(tag);
      }
    }
    org_.Put(row_key, position, Bytes(entity, key, row), BucketsOfRow(entity, row));
    entity.rows[key] = row;
  }
  org_.applied.position = offset;
}

void PlainWorld::MoveRows() {
  const Offset offset(org_.applied.position.value() + 1);
  uint32_t index = 0;
  for (auto& [name, entity] : entities_) {
    for (auto& [key, row] : entity.rows) {
      if (Below(6) != 0) {
        continue;
      }
      for (size_t flips = 1 + Below(2); flips > 0; --flips) {
        const int tag = static_cast<int>(Below(kTags));
        if (row.tags.erase(tag) == 0) {
          row.tags.insert(tag);
        }
      }
      org_.Put({entity.schema->id(), key}, {offset, index++}, Bytes(entity, key, row),
               BucketsOfRow(entity, row), false);
    }
  }
  org_.applied.position = offset;
}

void PlainWorld::ChangeRules() {
  const Offset offset(org_.applied.position.value() + 1);
  auto it = entities_.begin();
  std::advance(it, Below(entities_.size()));
  Entity& entity = it->second;
  const int tag = static_cast<int>(Below(kTags));
  if (entity.rules.erase(tag) == 0) {
    entity.rules.insert(tag);
  } else if (Below(2) == 0) {
    entity.rules.insert(static_cast<int>(Below(kTags)));  // swapped
  }
  uint32_t index = 0;
  for (const auto& [key, row] : entity.rows) {
    org_.Put({entity.schema->id(), key}, {offset, index++}, Bytes(entity, key, row),
             BucketsOfRow(entity, row), false, true);
  }
  org_.applied.position = offset;
}

// The role gives up an entity or reads it again, then perhaps with other columns; rows stay in the
// buckets, come and go all the while.
void PlainWorld::ChangeRole() {
  const Offset offset(org_.applied.position.value() + 1);
  auto it = entities_.begin();
  std::advance(it, Below(entities_.size()));
  Entity& changed = it->second;
  changed.granted = !changed.granted || Below(4) == 0;
  if (changed.granted) {
    changed.hides_second = Below(2) == 0;
  }
  for (auto& [name, entity] : entities_) {
    entity.defined = offset;
  }
  org_.applied.position = offset;
}

void PlainWorld::Redefine() {
  const Offset offset(org_.applied.position.value() + 1);
  const std::string name = Below(2) == 0 ? "account" : "contact";
  Entity& entity = entities_[name];
  uint32_t index = 0;
  for (const auto& [key, row] : entity.rows) {
    org_.Delete({entity.schema->id(), key}, {offset, index++});
  }
  Define(name);
  org_.applied.position = offset;
}

PlainWorld::Event PlainWorld::Step() {
  const size_t kind = Below(40);
  if (kind < 6) {
    org_.model = projectors::OrgModel::Empty();  // definitions are others: another object
  }
  if (kind == 0) {
    Redefine();
    return Event::kEntity;
  }
  if (kind < 4) {
    ChangeRules();
    return Event::kRules;
  }
  if (kind < 6) {
    ChangeRole();
    return Event::kRules;
  }
  if (kind < 11) {
    MoveRows();
  } else {
    ChangeSet();
  }
  return Event::kRows;
}

void PlainWorld::Prune() {
  const int64_t span = org_.applied.position.value() - org_.applied.horizon.value();
  const int64_t by = static_cast<int64_t>(Below(static_cast<size_t>(span) / 2 + 1));
  org_.Prune(Offset(org_.applied.horizon.value() + by));
}

PlainWorld::Caller PlainWorld::RandomCaller() {
  Caller caller;
  for (const auto& [name, entity] : entities_) {
    caller.hides_second[name] = Below(3) == 0;
    for (int tag = 0; tag < kTags; ++tag) {
      if (Below(2) == 0) {
        caller.allowed.insert(KeyOf(entity, tag));
      }
    }
  }
  return caller;
}

void PlainWorld::ChangeClaims(Caller* caller) {
  auto it = entities_.begin();
  std::advance(it, Below(entities_.size()));
  const size_t kind = Below(5);
  if (kind == 0) {
    bool& hides = caller->hides_second[it->first];
    hides = !hides;
    return;
  }
  for (size_t flips = kind < 3 ? 1 : 2; flips > 0; --flips) {
    const BucketKey key = KeyOf(it->second, static_cast<int>(Below(kTags)));
    if (caller->allowed.erase(key) == 0) {
      caller->allowed.insert(key);
    }
  }
}

bool PlainWorld::Hides(const Caller& caller, const std::string& name, const Entity& entity) {
  const auto it = caller.hides_second.find(name);
  return entity.hides_second || (it != caller.hides_second.end() && it->second);
}

std::vector<projectors::CallerBucket> PlainWorld::BucketsOf(const Caller& caller) const {
  std::vector<projectors::CallerBucket> buckets;
  for (const auto& [name, entity] : entities_) {
    if (!entity.granted) {
      continue;
    }
    for (const int tag : entity.rules) {
      const BucketKey key = KeyOf(entity, tag);
      if (caller.allowed.contains(key)) {
        projectors::CallerEntity seen{entity.schema, {}};
        projectors::CallerBucket bucket{{key, key.ToHex()}, nullptr};
        bucket.defined = entity.defined;
        if (Hides(caller, name, entity)) {
          seen.denied.push_back(schemas::AttributeId(3));
          bucket.columns = 3;
        }
        bucket.entity = std::make_shared<projectors::CallerEntity>(std::move(seen));
        buckets.push_back(std::move(bucket));
      }
    }
  }
  return buckets;
}

HeldRows PlainWorld::Rows(const Caller& caller, bool also_ungranted) const {
  HeldRows rows;
  for (const auto& [name, entity] : entities_) {
    if (!entity.granted && !also_ungranted) {
      continue;
    }
    const bool hidden = Hides(caller, name, entity);
    for (const auto& [key, row] : entity.rows) {
      for (const BucketKey bucket : BucketsOfRow(entity, row)) {
        if (caller.allowed.contains(bucket)) {
          rows[{name, key}] = {row.first, hidden ? "" : row.second};
        }
      }
    }
  }
  return rows;
}

}  // namespace sluice::testing

#include "tests/support/rows/plain_model.h"

#include <algorithm>

namespace sluice::testing {

const PlainAttribute* PlainEntity::Find(const std::string& attribute) const {
  const auto found = std::ranges::find(attributes, attribute, &PlainAttribute::name);
  return found == attributes.end() ? nullptr : &*found;
}

PlainModel::Outcome PlainModel::Apply(const PlainEvent& event) {
  ++events_;
  if (const auto* set = std::get_if<PlainSet>(&event.what)) {
    return ApplySet(*set);
  }
  if (const auto* entity = std::get_if<PlainEntity>(&event.what)) {
    entities_[entity->name].schema = *entity;
  } else if (const auto* profile = std::get_if<PlainProfile>(&event.what)) {
    profiles_[profile->name] = *profile;
  } else if (const auto* role = std::get_if<PlainRole>(&event.what)) {
    roles_[role->name] = *role;
  } else if (const auto* deleted = std::get_if<PlainEvent::Deleted>(&event.what)) {
    switch (deleted->what) {
      case PlainEvent::Deleted::What::kEntity:
        entities_.erase(deleted->name);
        break;
      case PlainEvent::Deleted::What::kProfile:
        profiles_.erase(deleted->name);
        break;
      case PlainEvent::Deleted::What::kRole:
        roles_.erase(deleted->name);
        break;
    }
  }
  return Outcome::kApplied;
}

PlainModel::Outcome PlainModel::ApplySet(const PlainSet& set) {
  const std::pair<std::string, std::string> id = {set.source, set.id};
  const auto seen = sets_.find(id);
  if (!set.id.empty() && seen != sets_.end() && events_ - seen->second <= window_) {
    return Outcome::kDuplicate;
  }
  std::vector<Entity*> entities;
  for (const PlainOp& op : set.ops) {
    const auto found = std::ranges::find_if(
        entities_, [&](const auto& entity) { return entity.second.schema.id == op.entity; });
    if (found == entities_.end()) {
      return Outcome::kRejected;  // a set is atomic
    }
    entities.push_back(&found->second);
  }
  for (size_t i = 0; i < set.ops.size(); ++i) {
    ApplyOp(*entities[i], set.ops[i]);
  }
  if (!set.id.empty()) {
    sets_[id] = events_;
  }
  return Outcome::kApplied;
}

void PlainModel::ApplyOp(Entity& entity, const PlainOp& op) {
  const auto found = entity.rows.find(op.key);
  const bool known = found != entity.rows.end();
  const bool live = known && found->second.live;
  const std::optional<int64_t> version = known ? found->second.version : std::nullopt;
  if (op.version.has_value() && version.has_value() && *op.version <= *version) {
    return;
  }
  if (op.kind == v1::Operation::KIND_DELETE) {
    if (known || op.version.has_value()) {
      Row& row = entity.rows[op.key];
      row = {{}, op.version.has_value() ? op.version : version, false};
    }
    return;
  }
  if (op.kind == v1::Operation::KIND_PATCH && !live) {
    return;
  }
  Row& row = entity.rows[op.key];
  if (op.kind == v1::Operation::KIND_UPSERT) {
    row.values.clear();
  }
  row.live = true;
  row.version = op.version.has_value() ? op.version : version;
  for (const auto& [id, value] : op.row) {
    row.values[id] = value;
  }
  for (const uint32_t id : op.cleared) {
    row.values.erase(id);
  }
}

std::vector<const PlainRole*> PlainModel::RolesOf(const CallerClaims& claims) const {
  std::vector<const PlainRole*> roles;
  for (const auto& [name, role] : roles_) {
    if (std::ranges::find(claims.roles, name) != claims.roles.end()) {
      roles.push_back(&role);
    }
  }
  return roles;
}

}  // namespace sluice::testing

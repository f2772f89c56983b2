#include "tests/support/gateways/recording_sink.h"

#include <algorithm>
#include <utility>

#include "schemas/base/status.h"
#include "schemas/entity_definition.h"
#include "schemas/entity_schema.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {

namespace {

absl::Status OrgGone() {
  return Error(absl::StatusCode::kNotFound, "org_not_found", "there is no such organisation");
}

}  // namespace

absl::Status RecordingSink::Append(SourceSet set) {
  if (fail_at && (*fail_at)-- <= 0) {
    fail_at = 0;
    return failure;
  }
  if (stop_at && *stop_at > 0) --*stop_at;
  if (absent.contains(set.org.value())) return OrgGone();
  const std::string org = set.org.value().empty() ? org_.value() : set.org.value();
  if (set.org.value().empty()) ++number_;
  const auto find = [&](uint32_t id) -> Entity* {
    for (auto& [name, entity] : orgs_[org]) {
      if (entity.schema->id().value() == id) return &entity;
    }
    return nullptr;
  };
  for (v1::Operation& op : set.ops) {
    if (set.number_is_version) op.set_version(static_cast<int64_t>(number_));
    Entity* const found = find(op.entity_id());
    if (found == nullptr) {
      rejected.push_back({org, "", op.key(), "unknown_entity", "", ""});
      continue;
    }
    Apply(*found, op);
  }
  if (set.cursor) cursor_ = *set.cursor;
  if (keep_sets) sets.push_back(std::move(set));
  return absl::OkStatus();
}

void RecordingSink::Apply(Entity& entity, const v1::Operation& op) {
  if (op.kind() == v1::Operation::KIND_SWEEP) {
    for (auto at = entity.rows.begin(); at != entity.rows.end();) {
      if (at->second.version > op.version()) {
        ++at;
        continue;
      }
      entity.deleted[at->first] = op.version();
      at = entity.rows.erase(at);
      ++changed;
    }
    return;
  }
  const auto row = entity.rows.find(op.key());
  const auto gone = entity.deleted.find(op.key());
  const bool is_there = row != entity.rows.end();
  if (is_there && op.version() < row->second.version) return;
  if (gone != entity.deleted.end() && op.version() < gone->second) return;
  switch (op.kind()) {
    case v1::Operation::KIND_TOUCH:
      if (is_there) row->second.version = op.version();
      return;
    case v1::Operation::KIND_DELETE:
      entity.deleted[op.key()] = op.version();
      changed += is_there ? 1 : 0;
      if (is_there) entity.rows.erase(row);
      return;
    default:
      break;
  }
  std::string bytes = op.row();
  const bool is_own = op.kept_from().empty() || (is_there && row->second.version == op.version());
  const auto from = entity.rows.find(is_own ? op.key() : op.kept_from());
  if (!op.kept().empty() && from != entity.rows.end()) {
    std::string kept;
    schemas::RowScanner scanner(from->second.bytes);
    while (scanner.Next()) {
      for (const uint32_t id : op.kept()) {
        if (scanner.field().id.value() == id) kept += scanner.field().raw;
      }
    }
    bytes = schemas::PatchRow(bytes, kept, {}).value();
  }
  entity.deleted.erase(op.key());
  const bool same = is_there && row->second.bytes == bytes;
  ++(same ? unchanged : changed);
  entity.rows[op.key()] = {std::move(bytes), op.version()};
}

absl::StatusOr<std::shared_ptr<const schemas::EntitySchema>> RecordingSink::Define(
    const OrgId& org, const v1::ProvisioningRequest::PutEntity& wanted) {
  if (absent.contains(org.value())) return OrgGone();
  Entities& entities = orgs_[org.value().empty() ? org_.value() : org.value()];
  if (absl::Status status = schemas::ValidateDefinition(wanted); !status.ok()) return status;
  const auto found = entities.find(wanted.name());
  const v1::EntitySchema* current =
      found == entities.end() ? nullptr : &found->second.schema->proto();
  auto evolved = schemas::EvolveSchema(
      current, wanted, schemas::EntityId(static_cast<uint32_t>(entities.size()) + forgotten_ + 1));
  if (!evolved.ok()) return evolved.status();
  auto schema = schemas::EntitySchema::FromProto(*evolved);
  if (!schema.ok()) return schema.status();
  entities[wanted.name()].schema = *schema;
  return *schema;
}

void RecordingSink::Forget(std::string_view entity) {
  Entities& entities = orgs_[org_.value()];
  entities.erase(entities.find(entity));
  ++forgotten_;
}

std::shared_ptr<const schemas::EntitySchema> RecordingSink::Find(const OrgId& org,
                                                                 std::string_view entity) {
  const auto entities = orgs_.find(org.value().empty() ? org_.value() : org.value());
  if (entities == orgs_.end()) return nullptr;
  const auto found = entities->second.find(entity);
  return found == entities->second.end() ? nullptr : found->second.schema;
}

absl::Status RecordingSink::OpenOrg(const OrgId& org) {
  ++opened;
  const auto found = absent.find(org.value());
  if (found != absent.end() && found->second) return OrgGone();
  absent.erase(org.value());
  return absl::OkStatus();
}

absl::Status RecordingSink::ForEachOrg(std::string_view entity,
                                       const std::function<absl::Status(const OrgId&)>& visit) {
  for (const auto& [org, entities] : orgs_) {
    if (entities.contains(entity) && !absent.contains(org)) {
      if (absl::Status status = visit(*OrgId::Parse(org)); !status.ok()) return status;
    }
  }
  return absl::OkStatus();
}

absl::Status RecordingSink::Reject(const RejectedRow& row) {
  if (rejected.size() >= rejected_max) {
    return Error(absl::StatusCode::kFailedPrecondition, "too_many_rejected", "too many rows");
  }
  rejected.push_back({row.org.value().empty() ? org_.value() : row.org.value(), row.entity, row.key,
                      row.code, row.reason, std::string(row.row)});
  return absl::OkStatus();
}

const RecordingSink::Rows& RecordingSink::RowsOf(std::string_view entity,
                                                 std::string_view org) const {
  static const Rows kNone;
  const auto entities = orgs_.find(org.empty() ? std::string_view(org_.value()) : org);
  if (entities == orgs_.end()) return kNone;
  const auto found = entities->second.find(entity);
  return found == entities->second.end() ? kNone : found->second.rows;
}

}  // namespace sluice::gateways

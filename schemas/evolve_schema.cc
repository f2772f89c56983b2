#include <fmt/format.h>

#include <map>
#include <string>
#include <string_view>
#include <unordered_map>

#include "schemas/attribute_type.h"
#include "schemas/base/status.h"
#include "schemas/entity_definition.h"
#include "schemas/entity_schema.h"

// From one version of an entity's schema to the next (schemas/docs/evolution.md).
namespace sluice::schemas {
namespace {

using ByName = std::unordered_map<std::string, const v1::Attribute*>;

absl::Status Incompatible(std::string_view message) {
  return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema", message);
}

// Protobuf keeps these field numbers for itself, and protoc refuses a file that uses them.
constexpr uint32_t kProtobufReservedFirst = 19'000;
constexpr uint32_t kProtobufReservedLast = 19'999;

absl::StatusOr<uint32_t> GiveId(v1::EntitySchema* schema) {
  uint32_t id = schema->next_attribute_id();
  if (id >= kProtobufReservedFirst && id <= kProtobufReservedLast) {
    id = kProtobufReservedLast + 1;
  }
  if (id > kAttributeIdMax) {
    return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema",
                 fmt::format("entity {} has used up its {} attribute ids: define a new entity",
                             schema->name(), kAttributeIdMax));
  }
  schema->set_next_attribute_id(id + 1);
  return id;
}

ByName IndexByName(const v1::EntitySchema* schema) {
  ByName by_name;
  if (schema != nullptr) {
    for (const v1::Attribute& attribute : schema->attributes()) {
      by_name.emplace(attribute.name(), &attribute);
    }
  }
  return by_name;
}

// Adds `wanted`, with the id that it has in `current` or a new one, to `next`.
absl::Status AddAttribute(const ByName& current, const v1::Attribute& wanted,
                          v1::EntitySchema* next) {
  v1::Attribute added = wanted;
  const auto found = current.find(wanted.name());
  if (found == current.end()) {
    ASSIGN_OR_RETURN(const uint32_t id, GiveId(next));
    added.set_id(id);
  } else {
    const v1::AttributeType type = found->second->type();
    if (type != wanted.type()) {
      return Incompatible(fmt::format(
          "{}.{} is {} and cannot become {}: define an attribute of another name", next->name(),
          wanted.name(), AttributeTypeName(type), AttributeTypeName(wanted.type())));
    }
    added.set_id(found->second->id());
  }
  *next->add_attributes() = std::move(added);
  return absl::OkStatus();
}

uint32_t IdOf(const v1::EntitySchema& schema, std::string_view name) {
  for (const v1::Attribute& attribute : schema.attributes()) {
    if (attribute.name() == name) {
      return attribute.id();
    }
  }
  return 0;
}

// The id of the attribute that holds an owner; defined as a string where the list leaves it out.
absl::StatusOr<uint32_t> OwnerId(const ByName& current, const std::string& name,
                                 v1::EntitySchema* next) {
  if (name.empty()) {
    return 0U;
  }
  if (const uint32_t id = IdOf(*next, name); id != 0) {
    return id;
  }
  const auto found = current.find(name);
  if (found != current.end() && !found->second->implied()) {
    return Error(
        absl::StatusCode::kFailedPrecondition, "attribute_in_use",
        fmt::format("{}.{} cannot be removed while the ownership names it", next->name(), name));
  }
  v1::Attribute implied;
  implied.set_name(name);
  implied.set_type(v1::ATTRIBUTE_TYPE_STRING);
  implied.set_implied(true);
  RETURN_IF_ERROR(AddAttribute(current, implied, next));
  return next->attributes(next->attributes_size() - 1).id();
}

absl::Status SetPrimaryKey(const v1::EntitySchema* current,
                           const v1::ProvisioningRequest::PutEntity& wanted,
                           v1::EntitySchema* next) {
  next->set_primary_key(IdOf(*next, wanted.primary_key()));
  if (current == nullptr || current->primary_key() == next->primary_key()) {
    return absl::OkStatus();
  }
  std::string before;
  for (const v1::Attribute& attribute : current->attributes()) {
    before = attribute.id() == current->primary_key() ? attribute.name() : before;
  }
  return Incompatible(fmt::format("the primary key of {} is {} and cannot become {}", next->name(),
                                  before, wanted.primary_key()));
}

// Whoever holds rows of before knows a removed attribute's values by its name, so the name is kept.
void SetRemoved(const v1::EntitySchema& current, v1::EntitySchema* next) {
  std::map<uint32_t, std::string_view> removed;
  for (const v1::RemovedAttribute& attribute : current.removed()) {
    removed.emplace(attribute.id(), attribute.name());
  }
  for (const v1::Attribute& attribute : current.attributes()) {
    removed.emplace(attribute.id(), attribute.name());
  }
  for (const v1::Attribute& attribute : next->attributes()) {
    removed.erase(attribute.id());
  }
  for (const auto& [id, name] : removed) {
    v1::RemovedAttribute& added = *next->add_removed();
    added.set_id(id);
    added.set_name(std::string(name));
  }
}

}  // namespace

absl::StatusOr<v1::EntitySchema> EvolveSchema(const v1::EntitySchema* current,
                                              const v1::ProvisioningRequest::PutEntity& wanted,
                                              EntityId new_id) {
  RETURN_IF_ERROR(ValidateDefinition(wanted));
  v1::EntitySchema next;
  next.set_entity_id(current == nullptr ? new_id.value() : current->entity_id());
  next.set_name(wanted.name());
  next.set_source(wanted.source());
  next.set_next_attribute_id(current == nullptr ? 1 : current->next_attribute_id());
  const ByName by_name = IndexByName(current);
  for (const v1::Attribute& attribute : wanted.attributes()) {
    v1::Attribute asked = attribute;
    asked.set_implied(false);
    RETURN_IF_ERROR(AddAttribute(by_name, asked, &next));
  }
  RETURN_IF_ERROR(SetPrimaryKey(current, wanted, &next));
  ASSIGN_OR_RETURN(const uint32_t user, OwnerId(by_name, wanted.owner_user(), &next));
  ASSIGN_OR_RETURN(const uint32_t team, OwnerId(by_name, wanted.owner_team(), &next));
  ASSIGN_OR_RETURN(const uint32_t unit, OwnerId(by_name, wanted.owner_business_unit(), &next));
  if (user != 0 || team != 0 || unit != 0) {
    next.mutable_ownership()->set_user(user);
    next.mutable_ownership()->set_team(team);
    next.mutable_ownership()->set_business_unit(unit);
  }
  if (current != nullptr) {
    SetRemoved(*current, &next);
  }
  return next;
}

}  // namespace sluice::schemas

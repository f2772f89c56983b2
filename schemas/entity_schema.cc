#include "schemas/entity_schema.h"

#include <fmt/format.h>

#include "schemas/attribute_type.h"
#include "schemas/base/status.h"

namespace sluice::schemas {
namespace {

absl::Status Broken(const v1::EntitySchema& proto, std::string_view reason) {
  return Error(StatusCode::kInternal, "internal", "schema of entity {} (id {}): {}", proto.name(),
               proto.entity_id(), reason);
}

absl::Status CheckAttribute(const v1::EntitySchema& proto, const v1::Attribute& attribute) {
  if (attribute.id() == 0 || attribute.id() >= proto.next_attribute_id()) {
    return Broken(proto, fmt::format("attribute id {} was never given", attribute.id()));
  }
  if (!IsValidName(attribute.name())) {
    return Broken(proto, fmt::format("attribute {} has no valid name", attribute.id()));
  }
  if (AttributeTypeName(attribute.type()).empty()) {
    return Broken(proto, fmt::format("attribute {} has no known type", attribute.name()));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::shared_ptr<const EntitySchema>> EntitySchema::FromProto(
    const v1::EntitySchema& proto) {
  if (proto.entity_id() == 0 || !IsValidName(proto.name()) ||
      proto.next_attribute_id() > kAttributeIdMax + 1) {
    return Broken(proto, "its id, name or next attribute id is out of range");
  }
  std::shared_ptr<EntitySchema> schema(new EntitySchema());
  schema->proto_ = proto;
  bool has_key = false;
  for (const v1::Attribute& attribute : proto.attributes()) {
    RETURN_IF_ERROR(CheckAttribute(proto, attribute));
    const size_t index = schema->attributes_.size();
    if (schema->by_id_.size() <= attribute.id()) {
      schema->by_id_.resize(attribute.id() + 1, -1);
    }
    if (schema->by_id_[attribute.id()] >= 0) {
      return Broken(proto, fmt::format("attribute id {} comes twice", attribute.id()));
    }
    schema->by_id_[attribute.id()] = static_cast<int32_t>(index);
    if (attribute.id() == proto.primary_key()) {
      schema->key_index_ = index;
      has_key = true;
    }
    schema->attributes_.push_back(
        {AttributeId(attribute.id()), attribute.name(), attribute.type(), attribute.references()});
  }
  if (!has_key) {
    return Broken(proto, "the primary key is none of its attributes");
  }
  for (const Attribute& attribute : schema->attributes_) {
    JsonLabel label{fmt::format(",\"{}\":", attribute.name), 0};
    label.size = label.padded.size();
    label.padded.resize((label.size + kJsonLabelStep - 1) / kJsonLabelStep * kJsonLabelStep, ' ');
    schema->json_labels_.push_back(std::move(label));
  }
  // The names point into attributes_, which does not grow any more.
  for (size_t index = 0; index < schema->attributes_.size(); ++index) {
    if (!schema->by_name_.emplace(schema->attributes_[index].name, index).second) {
      return Broken(proto,
                    fmt::format("attribute {} comes twice", schema->attributes_[index].name));
    }
  }
  for (const v1::RemovedAttribute& removed : proto.removed()) {
    if (removed.id() == 0 || removed.id() >= proto.next_attribute_id() ||
        schema->Find(AttributeId(removed.id())) != nullptr) {
      return Broken(proto, fmt::format("attribute id {} cannot have been removed", removed.id()));
    }
  }
  const v1::Ownership& ownership = proto.ownership();
  for (const uint32_t id : {ownership.user(), ownership.team(), ownership.business_unit()}) {
    if (id != 0 && schema->Find(AttributeId(id)) == nullptr) {
      return Broken(proto, fmt::format("ownership names attribute id {}, which is none", id));
    }
  }
  return std::shared_ptr<const EntitySchema>(std::move(schema));
}

const Attribute* EntitySchema::Find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &attributes_[found->second];
}

}  // namespace sluice::schemas

#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/statusor.h"
#include "schemas/base/named_type.h"
#include "schemas/sluice/v1/definitions.pb.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::schemas {

// Unique within one incarnation of an organisation, never given again.
using EntityId = NamedType<uint32_t, struct EntityIdTag>;
// Unique within one entity, never given again; the attribute's field number in row bytes. 0: none.
using AttributeId = NamedType<uint32_t, struct AttributeIdTag>;

// Ids end here: a schema is indexed by them.
inline constexpr uint32_t kAttributeIdMax = 1'000'000;

struct Attribute {
  AttributeId id;
  std::string name;
  v1::AttributeType type = v1::ATTRIBUTE_TYPE_UNSPECIFIED;
  std::string references;  // entity name or empty
};

// An entity's schema, indexed for the codec. Immutable, so safe to share between threads.
class EntitySchema {
 public:
  // kInternal for a message that no sequencer of ours can have written (duplicate ids, no key,
  // ...).
  [[nodiscard]] static absl::StatusOr<std::shared_ptr<const EntitySchema>> FromProto(
      const v1::EntitySchema& proto);

  EntitySchema(const EntitySchema&) = delete;
  EntitySchema& operator=(const EntitySchema&) = delete;

  const v1::EntitySchema& proto() const { return proto_; }
  EntityId id() const { return EntityId(proto_.entity_id()); }
  const std::string& name() const { return proto_.name(); }
  const Attribute& key() const { return attributes_[key_index_]; }
  // In the order of definition; removed attributes are not listed.
  const std::vector<Attribute>& attributes() const { return attributes_; }
  // What precedes the value in JSON, `,"name":`, and blanks up to a multiple of kJsonLabelStep: a
  // writer that copies in steps needs no other length. `attribute` is one of attributes().
  struct JsonLabel {
    std::string padded;
    size_t size = 0;
  };
  static constexpr size_t kJsonLabelStep = 16;
  const JsonLabel& LabelOf(const Attribute& attribute) const {
    return json_labels_[static_cast<size_t>(&attribute - attributes_.data())];
  }
  // nullptr where there is none (of that id or name), or where it was removed.
  const Attribute* Find(AttributeId id) const {
    const int32_t index = id.value() < by_id_.size() ? by_id_[id.value()] : -1;
    return index < 0 ? nullptr : &attributes_[static_cast<size_t>(index)];
  }
  const Attribute* Find(std::string_view name) const;

 private:
  EntitySchema() = default;
  v1::EntitySchema proto_;
  std::vector<Attribute> attributes_;
  std::vector<JsonLabel> json_labels_;  // in the order of attributes_
  size_t key_index_ = 0;
  std::vector<int32_t> by_id_;  // attribute id -> index in attributes_, -1 where none
  std::unordered_map<std::string_view, size_t> by_name_;
};

// The definition that an admin asks for (v1::ProvisioningRequest::PutEntity), from the JSON of
// gateways/docs/api.md, section 1. kInvalidArgument for what is malformed; names, types, ownership
// and the key are checked.
[[nodiscard]] absl::StatusOr<v1::ProvisioningRequest::PutEntity> ParseEntityDefinition(
    std::string_view name, std::string_view json);

// The schema that results from applying `wanted` to `current` (nullptr for a new entity, which then
// gets `new_id`). Attribute ids: kept where name and type are, given from next_attribute_id
// otherwise; an attribute removed and defined again is a new one. An attribute that the ownership
// names and the list leaves out is defined as a string (`implied`). kFailedPrecondition, code
// "incompatible_schema", where the type of an attribute or the primary key would change,
// "attribute_in_use" where a listed attribute is removed that the ownership still names. A schema
// equal to `current` where nothing changes.
[[nodiscard]] absl::StatusOr<v1::EntitySchema> EvolveSchema(
    const v1::EntitySchema* current, const v1::ProvisioningRequest::PutEntity& wanted,
    EntityId new_id);

// The JSON of gateways/docs/api.md, section 1, for a schema (as GET answers), with attributes in
// order.
[[nodiscard]] std::string EntitySchemaToJson(const v1::EntitySchema& schema);

// A .proto file (proto3, every attribute `optional`, field number = attribute id, removed ids
// reserved) that reads this entity's row bytes: what `sluice schema export` prints.
[[nodiscard]] std::string EntitySchemaToProtoFile(const v1::EntitySchema& schema,
                                                  std::string_view package);

}  // namespace sluice::schemas

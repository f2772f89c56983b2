#include "schemas/entity_definition.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "schemas/attribute_type.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"
#include "schemas/entity_schema.h"
#include "schemas/field_value.h"

// Definitions as administrators write them: the JSON of gateways/docs/api.md, section 1.
namespace sluice::schemas {
namespace {

using Json = nlohmann::json;
using PutEntity = v1::ProvisioningRequest::PutEntity;

// The member `name`, which is not empty; empty where there is none and none is required.
absl::StatusOr<std::string> NameMember(const Json& object, std::string_view what,
                                       std::string_view name, bool required) {
  ASSIGN_OR_RETURN(const std::optional<std::string> text, StringMember(object, what, name));
  if (!text.has_value() && required) {
    return Invalid("invalid_argument", "{} lacks the member \"{}\"", what, name);
  }
  if (text.has_value() && text->empty()) {
    return Invalid("invalid_argument", "{}: \"{}\" must not be empty", what, name);
  }
  return text.value_or("");
}

absl::Status ParseAttribute(const Json& json, size_t index, PutEntity* entity) {
  const std::string what = fmt::format("attributes[{}]", index);
  RETURN_IF_ERROR(CheckMembers(json, what, {"name", "type", "references"}));
  ASSIGN_OR_RETURN(const std::string name, NameMember(json, what, "name", true));
  ASSIGN_OR_RETURN(const std::string type, NameMember(json, what, "type", true));
  ASSIGN_OR_RETURN(const std::string references, NameMember(json, what, "references", false));
  v1::Attribute* const attribute = entity->add_attributes();
  attribute->set_name(name);
  attribute->set_type(AttributeTypeFromName(type));
  if (attribute->type() == v1::ATTRIBUTE_TYPE_UNSPECIFIED) {
    return Invalid("invalid_argument",
                   "{}: {} is no type; types are string, int32, int64, double, decimal, bool, "
                   "datetime, date, time, uuid and bytes",
                   what, QuoteForError(type));
  }
  attribute->set_references(references);
  return absl::OkStatus();
}

absl::Status ParseOwnership(const Json& json, PutEntity* entity) {
  constexpr std::string_view kWhat = "ownership";
  RETURN_IF_ERROR(CheckMembers(json, kWhat, {"user", "team", "business_unit"}));
  ASSIGN_OR_RETURN(*entity->mutable_owner_user(), NameMember(json, kWhat, "user", false));
  ASSIGN_OR_RETURN(*entity->mutable_owner_team(), NameMember(json, kWhat, "team", false));
  ASSIGN_OR_RETURN(*entity->mutable_owner_business_unit(),
                   NameMember(json, kWhat, "business_unit", false));
  return absl::OkStatus();
}

absl::Status CheckOwner(const PutEntity& wanted, std::string_view what, const std::string& name) {
  if (name.empty()) {
    return absl::OkStatus();
  }
  if (!IsValidName(name)) {
    return Invalid("invalid_argument", "ownership.{}: {} is no attribute name", what,
                   QuoteForError(name));
  }
  for (const v1::Attribute& attribute : wanted.attributes()) {
    if (attribute.name() == name && !CanHoldOwner(attribute.type())) {
      return Invalid("invalid_argument",
                     "ownership.{}: {} is {}, and an owner is a string, uuid or integer", what,
                     name, AttributeTypeName(attribute.type()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateDefinition(const PutEntity& wanted) {
  constexpr std::string_view kNameRule = "[A-Za-z_][A-Za-z0-9_]{0,127}";
  if (!IsValidName(wanted.name())) {
    return Invalid("invalid_argument", "{} is no entity name: {}", QuoteForError(wanted.name()),
                   kNameRule);
  }
  if (wanted.attributes_size() > kAttributesMax) {
    return Invalid("invalid_argument", "{} attributes are more than {}", wanted.attributes_size(),
                   kAttributesMax);
  }
  std::unordered_set<std::string> names;
  for (const v1::Attribute& attribute : wanted.attributes()) {
    if (!IsValidName(attribute.name())) {
      return Invalid("invalid_argument", "{} is no attribute name: {}",
                     QuoteForError(attribute.name()), kNameRule);
    }
    if (AttributeTypeName(attribute.type()).empty()) {
      return Invalid("invalid_argument", "attribute {} has no known type", attribute.name());
    }
    if (!attribute.references().empty() && !IsValidName(attribute.references())) {
      return Invalid("invalid_argument", "attribute {} references {}, which is no entity name",
                     attribute.name(), QuoteForError(attribute.references()));
    }
    if (!names.insert(attribute.name()).second) {
      return Invalid("invalid_argument", "attribute {} is defined twice", attribute.name());
    }
  }
  if (!names.contains(wanted.primary_key())) {
    return Invalid("invalid_argument", "the primary key {} is none of the attributes",
                   QuoteForError(wanted.primary_key()));
  }
  RETURN_IF_ERROR(CheckOwner(wanted, "user", wanted.owner_user()));
  RETURN_IF_ERROR(CheckOwner(wanted, "team", wanted.owner_team()));
  return CheckOwner(wanted, "business_unit", wanted.owner_business_unit());
}

absl::StatusOr<PutEntity> ParseEntityDefinition(std::string_view name, std::string_view json) {
  // Before it is parsed, which takes several times its size.
  if (json.size() > kDefinitionSizeMax) {
    return Invalid("too_large", "a definition of {} bytes is over the limit of {}", json.size(),
                   kDefinitionSizeMax);
  }
  ASSIGN_OR_RETURN(const Json document, ParseStrictJson(json, kDefinitionDepthMax));
  constexpr std::string_view kWhat = "an entity's definition";
  RETURN_IF_ERROR(CheckMembers(document, kWhat, {"primary_key", "attributes", "ownership"}));
  PutEntity entity;
  entity.set_name(std::string(name));
  ASSIGN_OR_RETURN(*entity.mutable_primary_key(), NameMember(document, kWhat, "primary_key", true));
  const auto attributes = document.find("attributes");
  if (attributes == document.end() || !attributes->is_array()) {
    return Invalid("invalid_argument", "an entity's definition lacks its list of \"attributes\"");
  }
  for (size_t index = 0; index < attributes->size(); ++index) {
    RETURN_IF_ERROR(ParseAttribute((*attributes)[index], index, &entity));
  }
  if (const auto ownership = document.find("ownership"); ownership != document.end()) {
    RETURN_IF_ERROR(ParseOwnership(*ownership, &entity));
  }
  RETURN_IF_ERROR(ValidateDefinition(entity));
  return entity;
}

std::string EntitySchemaToJson(const v1::EntitySchema& schema) {
  using Ordered = nlohmann::ordered_json;
  std::unordered_map<uint32_t, std::string> name_of;
  Ordered attributes = Ordered::array();
  for (const v1::Attribute& attribute : schema.attributes()) {
    // Its name all the same: the ownership below may be what implies it.
    name_of.emplace(attribute.id(), attribute.name());
    if (attribute.implied()) {
      continue;
    }
    Ordered entry;
    entry["name"] = attribute.name();
    entry["type"] = AttributeTypeName(attribute.type());
    if (!attribute.references().empty()) {
      entry["references"] = attribute.references();
    }
    attributes.push_back(std::move(entry));
  }
  Ordered document;
  document["primary_key"] = name_of[schema.primary_key()];
  document["attributes"] = std::move(attributes);
  const std::pair<const char*, uint32_t> owners[] = {
      {"user", schema.ownership().user()},
      {"team", schema.ownership().team()},
      {"business_unit", schema.ownership().business_unit()}};
  for (const auto& [member, id] : owners) {
    if (id != 0) {
      document["ownership"][member] = name_of[id];
    }
  }
  return document.dump();
}

}  // namespace sluice::schemas

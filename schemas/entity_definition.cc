#include "schemas/entity_definition.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>
#include <nlohmann/json.hpp>
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

absl::Status Invalid(std::string_view message) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", message);
}

absl::Status CheckMembers(const Json& object, std::string_view what,
                          std::initializer_list<std::string_view> known) {
  if (!object.is_object()) {
    return Invalid(fmt::format("{} must be an object", what));
  }
  for (const auto& [name, value] : object.items()) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      return Invalid(fmt::format("{} has no member {}: known are {}", what, QuoteForError(name),
                                 fmt::join(known, ", ")));
    }
  }
  return absl::OkStatus();
}

// The string member `name`, empty where there is none and none is required.
absl::StatusOr<std::string> StringMember(const Json& object, std::string_view what,
                                         std::string_view name, bool required) {
  const auto found = object.find(std::string(name));
  if (found == object.end()) {
    return required ? absl::StatusOr<std::string>(
                          Invalid(fmt::format("{} lacks the member \"{}\"", what, name)))
                    : std::string();
  }
  if (!found->is_string() || found->get_ref<const std::string&>().empty()) {
    return Invalid(fmt::format("{}: \"{}\" must be a string that is not empty", what, name));
  }
  return found->get<std::string>();
}

absl::Status ParseAttribute(const Json& json, size_t index, PutEntity* entity) {
  const std::string what = fmt::format("attributes[{}]", index);
  RETURN_IF_ERROR(CheckMembers(json, what, {"name", "type", "references"}));
  ASSIGN_OR_RETURN(const std::string name, StringMember(json, what, "name", true));
  ASSIGN_OR_RETURN(const std::string type, StringMember(json, what, "type", true));
  ASSIGN_OR_RETURN(const std::string references, StringMember(json, what, "references", false));
  v1::Attribute* const attribute = entity->add_attributes();
  attribute->set_name(name);
  attribute->set_type(AttributeTypeFromName(type));
  if (attribute->type() == v1::ATTRIBUTE_TYPE_UNSPECIFIED) {
    return Invalid(
        fmt::format("{}: {} is no type; types are string, int32, int64, double, "
                    "decimal, bool, datetime, date, time, uuid and bytes",
                    what, QuoteForError(type)));
  }
  attribute->set_references(references);
  return absl::OkStatus();
}

absl::Status ParseOwnership(const Json& json, PutEntity* entity) {
  constexpr std::string_view kWhat = "ownership";
  RETURN_IF_ERROR(CheckMembers(json, kWhat, {"user", "team", "business_unit"}));
  ASSIGN_OR_RETURN(*entity->mutable_owner_user(), StringMember(json, kWhat, "user", false));
  ASSIGN_OR_RETURN(*entity->mutable_owner_team(), StringMember(json, kWhat, "team", false));
  ASSIGN_OR_RETURN(*entity->mutable_owner_business_unit(),
                   StringMember(json, kWhat, "business_unit", false));
  return absl::OkStatus();
}

absl::Status CheckOwner(const PutEntity& wanted, std::string_view what, const std::string& name) {
  if (name.empty()) {
    return absl::OkStatus();
  }
  if (!IsValidName(name)) {
    return Invalid(fmt::format("ownership.{}: {} is no attribute name", what, QuoteForError(name)));
  }
  for (const v1::Attribute& attribute : wanted.attributes()) {
    if (attribute.name() == name && !CanHoldOwner(attribute.type())) {
      return Invalid(
          fmt::format("ownership.{}: {} is {}, and an owner is a string, uuid or integer", what,
                      name, AttributeTypeName(attribute.type())));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateDefinition(const PutEntity& wanted) {
  constexpr std::string_view kNameRule = "[A-Za-z_][A-Za-z0-9_]{0,127}";
  if (!IsValidName(wanted.name())) {
    return Invalid(
        fmt::format("{} is no entity name: {}", QuoteForError(wanted.name()), kNameRule));
  }
  if (wanted.attributes_size() > kAttributesMax) {
    return Invalid(
        fmt::format("{} attributes are more than {}", wanted.attributes_size(), kAttributesMax));
  }
  std::unordered_set<std::string> names;
  for (const v1::Attribute& attribute : wanted.attributes()) {
    if (!IsValidName(attribute.name())) {
      return Invalid(
          fmt::format("{} is no attribute name: {}", QuoteForError(attribute.name()), kNameRule));
    }
    if (AttributeTypeName(attribute.type()).empty()) {
      return Invalid(fmt::format("attribute {} has no known type", attribute.name()));
    }
    if (!attribute.references().empty() && !IsValidName(attribute.references())) {
      return Invalid(fmt::format("attribute {} references {}, which is no entity name",
                                 attribute.name(), QuoteForError(attribute.references())));
    }
    if (!names.insert(attribute.name()).second) {
      return Invalid(fmt::format("attribute {} is defined twice", attribute.name()));
    }
  }
  if (!names.contains(wanted.primary_key())) {
    return Invalid(fmt::format("the primary key {} is none of the attributes",
                               QuoteForError(wanted.primary_key())));
  }
  RETURN_IF_ERROR(CheckOwner(wanted, "user", wanted.owner_user()));
  RETURN_IF_ERROR(CheckOwner(wanted, "team", wanted.owner_team()));
  return CheckOwner(wanted, "business_unit", wanted.owner_business_unit());
}

absl::StatusOr<PutEntity> ParseEntityDefinition(std::string_view name, std::string_view json) {
  if (json.size() > kDefinitionSizeMax) {
    return Error(absl::StatusCode::kInvalidArgument, "too_large",
                 fmt::format("a definition of {} bytes is over the limit of {}", json.size(),
                             kDefinitionSizeMax));
  }
  ASSIGN_OR_RETURN(const Json document, ParseStrictJson(json, kDefinitionDepthMax));
  constexpr std::string_view kWhat = "an entity's definition";
  RETURN_IF_ERROR(CheckMembers(document, kWhat, {"primary_key", "attributes", "ownership"}));
  PutEntity entity;
  entity.set_name(std::string(name));
  ASSIGN_OR_RETURN(*entity.mutable_primary_key(),
                   StringMember(document, kWhat, "primary_key", true));
  const auto attributes = document.find("attributes");
  if (attributes == document.end() || !attributes->is_array()) {
    return Invalid("an entity's definition lacks its list of \"attributes\"");
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

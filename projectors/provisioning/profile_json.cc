#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "projectors/provisioning/directory.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"

namespace sluice::projectors {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kNameBytesMax = 128;
constexpr size_t kEntitiesMax = 1'000;
constexpr size_t kRulesMax = 100;

// Entities: [A-Za-z_][A-Za-z0-9_]{0,127}. Profiles and roles: also '-' and '.', and a digit first.
absl::Status CheckName(std::string_view what, std::string_view name, bool is_entity) {
  const auto starts = [is_entity](char c) {
    return IsLetter(c) || c == '_' || (!is_entity && IsDigit(c));
  };
  const bool rest = std::ranges::all_of(name, [&](char c) {
    return starts(c) || IsDigit(c) || (!is_entity && (c == '-' || c == '.'));
  });
  if (!name.empty() && starts(name[0]) && rest && name.size() <= kNameBytesMax) {
    return absl::OkStatus();
  }
  return Invalid("invalid_argument", "'{}' is not a name for {}: {} and at most {} characters",
                 name.substr(0, kNameBytesMax), what,
                 is_entity ? "letters, digits and _, not starting with a digit,"
                           : "letters, digits, '_', '-' and '.'",
                 kNameBytesMax);
}

absl::StatusOr<bool> BoolMember(const Json& object, const char* name, std::string_view where) {
  const auto found = object.find(name);
  if (found == object.end()) {
    return false;
  }
  if (!found->is_boolean()) {
    return Invalid("invalid_argument", "'{}' in {} must be true or false", name, where);
  }
  return found->get<bool>();
}

// None where it is absent.
absl::StatusOr<std::vector<std::string>> NamesMember(const Json& object, const char* name,
                                                     std::string_view where) {
  const auto found = object.find(name);
  if (found == object.end()) {
    return std::vector<std::string>();
  }
  if (!found->is_array() || !std::ranges::all_of(*found, &Json::is_string)) {
    return Invalid("invalid_argument", "'{}' in {} must be an array of names", name, where);
  }
  return found->get<std::vector<std::string>>();
}

// The object member `entities`, an empty one where it is absent.
absl::StatusOr<Json> EntitiesMember(const Json& document) {
  const auto found = document.find("entities");
  if (found == document.end()) {
    return Json::object();
  }
  if (!found->is_object()) {
    return Invalid("invalid_argument",
                   "'entities' must be an object: entity name to its rules or rights");
  }
  if (found->size() > kEntitiesMax) {
    return Invalid("invalid_argument", "'entities' has {} members, at most {} are allowed",
                   found->size(), kEntitiesMax);
  }
  return *found;
}

absl::StatusOr<v1::Rule> ParseRule(const Json& json, std::string_view entity) {
  const std::string where = fmt::format("a rule of entity '{}'", entity);
  RETURN_IF_ERROR(CheckMembers(json, where, {"kind", "through", "where"}));
  ASSIGN_OR_RETURN(const auto named, StringMember(json, where, "kind"));
  const std::string name = named.value_or("");
  const std::optional<v1::RuleKind> kind = ParseRuleKind(name);
  if (!kind.has_value()) {
    return Invalid("invalid_argument",
                   "{}: unknown kind '{}'; it is all, user, team, business_unit, filter or related",
                   where, name);
  }
  v1::Rule rule;
  rule.set_kind(*kind);
  ASSIGN_OR_RETURN(const auto through, StringMember(json, where, "through"));
  ASSIGN_OR_RETURN(const auto filter, StringMember(json, where, "where"));
  rule.set_through(through.value_or(""));
  rule.set_where(filter.value_or(""));
  if ((*kind == v1::RULE_KIND_RELATED) != through.has_value() ||
      (*kind == v1::RULE_KIND_FILTER) != filter.has_value()) {
    return Invalid(
        "invalid_argument",
        "{}: 'through' belongs to kind related and 'where' to kind filter, and both need theirs",
        where);
  }
  return rule;
}

absl::StatusOr<v1::EntityGrant> ParseGrant(const std::string& entity, const Json& json) {
  const std::string where = fmt::format("entity '{}'", entity);
  RETURN_IF_ERROR(CheckMembers(json, where, {"read", "deny_columns"}));
  v1::EntityGrant grant;
  grant.set_entity(entity);
  ASSIGN_OR_RETURN(const bool read, BoolMember(json, "read", where));
  grant.set_read(read);
  ASSIGN_OR_RETURN(const auto denied, NamesMember(json, "deny_columns", where));
  grant.mutable_deny_columns()->Assign(denied.begin(), denied.end());
  return grant;
}

absl::Status ParseRules(const std::string& entity, const Json& json, v1::EntityRules& rules) {
  // The name first: what is said of its rules repeats it, whatever its length.
  RETURN_IF_ERROR(CheckName("an entity", entity, /*is_entity=*/true));
  if (!json.is_array() || json.size() > kRulesMax) {
    return Invalid("invalid_argument", "the rules of entity '{}' must be an array of at most {}",
                   entity, kRulesMax);
  }
  rules.set_entity(entity);
  for (const Json& rule : json) {
    ASSIGN_OR_RETURN(*rules.add_rules(), ParseRule(rule, entity));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<v1::Profile> ParseProfile(std::string_view name, std::string_view json) {
  RETURN_IF_ERROR(CheckName("a profile", name, /*is_entity=*/false));
  ASSIGN_OR_RETURN(const Json document, ParseStrictObject<Json>(json));
  RETURN_IF_ERROR(CheckMembers(document, "the profile", {"entities", "roles"}));
  v1::Profile profile;
  profile.set_name(std::string(name));
  ASSIGN_OR_RETURN(const Json entities, EntitiesMember(document));
  for (const auto& [entity, rules] : entities.items()) {
    RETURN_IF_ERROR(ParseRules(entity, rules, *profile.add_entities()));
  }
  ASSIGN_OR_RETURN(const auto roles, NamesMember(document, "roles", "the profile"));
  for (const std::string& role : roles) {
    RETURN_IF_ERROR(CheckName("a role", role, false));
    profile.add_roles(role);
  }
  return profile;
}

absl::StatusOr<v1::Role> ParseRole(std::string_view name, std::string_view json) {
  RETURN_IF_ERROR(CheckName("a role", name, /*is_entity=*/false));
  ASSIGN_OR_RETURN(const Json document, ParseStrictObject<Json>(json));
  RETURN_IF_ERROR(CheckMembers(document, "the role", {"offline", "entities"}));
  v1::Role role;
  role.set_name(std::string(name));
  ASSIGN_OR_RETURN(const bool offline, BoolMember(document, "offline", "the role"));
  role.set_offline(offline);
  ASSIGN_OR_RETURN(const Json entities, EntitiesMember(document));
  for (const auto& [entity, grant] : entities.items()) {
    RETURN_IF_ERROR(CheckName("an entity", entity, /*is_entity=*/true));
    ASSIGN_OR_RETURN(*role.add_entities(), ParseGrant(entity, grant));
  }
  return role;
}

// Both show what is stored, whatever it holds: where a text is no UTF-8, dump() would throw.
std::string ProfileToJson(const v1::Profile& profile) {
  Json entities = Json::object();
  for (const v1::EntityRules& rules : profile.entities()) {
    Json list = Json::array();
    for (const v1::Rule& rule : rules.rules()) {
      Json item = Json::object();
      item["kind"] = std::string(RuleKindName(rule.kind()));
      if (!rule.through().empty()) {
        item["through"] = rule.through();
      }
      if (!rule.where().empty()) {
        item["where"] = rule.where();
      }
      list.push_back(std::move(item));
    }
    entities[rules.entity()] = std::move(list);
  }
  Json document = Json::object();
  document["entities"] = std::move(entities);
  document["roles"] =
      Json(std::vector<std::string>(profile.roles().begin(), profile.roles().end()));
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string RoleToJson(const v1::Role& role) {
  Json entities = Json::object();
  for (const v1::EntityGrant& grant : role.entities()) {
    Json item = Json::object();
    item["read"] = grant.read();
    if (grant.deny_columns_size() > 0) {
      item["deny_columns"] =
          std::vector<std::string>(grant.deny_columns().begin(), grant.deny_columns().end());
    }
    entities[grant.entity()] = std::move(item);
  }
  Json document = Json::object();
  document["offline"] = role.offline();
  document["entities"] = std::move(entities);
  return document.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace sluice::projectors

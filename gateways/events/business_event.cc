#include "gateways/events/business_event.h"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>
#include <utility>

#include "projectors/provisioning/decide_source.h"
#include "projectors/provisioning/directory.h"
#include "projectors/provisioning/org_json.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/sha256.h"
#include "schemas/base/status.h"
#include "schemas/base/strict_json.h"
#include "schemas/base/text_codec.h"
#include "schemas/entity_schema.h"

namespace sluice::gateways {
namespace {

using Json = nlohmann::ordered_json;
using Request = v1::ProvisioningRequest;
using Steps = std::vector<BusinessStep>;

constexpr std::string_view kData = "the event's data";

template <typename... Args>
absl::Status WrongData(fmt::format_string<Args...> message, Args&&... args) {
  return Invalid("invalid_event", message, std::forward<Args>(args)...);
}

absl::StatusOr<std::string> Text(const Json& data, std::string_view name) {
  ASSIGN_OR_RETURN(std::optional<std::string> text, StringMember(data, kData, name));
  if (!text.has_value() || text->empty()) {
    return WrongData("{} has no '{}'", kData, name);
  }
  return *std::move(text);
}

absl::Status AddEntity(const std::string& name, const std::string& json, Steps& steps) {
  Request request;
  ASSIGN_OR_RETURN(*request.mutable_put_entity(), schemas::ParseEntityDefinition(name, json));
  steps.emplace_back(std::move(request));
  return absl::OkStatus();
}

absl::Status AddProfile(const std::string& name, const std::string& json, Steps& steps) {
  Request request;
  ASSIGN_OR_RETURN(*request.mutable_put_profile()->mutable_profile(),
                   projectors::ParseProfile(name, json));
  steps.emplace_back(std::move(request));
  return absl::OkStatus();
}

absl::Status AddRole(const std::string& name, const std::string& json, Steps& steps) {
  Request request;
  ASSIGN_OR_RETURN(*request.mutable_put_role()->mutable_role(), projectors::ParseRole(name, json));
  steps.emplace_back(std::move(request));
  return absl::OkStatus();
}

absl::Status AddSource(const std::string& name, const std::string& json, Steps& steps) {
  RETURN_IF_ERROR(projectors::CheckSourceName(name));
  steps.emplace_back(SourceDefinition{name, json});
  return absl::OkStatus();
}

// In this order, as a role names entities, a profile both, and a source takes entities over.
absl::Status AddDefinitions(const Json& definitions, Steps& steps) {
  constexpr std::string_view kWhat = "definitions";
  RETURN_IF_ERROR(CheckMembers(definitions, kWhat, {"entities", "roles", "profiles", "sources"}));
  using Add = absl::Status (*)(const std::string&, const std::string&, Steps&);
  constexpr std::array<std::pair<const char*, Add>, 4> kKinds = {{{"entities", AddEntity},
                                                                  {"roles", AddRole},
                                                                  {"profiles", AddProfile},
                                                                  {"sources", AddSource}}};
  for (const auto& [kind, add] : kKinds) {
    const auto found = definitions.find(kind);
    if (found == definitions.end()) {
      continue;
    }
    if (!found->is_object()) {
      return WrongData("definitions: '{}' is an object of definitions by their names", kind);
    }
    for (const auto& [name, definition] : found->items()) {
      if (steps.size() >= kEventStepsMax) {
        return WrongData("the event has more than {} definitions", kEventStepsMax - 1);
      }
      RETURN_IF_ERROR_CTX(add(name, definition.dump(), steps), "{} {}", kind, QuoteForError(name));
    }
  }
  return absl::OkStatus();
}

absl::Status OrgEnabled(const Json& data, Steps& steps) {
  RETURN_IF_ERROR(CheckMembers(data, kData, {"org", "display_name", "definitions"}));
  Json org = Json::object();
  if (const auto name = data.find("display_name"); name != data.end()) {
    org["display_name"] = *name;
  }
  Request request;
  ASSIGN_OR_RETURN(*request.mutable_open_org(), projectors::ParseOrg(org.dump()));
  steps.emplace_back(std::move(request));
  const auto definitions = data.find("definitions");
  return definitions == data.end() ? absl::OkStatus() : AddDefinitions(*definitions, steps);
}

absl::Status OrgDisabled(const Json& data, Steps& steps) {
  RETURN_IF_ERROR(CheckMembers(data, kData, {"org"}));
  Request request;
  request.mutable_close_org();
  steps.emplace_back(std::move(request));
  return absl::OkStatus();
}

absl::Status EntityChanged(const Json& data, bool enabled, Steps& steps) {
  SourceEntityChange change;
  change.enabled = enabled;
  ASSIGN_OR_RETURN(change.source, Text(data, "source"));
  ASSIGN_OR_RETURN(change.entity, Text(data, "entity"));
  RETURN_IF_ERROR(projectors::CheckSourceName(change.source));
  Json settings = data;
  for (const char* name : {"org", "source", "entity"}) {
    settings.erase(name);
  }
  // What members these may be is for the reader of a source's entities.
  if ((!enabled && !settings.empty()) || settings.contains("disabled")) {
    return WrongData("{}: {} does not belong there", kData,
                     QuoteForError(enabled ? "disabled" : settings.begin().key()));
  }
  change.json = settings.dump();
  steps.emplace_back(std::move(change));
  return absl::OkStatus();
}

absl::Status EntityEnabled(const Json& data, Steps& steps) {
  return EntityChanged(data, true, steps);
}
absl::Status EntityDisabled(const Json& data, Steps& steps) {
  return EntityChanged(data, false, steps);
}

// The definition of `data`; nullptr where it is to go.
absl::StatusOr<const Json*> Definition(const Json& data) {
  const auto found = data.find("definition");
  if (found == data.end()) {
    return WrongData("{} has no 'definition': an object as PUT takes it, or null to delete it",
                     kData);
  }
  return found->is_null() ? nullptr : &*found;
}

absl::Status ProfileChanged(const Json& data, Steps& steps) {
  RETURN_IF_ERROR(CheckMembers(data, kData, {"org", "profile", "definition"}));
  ASSIGN_OR_RETURN(const std::string name, Text(data, "profile"));
  ASSIGN_OR_RETURN(const Json* definition, Definition(data));
  if (definition != nullptr) {
    return AddProfile(name, definition->dump(), steps);
  }
  Request request;
  request.mutable_delete_profile()->set_name(name);
  steps.emplace_back(std::move(request));
  return absl::OkStatus();
}

absl::Status RoleChanged(const Json& data, Steps& steps) {
  RETURN_IF_ERROR(CheckMembers(data, kData, {"org", "role", "definition"}));
  ASSIGN_OR_RETURN(const std::string name, Text(data, "role"));
  ASSIGN_OR_RETURN(const Json* definition, Definition(data));
  if (definition != nullptr) {
    return AddRole(name, definition->dump(), steps);
  }
  Request request;
  request.mutable_delete_role()->set_name(name);
  steps.emplace_back(std::move(request));
  return absl::OkStatus();
}

struct TypeRow {
  std::string_view type;
  absl::Status (*read)(const Json& data, Steps& steps);
};
constexpr TypeRow kTypes[] = {
    {"sluice.org.enabled", OrgEnabled},         {"sluice.org.disabled", OrgDisabled},
    {"sluice.entity.enabled", EntityEnabled},   {"sluice.entity.disabled", EntityDisabled},
    {"sluice.profile.changed", ProfileChanged}, {"sluice.role.changed", RoleChanged}};

}  // namespace

absl::StatusOr<BusinessEvent> ParseBusinessEvent(const CloudEvent& event) {
  const TypeRow* row = nullptr;
  for (const TypeRow& known : kTypes) {
    row = known.type == event.type ? &known : row;
  }
  if (row == nullptr) {
    return WrongData("events of type {} are not known", QuoteForError(event.type));
  }
  ASSIGN_OR_RETURN(const Json data, ParseStrictObject<Json>(event.data));
  ASSIGN_OR_RETURN(const std::string name, Text(data, "org"));
  ASSIGN_OR_RETURN(OrgId org, OrgId::Parse(name));
  BusinessEvent parsed{.source = event.source,
                       .id = event.id,
                       .org = std::move(org),
                       .steps = {},
                       .bytes = event.source.size() + event.id.size() + event.data.size()};
  RETURN_IF_ERROR(row->read(data, parsed.steps));
  return parsed;
}

std::string RequestIdOf(const BusinessEvent& event, size_t step, size_t attempt) {
  // Neither holds a NUL, so no two events have one text.
  std::string text = event.source;
  text.append(1, '\0').append(event.id).append(1, '\0').append(std::to_string(step));
  if (attempt > 0) {
    text.append(fmt::format("/{}", attempt));
  }
  Sha256Digest digest = Sha256(text);
  digest[6] = static_cast<uint8_t>((digest[6] & 0x0f) | 0x80);  // version 8
  digest[8] = static_cast<uint8_t>((digest[8] & 0x3f) | 0x80);
  std::string id(kUuidTextSize, ' ');
  EncodeUuid({reinterpret_cast<const char*>(digest.data()), kUuidSize}, id.data());
  return id;
}

bool IsGoneAnyway(const v1::ProvisioningRequest& request, const absl::Status& refusal) {
  const std::string code = ErrorCode(refusal);
  switch (request.action_case()) {
    case Request::kCloseOrg:
      return code == "org_not_found";
    case Request::kDeleteProfile:
      return code == "profile_not_found" || code == "org_not_found";
    case Request::kDeleteRole:
      return code == "role_not_found" || code == "org_not_found";
    default:
      return false;
  }
}

}  // namespace sluice::gateways

#include "projectors/provisioning/control_change.h"

#include <fmt/format.h>

#include <string_view>
#include <utility>

namespace sluice::projectors {

using Outcome = v1::ProvisioningOutcome;

bool SetChange(const eventlog::Event& control, Outcome* outcome) {
  const auto parse = [&control](auto* message) {
    return control.type == message->GetDescriptor()->full_name() &&
           message->ParseFromString(control.value);
  };
  v1::OrgOpened opened;
  v1::OrgClosed closed;
  v1::EntityDefined entity;
  v1::EntityDeleted entity_deleted;
  v1::ProfileDefined profile;
  v1::ProfileDeleted profile_deleted;
  v1::RoleDefined role;
  v1::RoleDeleted role_deleted;
  v1::SourceDefined source;
  v1::SourceDeleted source_deleted;
  if (parse(&opened)) {
    *outcome->mutable_org_opened() = std::move(opened);
  } else if (parse(&closed)) {
    *outcome->mutable_org_closed() = std::move(closed);
  } else if (parse(&entity)) {
    *outcome->mutable_entity_defined() = std::move(entity);
  } else if (parse(&entity_deleted)) {
    *outcome->mutable_entity_deleted() = std::move(entity_deleted);
  } else if (parse(&profile)) {
    *outcome->mutable_profile_defined() = std::move(profile);
  } else if (parse(&profile_deleted)) {
    *outcome->mutable_profile_deleted() = std::move(profile_deleted);
  } else if (parse(&role)) {
    *outcome->mutable_role_defined() = std::move(role);
  } else if (parse(&role_deleted)) {
    *outcome->mutable_role_deleted() = std::move(role_deleted);
  } else if (parse(&source)) {
    *outcome->mutable_source_defined() = std::move(source);
  } else if (parse(&source_deleted)) {
    *outcome->mutable_source_deleted() = std::move(source_deleted);
  }
  return outcome->change_case() != Outcome::CHANGE_NOT_SET;
}

std::string DefinitionOf(const std::string& org, uint32_t incarnation, const Outcome& outcome) {
  const auto name = [&](std::string_view kind, const std::string& text, uint32_t id = 0) {
    return fmt::format("{} {} {} {} {}", org, incarnation, kind, text, id);
  };
  switch (outcome.change_case()) {
    case Outcome::kEntityDefined:
      return name("entity", outcome.entity_defined().schema().name(),
                  outcome.entity_defined().schema().entity_id());
    case Outcome::kEntityDeleted:
      return name("entity", outcome.entity_deleted().name(), outcome.entity_deleted().entity_id());
    case Outcome::kProfileDefined:
      return name("profile", outcome.profile_defined().profile().name());
    case Outcome::kProfileDeleted:
      return name("profile", outcome.profile_deleted().name());
    case Outcome::kRoleDefined:
      return name("role", outcome.role_defined().role().name());
    case Outcome::kRoleDeleted:
      return name("role", outcome.role_deleted().name());
    case Outcome::kSourceDefined:
      return name("source", outcome.source_defined().settings().name());
    case Outcome::kSourceDeleted:
      return name("source", outcome.source_deleted().name());
    default:
      return "";
  }
}

}  // namespace sluice::projectors

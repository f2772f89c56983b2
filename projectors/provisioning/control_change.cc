#include "projectors/provisioning/control_change.h"

#include <fmt/format.h>

#include <utility>

#include "projectors/provisioning/preconditions.h"

namespace sluice::projectors {

using Outcome = v1::ProvisioningOutcome;

bool SetChange(const eventlog::Event& control, Outcome* outcome) {
  const auto parse = [&control](auto* message) { return eventlog::ReadMessage(control, message); };
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
  const std::string target = TargetOf(outcome);
  if (target.find('/') == std::string::npos) {
    return "";
  }
  const uint32_t id = outcome.has_entity_defined() ? outcome.entity_defined().schema().entity_id()
                                                   : outcome.entity_deleted().entity_id();
  return fmt::format("{} {} {} {}", org, incarnation, target, id);
}

}  // namespace sluice::projectors

#include <fmt/format.h>

#include <utility>

#include "projectors/provisioning/decide_source.h"
#include "projectors/provisioning/definition_limits.h"
#include "projectors/provisioning/directory.h"
#include "projectors/provisioning/preconditions.h"
#include "projectors/provisioning/rule_check.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using Request = v1::ProvisioningRequest;

absl::Status NotFound(std::string_view kind, std::string_view name) {
  return Error(StatusCode::kNotFound, fmt::format("{}_not_found", kind), "there is no {} '{}'",
               kind, name);
}

template <typename Message>
eventlog::Event ControlEvent(const OrgId& org, const Message& message) {
  return eventlog::EventOf("sluice/provisioning", org.value(), message);
}

// Of an entity, which is its subject.
template <typename Message>
eventlog::Event ControlEvent(const OrgId& org, const std::string& entity, const Message& message) {
  eventlog::Event event = ControlEvent(org, message);
  event.subject.append("/").append(entity);
  return event;
}

absl::StatusOr<Decision> DecideOpen(const OrgId& org, const OrgEntry* entry,
                                    const Request::OpenOrg& open) {
  Decision decision;
  if (entry != nullptr && entry->state == OrgState::kReady) {
    if (!open.display_name().empty() && open.display_name() != entry->display_name) {
      decision.outcome.mutable_org_renamed()->set_display_name(open.display_name());
    }
    return decision;
  }
  v1::OrgOpened& opened = *decision.outcome.mutable_org_opened();
  opened.set_incarnation(entry == nullptr ? 1 : entry->incarnation + 1);
  opened.set_display_name(open.display_name().empty() ? org.value() : open.display_name());
  decision.control = ControlEvent(org, opened);
  return decision;
}

absl::StatusOr<Decision> DecideClose(const OrgId& org, const OrgEntry& entry) {
  Decision decision;
  if (entry.state == OrgState::kReady) {
    v1::OrgClosed& closed = *decision.outcome.mutable_org_closed();
    closed.set_incarnation(entry.incarnation);
    decision.control = ControlEvent(org, closed);
  }
  return decision;
}

absl::StatusOr<Decision> DecidePutEntity(const OrgId& org, const OrgEntry& entry,
                                         const Request::PutEntity& wanted) {
  const auto found = entry.model->entities().find(wanted.name());
  const v1::EntitySchema* const current =
      found == entry.model->entities().end() ? nullptr : &found->second->proto();
  ASSIGN_OR_RETURN(const Request::PutEntity whole, WithSource(*entry.model, current, wanted));
  ASSIGN_OR_RETURN(v1::EntitySchema next,
                   schemas::EvolveSchema(current, whole, EntityId(entry.next_entity_id)));
  Decision decision;
  if (current != nullptr && current->SerializeAsString() == next.SerializeAsString()) {
    return decision;
  }
  // Only what changes something is held against the limits: what is there may be put again as it
  // is, though there be more of it by now than may be.
  RETURN_IF_ERROR(CheckEntity(*entry.model, next, *entry.rule_counts));
  RETURN_IF_ERROR(CheckTotal(*entry.model, next));
  v1::EntityDefined& defined = *decision.outcome.mutable_entity_defined();
  *defined.mutable_schema() = std::move(next);
  decision.control = ControlEvent(org, wanted.name(), defined);
  return decision;
}

absl::StatusOr<Decision> DecideDeleteEntity(const OrgId& org, const OrgEntry& entry,
                                            const std::string& name) {
  const auto found = entry.model->entities().find(name);
  if (found == entry.model->entities().end()) {
    return NotFound("entity", name);
  }
  Decision decision;
  v1::EntityDeleted& deleted = *decision.outcome.mutable_entity_deleted();
  deleted.set_entity_id(found->second->id().value());
  deleted.set_name(name);
  decision.control = ControlEvent(org, name, deleted);
  return decision;
}

// A profile or a role, that was found to be in order. `there`: those that there are.
template <typename Definition, typename Defined>
Decision PutDefinition(const OrgId& org, const Definitions<Definition>& there,
                       const Definition& wanted, Defined* (v1::ProvisioningOutcome::*change)(),
                       Definition* (Defined::*definition)()) {
  Decision decision;
  const auto current = there.find(wanted.name());
  if (current == there.end() ||
      current->second->SerializeAsString() != wanted.SerializeAsString()) {
    Defined& defined = *(decision.outcome.*change)();
    *(defined.*definition)() = wanted;
    decision.control = ControlEvent(org, defined);
  }
  return decision;
}

absl::StatusOr<Decision> DecidePutProfile(const OrgId& org, const OrgEntry& entry,
                                          const v1::Profile& profile) {
  RETURN_IF_ERROR(CheckTotal(*entry.model, profile));
  RETURN_IF_ERROR(CheckProfile(*entry.model, profile, *entry.rule_counts));
  return PutDefinition(org, entry.model->profiles(), profile,
                       &v1::ProvisioningOutcome::mutable_profile_defined,
                       &v1::ProfileDefined::mutable_profile);
}

absl::StatusOr<Decision> DecidePutRole(const OrgId& org, const OrgEntry& entry,
                                       const v1::Role& role) {
  RETURN_IF_ERROR(CheckTotal(*entry.model, role));
  RETURN_IF_ERROR(CheckRole(*entry.model, role));
  return PutDefinition(org, entry.model->roles(), role,
                       &v1::ProvisioningOutcome::mutable_role_defined,
                       &v1::RoleDefined::mutable_role);
}

template <typename There, typename Deleted>
absl::StatusOr<Decision> DecideDelete(const OrgId& org, std::string_view kind, const There& there,
                                      const std::string& name,
                                      Deleted* (v1::ProvisioningOutcome::*change)()) {
  if (!there.contains(name)) {
    return NotFound(kind, name);
  }
  Decision decision;
  Deleted& deleted = *(decision.outcome.*change)();
  deleted.set_name(name);
  decision.control = ControlEvent(org, deleted);
  return decision;
}

// `defined` as the source becomes.
Decision Define(const OrgId& org, v1::SourceDefined defined) {
  Decision decision;
  decision.control = ControlEvent(org, AsInChanges(defined));
  *decision.outcome.mutable_source_defined() = std::move(defined);
  return decision;
}

absl::StatusOr<Decision> DecidePutSource(const OrgId& org, const OrgEntry& entry,
                                         const Request::PutSource& put, Offset at) {
  ASSIGN_OR_RETURN(v1::SourceDefined next, NextSource(entry, put, at));
  const auto current = entry.sources.find(next.settings().name());
  if (current != entry.sources.end() &&
      CanonicalBytes(*current->second.defined) == CanonicalBytes(next)) {
    return Decision();
  }
  return Define(org, std::move(next));
}

absl::StatusOr<Decision> DecideRunSource(const OrgId& org, const OrgEntry& entry,
                                         const Request::RunSource& run, Offset at) {
  ASSIGN_OR_RETURN(const OrgSource source, FindSource(entry, run.name()));
  RETURN_IF_ERROR(CheckRun(entry, source, run));
  if (run.reload()) {
    v1::SourceDefined anew = *source.defined;
    anew.set_epoch(at.value());
    return Define(org, std::move(anew));
  }
  Decision decision;
  decision.outcome.mutable_source_run()->set_name(run.name());
  decision.outcome.mutable_source_run()->set_entity(run.entity());
  return decision;
}

absl::StatusOr<Decision> DecideDefinition(const OrgId& org, const OrgEntry& entry,
                                          const Request& request, Offset at) {
  switch (request.action_case()) {
    case Request::kPutEntity:
      return DecidePutEntity(org, entry, request.put_entity());
    case Request::kDeleteEntity:
      return DecideDeleteEntity(org, entry, request.delete_entity().name());
    case Request::kPutProfile:
      return DecidePutProfile(org, entry, request.put_profile().profile());
    case Request::kDeleteProfile:
      return DecideDelete(org, "profile", entry.model->profiles(), request.delete_profile().name(),
                          &v1::ProvisioningOutcome::mutable_profile_deleted);
    case Request::kPutRole:
      return DecidePutRole(org, entry, request.put_role().role());
    case Request::kDeleteRole:
      return DecideDelete(org, "role", entry.model->roles(), request.delete_role().name(),
                          &v1::ProvisioningOutcome::mutable_role_deleted);
    case Request::kPutSource:
      return DecidePutSource(org, entry, request.put_source(), at);
    case Request::kDeleteSource:
      return DecideDelete(org, "source", entry.sources, request.delete_source().name(),
                          &v1::ProvisioningOutcome::mutable_source_deleted);
    case Request::kRunSource:
      return DecideRunSource(org, entry, request.run_source(), at);
    default:
      return Invalid("invalid_argument", "the request names no action that this version knows");
  }
}

absl::StatusOr<Decision> DecideAction(const OrgId& org, const OrgEntry* entry,
                                      const Request& request, Offset at) {
  if (request.action_case() == Request::kOpenOrg) {
    RETURN_IF_ERROR(CheckPreconditions(entry, request));
    return DecideOpen(org, entry, request.open_org());
  }
  if (entry == nullptr) {
    return Error(StatusCode::kNotFound, "org_not_found",
                 "there is no organisation '{}'; PUT /v1/orgs/{} makes it", org.value(),
                 org.value());
  }
  if (request.action_case() == Request::kCloseOrg) {
    RETURN_IF_ERROR(CheckPreconditions(entry, request));
    return DecideClose(org, *entry);
  }
  if (entry->state != OrgState::kReady) {
    return Error(StatusCode::kFailedPrecondition, "org_not_ready", "organisation '{}' is {}",
                 org.value(), OrgStateName(entry->state));
  }
  // Last, before the definition is looked at: what a caller expected of a definition says nothing
  // of an organisation that is not there or not ready, and must not tell of it.
  RETURN_IF_ERROR(CheckPreconditions(entry, request));
  return DecideDefinition(org, *entry, request, at);
}

}  // namespace

absl::StatusOr<Decision> Decide(const OrgId& org, const OrgEntry* entry, const Request& request,
                                Offset at) {
  ASSIGN_OR_RETURN(Decision decision, DecideAction(org, entry, request, at));
  decision.outcome.set_request_id(request.request_id());
  decision.outcome.set_changes_offset(kNoOffset.value());
  return decision;
}

}  // namespace sluice::projectors

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
  return Error(absl::StatusCode::kNotFound, fmt::format("{}_not_found", kind),
               fmt::format("there is no {} '{}'", kind, name));
}

absl::Status InvalidArgument(std::string message) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", message);
}

template <typename Message>
eventlog::Event ControlEvent(const OrgId& org, std::string_view entity, const Message& message) {
  eventlog::Event event;
  event.source = "sluice/provisioning";
  event.type = Message::descriptor()->full_name();
  event.subject = entity.empty() ? org.value() : fmt::format("{}/{}", org.value(), entity);
  event.key = org.value();
  event.value = message.SerializeAsString();
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
  decision.control = ControlEvent(org, "", opened);
  return decision;
}

absl::StatusOr<Decision> DecideClose(const OrgId& org, const OrgEntry& entry) {
  Decision decision;
  if (entry.state == OrgState::kReady) {
    v1::OrgClosed& closed = *decision.outcome.mutable_org_closed();
    closed.set_incarnation(entry.incarnation);
    decision.control = ControlEvent(org, "", closed);
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

absl::StatusOr<Decision> DecidePutProfile(const OrgId& org, const OrgEntry& entry,
                                          const v1::Profile& profile) {
  RETURN_IF_ERROR(CheckTotal(*entry.model, profile));
  RETURN_IF_ERROR(CheckProfile(*entry.model, profile, *entry.rule_counts));
  Decision decision;
  const auto current = entry.model->profiles().find(profile.name());
  if (current != entry.model->profiles().end() &&
      current->second->SerializeAsString() == profile.SerializeAsString()) {
    return decision;
  }
  *decision.outcome.mutable_profile_defined()->mutable_profile() = profile;
  decision.control = ControlEvent(org, "", decision.outcome.profile_defined());
  return decision;
}

absl::StatusOr<Decision> DecidePutRole(const OrgId& org, const OrgEntry& entry,
                                       const v1::Role& role) {
  RETURN_IF_ERROR(CheckTotal(*entry.model, role));
  RETURN_IF_ERROR(CheckRole(*entry.model, role));
  Decision decision;
  const auto current = entry.model->roles().find(role.name());
  if (current != entry.model->roles().end() &&
      current->second->SerializeAsString() == role.SerializeAsString()) {
    return decision;
  }
  *decision.outcome.mutable_role_defined()->mutable_role() = role;
  decision.control = ControlEvent(org, "", decision.outcome.role_defined());
  return decision;
}

absl::StatusOr<Decision> DecideDeleteProfile(const OrgId& org, const OrgEntry& entry,
                                             const std::string& name) {
  if (!entry.model->profiles().contains(name)) {
    return NotFound("profile", name);
  }
  Decision decision;
  decision.outcome.mutable_profile_deleted()->set_name(name);
  decision.control = ControlEvent(org, "", decision.outcome.profile_deleted());
  return decision;
}

absl::StatusOr<Decision> DecideDeleteRole(const OrgId& org, const OrgEntry& entry,
                                          const std::string& name) {
  if (!entry.model->roles().contains(name)) {
    return NotFound("role", name);
  }
  Decision decision;
  decision.outcome.mutable_role_deleted()->set_name(name);
  decision.control = ControlEvent(org, "", decision.outcome.role_deleted());
  return decision;
}

// `defined` as the source becomes.
Decision Define(const OrgId& org, v1::SourceDefined defined) {
  Decision decision;
  decision.control = ControlEvent(org, "", AsInChanges(defined));
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

absl::StatusOr<Decision> DecideDeleteSource(const OrgId& org, const OrgEntry& entry,
                                            const std::string& name) {
  RETURN_IF_ERROR(FindSource(entry, name).status());
  Decision decision;
  decision.outcome.mutable_source_deleted()->set_name(name);
  decision.control = ControlEvent(org, "", decision.outcome.source_deleted());
  return decision;
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
      return DecideDeleteProfile(org, entry, request.delete_profile().name());
    case Request::kPutRole:
      return DecidePutRole(org, entry, request.put_role().role());
    case Request::kDeleteRole:
      return DecideDeleteRole(org, entry, request.delete_role().name());
    case Request::kPutSource:
      return DecidePutSource(org, entry, request.put_source(), at);
    case Request::kDeleteSource:
      return DecideDeleteSource(org, entry, request.delete_source().name());
    case Request::kRunSource:
      return DecideRunSource(org, entry, request.run_source(), at);
    default:
      return InvalidArgument("the request names no action that this version knows");
  }
}

absl::StatusOr<Decision> DecideAction(const OrgId& org, const OrgEntry* entry,
                                      const Request& request, Offset at) {
  if (request.action_case() == Request::kOpenOrg) {
    RETURN_IF_ERROR(CheckPreconditions(entry, request));
    return DecideOpen(org, entry, request.open_org());
  }
  if (entry == nullptr) {
    return Error(absl::StatusCode::kNotFound, "org_not_found",
                 fmt::format("there is no organisation '{}'; PUT /v1/orgs/{} makes it", org.value(),
                             org.value()));
  }
  if (request.action_case() == Request::kCloseOrg) {
    RETURN_IF_ERROR(CheckPreconditions(entry, request));
    return DecideClose(org, *entry);
  }
  if (entry->state != OrgState::kReady) {
    return Error(absl::StatusCode::kFailedPrecondition, "org_not_ready",
                 fmt::format("organisation '{}' is {}", org.value(), OrgStateName(entry->state)));
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

#include "projectors/provisioning/difference.h"

#include <memory>
#include <string>

#include "projectors/provisioning/decide_source.h"

namespace sluice::projectors {
namespace {

using eventlog::Event;

template <typename Message>
Event Control(const OrgId& org, const Message& message) {
  Event event;
  event.source = std::string(kReconcilerSource);
  event.type = Message::descriptor()->full_name();
  event.subject = org.value();
  event.key = org.value();
  event.value = message.SerializeAsString();
  event.cause.subject = std::string(kReconcilerSource);
  return event;
}

// Where a definition came is not the same in both topics.
template <typename Definition>
std::string Plain(Definition definition) {
  definition.clear_defined_at();
  return definition.SerializeAsString();
}

void AddEntities(const OrgModel& from, const OrgEntry& to, std::vector<Event>* events) {
  const auto& wanted = to.model->entities();
  // Deletions first: a name may have got another id, and an id another name.
  for (const auto& [name, schema] : from.entities()) {
    const auto found = wanted.find(name);
    if (found != wanted.end() && found->second->id() == schema->id()) {
      continue;
    }
    v1::EntityDeleted deleted;
    deleted.set_entity_id(schema->id().value());
    deleted.set_name(name);
    events->push_back(Control(to.org, deleted));
  }
  for (const auto& [name, schema] : wanted) {
    const auto found = from.entities().find(name);
    if (found != from.entities().end() &&
        found->second->proto().SerializeAsString() == schema->proto().SerializeAsString()) {
      continue;
    }
    v1::EntityDefined defined;
    *defined.mutable_schema() = schema->proto();
    events->push_back(Control(to.org, defined));
  }
}

template <typename Defined, typename Deleted, typename Definitions, typename Set>
void AddDefinitions(const OrgId& org, const Definitions& from, const Definitions& to, Set set,
                    std::vector<Event>* events) {
  for (const auto& [name, definition] : from) {
    if (!to.contains(name)) {
      Deleted deleted;
      deleted.set_name(name);
      events->push_back(Control(org, deleted));
    }
  }
  for (const auto& [name, definition] : to) {
    const auto found = from.find(name);
    if (found == from.end() || Plain(*found->second) != Plain(*definition)) {
      Defined defined;
      set(*definition, &defined);
      events->push_back(Control(org, defined));
    }
  }
}

void AddSources(const OrgModel& from, const OrgEntry& to, std::vector<Event>* events) {
  for (const auto& [name, source] : from.sources()) {
    if (to.model->FindSource(name) == nullptr) {
      v1::SourceDeleted deleted;
      deleted.set_name(name);
      events->push_back(Control(to.org, deleted));
    }
  }
  for (const auto& [name, source] : to.model->sources()) {
    const v1::SourceBinding* const before = from.FindSource(name);
    if (before == nullptr || before->kind() != source.kind() || before->epoch() != source.epoch()) {
      events->push_back(Control(to.org, AsInChanges(*to.sources.at(name).defined)));
    }
  }
}

}  // namespace

std::vector<Event> Difference(const OrgModel& from, const OrgEntry& to) {
  std::vector<Event> events;
  if (from.incarnation() > to.incarnation) {
    return events;
  }
  const bool anew = from.incarnation() < to.incarnation;
  if (from.open() && (anew || !IsOpen(to))) {
    v1::OrgClosed closed;
    closed.set_incarnation(from.incarnation());
    events.push_back(Control(to.org, closed));
  }
  if (!IsOpen(to)) {
    return events;
  }
  if (anew) {
    v1::OrgOpened opened;
    opened.set_incarnation(to.incarnation);
    opened.set_display_name(to.display_name);
    events.push_back(Control(to.org, opened));
  }
  const std::shared_ptr<const OrgModel> before = anew ? OrgModel::WithoutRules() : nullptr;
  const OrgModel& now = anew ? *before : from;
  AddEntities(now, to, &events);
  AddDefinitions<v1::ProfileDefined, v1::ProfileDeleted>(
      to.org, now.profiles(), to.model->profiles(),
      [](const v1::Profile& profile, auto* defined) { *defined->mutable_profile() = profile; },
      &events);
  AddDefinitions<v1::RoleDefined, v1::RoleDeleted>(
      to.org, now.roles(), to.model->roles(),
      [](const v1::Role& role, auto* defined) { *defined->mutable_role() = role; }, &events);
  AddSources(now, to, &events);
  return events;
}

}  // namespace sluice::projectors

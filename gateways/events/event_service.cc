#include "gateways/events/event_service.h"

#include <utility>

namespace sluice::gateways {
namespace {

EventIntakeDeps IntakeDepsOf(const EventServiceDeps& deps) {
  return {
      .clock = deps.clock,
      .request =
          [&directory = deps.directory](const OrgId& org, v1::ProvisioningRequest request,
                                        std::chrono::milliseconds timeout, eventlog::Cause cause) {
            return directory.Request(org, std::move(request), timeout, std::move(cause));
          },
      .find = [&directory =
                   deps.directory.directory()](const OrgId& org) { return directory.Find(org); },
      .reach = deps.reach,
      .may_decide =
          [&directory = deps.directory, &log = deps.log](const OrgId& org) {
            return directory.MayTell(log.PartitionFor(eventlog::Topic::kProvisioning, org.value()));
          },
      // Whoever sends events has a token of all organisations, or writes to the operator's topic.
      .put_source =
          [&sources = deps.sources](const OrgId& org, const SourceDefinition& source) {
            return sources.MakePut(org, source.name, source.json, /*tenant=*/false);
          },
      .change_entity =
          [&sources = deps.sources](const projectors::OrgEntry& entry,
                                    const SourceEntityChange& change) {
            return sources.MakeEntity(entry, change.source, change.entity, change.enabled,
                                      change.json);
          },
      .registry = deps.registry};
}

}  // namespace

EventService::EventService(EventTopicOptions topic, EventServiceDeps deps)
    : intake_({}, IntakeDepsOf(deps)) {
  if (!topic.topic.empty()) {
    topic_ = std::make_unique<EventTopic>(
        std::move(topic), EventTopicDeps{.log = deps.log,
                                         .clock = deps.clock,
                                         .intake = intake_,
                                         .open = std::move(deps.open_records),
                                         .may_append =
                                             [&directory = deps.directory](PartitionId partition) {
                                               return directory.MayTell(partition);
                                             },
                                         .registry = deps.registry});
  }
}

void EventService::OwnTopic(bool owner) {
  if (topic_ != nullptr) {
    topic_->Own(owner);
  }
}

void EventService::Stop() {
  OwnTopic(false);
  intake_.Stop();
}

}  // namespace sluice::gateways

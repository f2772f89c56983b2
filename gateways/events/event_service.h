#pragma once

#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "eventlog/log.h"
#include "eventlog/record_source.h"
#include "gateways/events/event_intake.h"
#include "gateways/events/event_topic.h"
#include "gateways/sources/source_service.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// All must outlive it.
struct EventServiceDeps {
  eventlog::Log& log;
  const Clock& clock;
  projectors::DirectoryFollower& directory;
  SourceService& sources;
  eventlog::RecordSourceFactory open_records;
  std::function<absl::Status(const OrgId&)> reach;  // EventIntakeDeps::reach
  std::shared_ptr<prometheus::Registry> registry;
};

// Business events of this process: the intake, with what it works on, and the topic, where one is
// named. Thread-safe, but for Stop().
class EventService {
 public:
  // `topic`: no topic is read where it names none.
  EventService(EventTopicOptions topic, EventServiceDeps deps);
  ~EventService() { Stop(); }

  EventIntake& intake() { return intake_; }
  // As EventTopic::Own().
  void OwnTopic(bool owner);
  // Ends what is under way, with kCancelled.
  void Stop();

 private:
  EventIntake intake_;
  std::unique_ptr<EventTopic> topic_;
};

}  // namespace sluice::gateways

#include "ops/program/event_wiring.h"

#include <fmt/format.h>

#include <chrono>
#include <utility>

#include "eventlog/kafka/record_consumer.h"
#include "gateways/admin/directory_end.h"

namespace sluice::ops {
namespace {

constexpr std::chrono::seconds kDirectoryPatience{5};

}  // namespace

absl::StatusOr<std::unique_ptr<gateways::EventService>> MakeEventService(
    const Config& config, eventlog::Log& log, const Clock& clock,
    projectors::DirectoryFollower& directory, gateways::SourceService& sources,
    std::shared_ptr<prometheus::Registry> registry) {
  gateways::EventTopicOptions topic;
  topic.topic = config.events.topic;
  topic.records.brokers = config.events.brokers;
  if (topic.records.brokers.empty()) {
    topic.records.brokers = config.log.brokers;
    topic.records.properties = config.log.kafka;
  }
  // What is refused of it would be written to it again, for ever.
  for (const eventlog::Topic own : eventlog::kAllTopics) {
    if (topic.topic == fmt::format("{}{}", config.log.topic_prefix, eventlog::TopicName(own))) {
      return absl::InvalidArgumentError(
          fmt::format("events.topic is {}, which the log has for itself", topic.topic));
    }
  }
  return std::make_unique<gateways::EventService>(
      std::move(topic), gateways::EventServiceDeps{.log = log,
                                                   .clock = clock,
                                                   .directory = directory,
                                                   .sources = sources,
                                                   .open_records = eventlog::RecordConsumer::Open,
                                                   .reach =
                                                       [&directory](const OrgId& org) {
                                                         return gateways::AwaitDirectoryEnd(
                                                             directory, org,
                                                             SteadyTime::duration::zero(),
                                                             kDirectoryPatience);
                                                       },
                                                   .registry = std::move(registry)});
}

}  // namespace sluice::ops

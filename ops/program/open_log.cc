#include "ops/program/open_log.h"

#include "eventlog/embedded/embedded_log.h"
#include "eventlog/kafka/kafka_group.h"
#include "eventlog/kafka/kafka_log.h"
#include "eventlog/static_partition_group.h"
#include "schemas/base/status.h"

namespace sluice::ops {

eventlog::AppendLimits AppendLimitsOf(const Config& config) {
  eventlog::AppendLimits limits;
  limits.event_bytes_max = static_cast<size_t>(config.log.event_bytes);
  limits.queue_bytes_max = static_cast<size_t>(config.log.queue_bytes);
  return limits;
}

namespace {

eventlog::KafkaLogOptions KafkaOptions(const Config& config) {
  eventlog::KafkaLogOptions options;
  options.brokers = config.log.brokers;
  options.topic_prefix = config.log.topic_prefix;
  options.partitions = static_cast<int32_t>(config.log.partitions);
  options.replication_factor = static_cast<int16_t>(config.log.replication_factor);
  options.limits = AppendLimitsOf(config);
  options.properties = config.log.kafka;
  return options;
}

eventlog::EmbeddedLogOptions EmbeddedOptions(const Config& config) {
  eventlog::EmbeddedLogOptions options;
  options.path = config.data_dir + "/log";
  options.partitions = static_cast<int32_t>(config.log.partitions);
  options.limits = AppendLimitsOf(config);
  return options;
}

}  // namespace

absl::StatusOr<std::unique_ptr<eventlog::Log>> OpenLog(
    const Config& config, std::shared_ptr<prometheus::Registry> registry) {
  if (config.log.kind == "kafka") {
    eventlog::KafkaLogOptions options = KafkaOptions(config);
    options.metrics = std::move(registry);
    return eventlog::KafkaLog::Open(options);
  }
  eventlog::EmbeddedLogOptions options = EmbeddedOptions(config);
  options.metrics = std::move(registry);
  return eventlog::EmbeddedLog::Open(std::move(options));
}

absl::StatusOr<std::unique_ptr<eventlog::Log>> OpenLogToInspect(const Config& config) {
  if (config.log.kind == "kafka") {
    eventlog::KafkaLogOptions options = KafkaOptions(config);
    options.inspect = true;
    return eventlog::KafkaLog::Open(options);
  }
  eventlog::EmbeddedLogOptions options = EmbeddedOptions(config);
  options.inspect = true;
  return eventlog::EmbeddedLog::Open(std::move(options));
}

absl::StatusOr<eventlog::EpochChange> StartLogEpoch(
    const Config& config, absl::FunctionRef<absl::Status(eventlog::Log&)> agree) {
  return config.log.kind == "kafka" ? eventlog::KafkaLog::StartEpoch(KafkaOptions(config), agree)
                                    : eventlog::EmbeddedLog::StartEpoch(EmbeddedOptions(config));
}

absl::StatusOr<std::unique_ptr<eventlog::PartitionGroup>> MakeGroup(
    const Config& config, const eventlog::Log& log, const std::string& set,
    const std::string& member, std::shared_ptr<prometheus::Registry> registry) {
  if (config.log.kind == "kafka") {
    eventlog::KafkaGroupOptions options;
    options.log = KafkaOptions(config);
    options.log.metrics = std::move(registry);
    options.log.partitions = log.PartitionCount(eventlog::Topic::kChanges);
    options.replica_set = set;
    options.instance_id = member;
    return eventlog::KafkaPartitionGroup::Create(options);
  }
  return std::make_unique<eventlog::StaticPartitionGroup>(
      log.PartitionCount(eventlog::Topic::kChanges));
}

}  // namespace sluice::ops

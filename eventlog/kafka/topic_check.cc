#include "eventlog/kafka/topic_check.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>

#include <array>
#include <cstdint>
#include <memory>
#include <string_view>

#include "absl/strings/numbers.h"
#include "eventlog/kafka/admin.h"
#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/handles.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;
using Resource = std::unique_ptr<rd_kafka_ConfigResource_t, void (*)(rd_kafka_ConfigResource_t*)>;
using AdminOptions = std::unique_ptr<rd_kafka_AdminOptions_t, void (*)(rd_kafka_AdminOptions_t*)>;
using EventHandle = std::unique_ptr<rd_kafka_event_t, void (*)(rd_kafka_event_t*)>;

// librdkafka answers by its own time-out; this much later it is given up in any case.
constexpr milliseconds kDescribeMargin{1'000};

bool KeptForEver(Topic topic) { return topic != Topic::kNodes && topic != Topic::kWork; }

bool TakesLargeEvents(Topic topic) {
  return topic == Topic::kProvisioning || topic == Topic::kChanges || topic == Topic::kDeadletter;
}

std::string MendingCommand(const std::string& name, const std::string& brokers,
                           std::string_view setting) {
  return fmt::format(
      "`kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {} "
      "--add-config {}`",
      brokers, name, setting);
}

absl::Status DescribeError(rd_kafka_resp_err_t error, std::string_view what) {
  if (error == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE) {
    return absl::UnimplementedError(rd_kafka_err2str(error));
  }
  if (error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
      error == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED) {
    return absl::PermissionDeniedError(rd_kafka_err2str(error));
  }
  if (error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
    // A topic that was just made is not known to every broker yet.
    return Error(StatusCode::kUnavailable, "log_unavailable", "{}: {}", what,
                 rd_kafka_err2str(error));
  }
  return KafkaError(error, what);
}

TopicSettings SettingsOf(const rd_kafka_ConfigResource_t* described) {
  TopicSettings settings;
  size_t count = 0;
  const rd_kafka_ConfigEntry_t** entries = rd_kafka_ConfigResource_configs(described, &count);
  for (size_t i = 0; i < count; ++i) {
    const char* value = rd_kafka_ConfigEntry_value(entries[i]);
    settings[rd_kafka_ConfigEntry_name(entries[i])] = value == nullptr ? "" : value;
  }
  return settings;
}

}  // namespace

std::vector<TopicFault> FaultsOfSettings(Topic topic, const std::string& name,
                                         const std::string& brokers, size_t record_bytes,
                                         const TopicSettings& settings) {
  std::vector<TopicFault> faults;
  const auto policy = settings.find("cleanup.policy");
  if (topic != Topic::kNodes && policy != settings.end() &&
      policy->second.find("compact") != std::string::npos) {
    // All events of an organisation have one key, so that compaction keeps the last of them: each
    // append makes the loss larger, and none is taken. A retention removes by itself, whoever
    // appends.
    faults.push_back(
        {topic, FaultEffect::kNoAppendToTopic,
         Error(StatusCode::kFailedPrecondition, "topic_compacted",
               "topic {} has cleanup.policy={}: compaction removes events that have been "
               "acknowledged; run {}, and look whether events are missing already (`sluice log "
               "dump`)",
               name, policy->second, MendingCommand(name, brokers, "cleanup.policy=delete"))});
  }
  for (const char* setting : {"retention.ms", "retention.bytes"}) {
    const auto found = settings.find(setting);
    // Where nothing is deleted (no policy, or compaction alone) there is no retention.
    const bool deletes =
        policy == settings.end() || policy->second.find("delete") != std::string::npos;
    if (KeptForEver(topic) && deletes && found != settings.end() && found->second != "-1") {
      faults.push_back({topic, FaultEffect::kNotReady,
                        Error(StatusCode::kFailedPrecondition, "topic_retention",
                              "topic {} has {}={}: it is kept for ever, and what the cluster "
                              "removes is forgotten with the next rebuild; run {}",
                              name, setting, found->second,
                              MendingCommand(name, brokers, fmt::format("{}=-1", setting)))});
    }
  }
  if (const size_t taken = RecordBytesMax(settings);
      TakesLargeEvents(topic) && taken < record_bytes) {
    // Less than a batch of several events: these would be refused with all that is in flight. Dead
    // letters are sent again one by one then, without what they are about where they have to be.
    const bool takes_no_batch =
        topic != Topic::kDeadletter && taken < kRecordBatchBytes + kRecordOverheadMax;
    faults.push_back(
        {topic, takes_no_batch ? FaultEffect::kNoAppendToTopic : FaultEffect::kReport,
         Error(StatusCode::kFailedPrecondition, "topic_message_bytes",
               "topic {} has max.message.bytes={}, and {}; run {}, or lower log.event_bytes", name,
               taken,
               takes_no_batch ? "batches of events are larger: nothing is appended to it"
                              : "events may be larger: they are refused as too_large",
               MendingCommand(name, brokers, fmt::format("max.message.bytes={}", record_bytes)))});
  }
  return faults;
}

size_t RecordBytesMax(const TopicSettings& settings) {
  const auto found = settings.find("max.message.bytes");
  size_t bytes = 0;
  return found != settings.end() && absl::SimpleAtoi(found->second, &bytes) ? bytes : SIZE_MAX;
}

absl::StatusOr<std::map<std::string, TopicSettings>> DescribeTopics(
    rd_kafka_t* handle, const std::vector<std::string>& names, milliseconds timeout) {
  constexpr std::string_view kWhat = "cannot ask for the topics' settings";
  std::vector<Resource> owned;
  std::vector<rd_kafka_ConfigResource_t*> asked;
  for (const std::string& name : names) {
    owned.emplace_back(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name.c_str()),
                       rd_kafka_ConfigResource_destroy);
    asked.push_back(owned.back().get());
  }
  const AdminOptions options(rd_kafka_AdminOptions_new(handle, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS),
                             rd_kafka_AdminOptions_destroy);
  std::array<char, 256> reason{};
  rd_kafka_AdminOptions_set_request_timeout(options.get(), static_cast<int>(timeout.count()),
                                            reason.data(), reason.size());
  const KafkaQueue queue(rd_kafka_queue_new(handle));
  rd_kafka_DescribeConfigs(handle, asked.data(), asked.size(), options.get(), queue.get());
  const EventHandle event(
      rd_kafka_queue_poll(queue.get(), static_cast<int>((timeout + kDescribeMargin).count())),
      rd_kafka_event_destroy);
  if (event == nullptr) {
    return KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT, kWhat);
  }
  if (const auto error = rd_kafka_event_error(event.get()); error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return DescribeError(error, kWhat);
  }
  size_t count = 0;
  const rd_kafka_ConfigResource_t** described = rd_kafka_DescribeConfigs_result_resources(
      rd_kafka_event_DescribeConfigs_result(event.get()), &count);
  std::map<std::string, TopicSettings> topics;
  for (size_t i = 0; i < count; ++i) {
    const std::string name = rd_kafka_ConfigResource_name(described[i]);
    if (const auto error = rd_kafka_ConfigResource_error(described[i]);
        error != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return DescribeError(error, fmt::format("{} ({})", kWhat, name));
    }
    topics[name] = SettingsOf(described[i]);
  }
  return topics;
}

}  // namespace sluice::eventlog

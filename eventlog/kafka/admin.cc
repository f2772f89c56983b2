#include "eventlog/kafka/admin.h"

#include <fmt/format.h>
#include <librdkafka/rdkafka.h>
#include <spdlog/spdlog.h>

#include <array>
#include <map>
#include <memory>

#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/handles.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;
using EventHandle = std::unique_ptr<rd_kafka_event_t, void (*)(rd_kafka_event_t*)>;
using NewTopic = std::unique_ptr<rd_kafka_NewTopic_t, void (*)(rd_kafka_NewTopic_t*)>;
using Partitions =
    std::unique_ptr<rd_kafka_topic_partition_list_t, void (*)(rd_kafka_topic_partition_list_t*)>;
using AdminOptions = std::unique_ptr<rd_kafka_AdminOptions_t, void (*)(rd_kafka_AdminOptions_t*)>;

// librdkafka answers by its own time-out; this much later it is given up in any case.
constexpr milliseconds kAnswerMargin{2'000};
constexpr milliseconds kWakeTimeout{200};

AdminOptions MakeAdminOptions(rd_kafka_t* handle, rd_kafka_admin_op_t operation,
                              milliseconds timeout) {
  AdminOptions options(rd_kafka_AdminOptions_new(handle, operation), rd_kafka_AdminOptions_destroy);
  std::array<char, 256> reason{};
  const int ms = static_cast<int>(timeout.count());
  rd_kafka_AdminOptions_set_request_timeout(options.get(), ms, reason.data(), reason.size());
  // How long the controller may take before it answers.
  rd_kafka_AdminOptions_set_operation_timeout(options.get(), ms, reason.data(), reason.size());
  return options;
}

absl::StatusOr<EventHandle> WaitForResult(rd_kafka_queue_t* queue, milliseconds timeout,
                                          const std::string& what) {
  const auto ms = static_cast<int>((timeout + kAnswerMargin).count());
  EventHandle event(rd_kafka_queue_poll(queue, ms), rd_kafka_event_destroy);
  if (event == nullptr) {
    return KafkaError(RD_KAFKA_RESP_ERR__TIMED_OUT, what);
  }
  if (const auto error = rd_kafka_event_error(event.get()); error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaError(error, fmt::format("{}: {}", what, rd_kafka_event_error_string(event.get())));
  }
  return event;
}

// As schemas/docs/events.md has it: all for ever, but `work` (a week) and `nodes` (the last of each
// node).
std::map<std::string, std::string> ConfigOf(const TopicToCreate& topic) {
  std::map<std::string, std::string> config = {
      {"max.message.bytes", std::to_string(topic.message_bytes_max)},
      {"min.insync.replicas", topic.replication_factor >= 3 ? "2" : "1"}};
  if (topic.topic == Topic::kNodes) {
    config["cleanup.policy"] = "compact";
    return config;
  }
  config["cleanup.policy"] = "delete";
  config["retention.bytes"] = "-1";
  config["retention.ms"] = topic.topic == Topic::kWork
                               ? std::to_string(milliseconds(std::chrono::hours(7 * 24)).count())
                               : "-1";
  return config;
}

absl::StatusOr<NewTopic> MakeNewTopic(const TopicToCreate& topic) {
  std::array<char, 256> reason{};
  NewTopic made(rd_kafka_NewTopic_new(topic.name.c_str(), topic.partitions,
                                      topic.replication_factor, reason.data(), reason.size()),
                rd_kafka_NewTopic_destroy);
  if (made == nullptr) {
    return Invalid("invalid_argument", "topic {} can't be created: {}", topic.name, reason.data());
  }
  for (const auto& [name, value] : ConfigOf(topic)) {
    rd_kafka_NewTopic_set_config(made.get(), name.c_str(), value.c_str());
  }
  return made;
}

}  // namespace

absl::Status CreateTopics(rd_kafka_t* handle, const std::vector<TopicToCreate>& topics,
                          milliseconds timeout) {
  std::vector<NewTopic> owned;
  std::vector<rd_kafka_NewTopic_t*> requested;
  for (const TopicToCreate& topic : topics) {
    ASSIGN_OR_RETURN(auto made, MakeNewTopic(topic));
    requested.push_back(made.get());
    owned.push_back(std::move(made));
  }
  const KafkaQueue queue(rd_kafka_queue_new(handle));
  const AdminOptions options = MakeAdminOptions(handle, RD_KAFKA_ADMIN_OP_CREATETOPICS, timeout);
  rd_kafka_CreateTopics(handle, requested.data(), requested.size(), options.get(), queue.get());
  ASSIGN_OR_RETURN(const EventHandle event,
                   WaitForResult(queue.get(), timeout, "cannot create topics"));
  size_t count = 0;
  const rd_kafka_topic_result_t** results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
  for (size_t i = 0; i < count; ++i) {
    const rd_kafka_resp_err_t error = rd_kafka_topic_result_error(results[i]);
    const char* name = rd_kafka_topic_result_name(results[i]);
    if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      spdlog::info("kafka_topic_created topic={}", name);
    } else if (error != RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) {
      const char* reason = rd_kafka_topic_result_error_string(results[i]);
      return KafkaError(
          error, fmt::format("cannot create topic {}: {}", name, reason == nullptr ? "" : reason));
    }
  }
  return absl::OkStatus();
}

absl::Status DeleteRecords(rd_kafka_t* handle, const std::string& topic, PartitionId partition,
                           Offset begin, milliseconds timeout) {
  using Request = std::unique_ptr<rd_kafka_DeleteRecords_t, void (*)(rd_kafka_DeleteRecords_t*)>;
  const Partitions partitions(rd_kafka_topic_partition_list_new(1),
                              rd_kafka_topic_partition_list_destroy);
  rd_kafka_topic_partition_list_add(partitions.get(), topic.c_str(), partition.value())->offset =
      begin.value();
  const Request request(rd_kafka_DeleteRecords_new(partitions.get()),
                        rd_kafka_DeleteRecords_destroy);
  rd_kafka_DeleteRecords_t* requests[] = {request.get()};
  const KafkaQueue queue(rd_kafka_queue_new(handle));
  const AdminOptions options = MakeAdminOptions(handle, RD_KAFKA_ADMIN_OP_DELETERECORDS, timeout);
  rd_kafka_DeleteRecords(handle, requests, 1, options.get(), queue.get());
  const std::string what = fmt::format("cannot remove what lies before offset {} of {}-{}",
                                       begin.value(), topic, partition.value());
  ASSIGN_OR_RETURN(const EventHandle event, WaitForResult(queue.get(), timeout, what));
  const rd_kafka_topic_partition_list_t* results =
      rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event.get()));
  for (int i = 0; i < results->cnt; ++i) {
    if (results->elems[i].err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      return KafkaError(results->elems[i].err, what);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<Offset> LookUpOffset(rd_kafka_t* handle, const std::string& topic,
                                    PartitionId partition, OffsetKind kind, milliseconds timeout) {
  const Partitions partitions(rd_kafka_topic_partition_list_new(1),
                              rd_kafka_topic_partition_list_destroy);
  rd_kafka_topic_partition_t* asked =
      rd_kafka_topic_partition_list_add(partitions.get(), topic.c_str(), partition.value());
  // In place of a time, the two ends. rd_kafka_query_watermark_offsets() would ask for both, but it
  // does not keep its time-out before librdkafka 2.3.0: it asks a leader that has gone for ever.
  asked->offset = kind == OffsetKind::kBegin ? RD_KAFKA_OFFSET_BEGINNING : RD_KAFKA_OFFSET_END;
  rd_kafka_resp_err_t error =
      rd_kafka_offsets_for_times(handle, partitions.get(), static_cast<int>(timeout.count()));
  if (error == RD_KAFKA_RESP_ERR_NO_ERROR) {
    error = asked->err;
  }
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaError(error,
                      fmt::format("cannot ask for the offsets of {}-{}", topic, partition.value()));
  }
  return Offset(asked->offset);
}

bool WakeFetcher(rd_kafka_t* handle, const std::string& topic, PartitionId partition, Offset next) {
  int64_t low = 0;
  int64_t high = 0;  // as the last fetch said
  if (rd_kafka_get_watermark_offsets(handle, topic.c_str(), partition.value(), &low, &high) !=
          RD_KAFKA_RESP_ERR_NO_ERROR ||
      high <= next.value()) {
    return false;
  }
  // Whatever comes of it, reading tells.
  (void)LookUpOffset(handle, topic, partition, OffsetKind::kBegin, kWakeTimeout);
  return true;
}

}  // namespace sluice::eventlog

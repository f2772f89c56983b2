#include "eventlog/kafka/control.h"

#include <fmt/format.h>
#include <prometheus/gauge.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/known_brokers.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRequestRetryInterval{100};
// One try of a request, before it is tried again, elsewhere where the leader has changed.
constexpr milliseconds kTryTimeout{2'000};

int Millis(milliseconds duration) {
  return static_cast<int>(std::max<int64_t>(duration.count(), 1));
}

}  // namespace

KafkaControl::KafkaControl(const KafkaLogOptions& options, KafkaMetrics& metrics,
                           KnownBrokers& brokers)
    : options_(options),
      clock_(options.clock != nullptr ? options.clock : std::make_shared<RealClock>()),
      metrics_(metrics),
      brokers_(brokers) {}

absl::StatusOr<std::unique_ptr<KafkaControl>> KafkaControl::Connect(const KafkaLogOptions& options,
                                                                    KafkaMetrics& metrics,
                                                                    KnownBrokers& brokers) {
  std::unique_ptr<KafkaControl> control(new KafkaControl(options, metrics, brokers));
  // A consumer handle: unlike a producer's, its questions never create a topic.
  ASSIGN_OR_RETURN(KafkaConf conf, MakeConf(options, {{"allow.auto.create.topics", "false"}}));
  rd_kafka_conf_set_opaque(conf.get(), control.get());
  rd_kafka_conf_set_error_cb(conf.get(),
                             [](rd_kafka_t*, int error, const char* reason, void* opaque) {
                               // One broker of several may be down without harm; Monitor() looks
                               // after any error.
                               if (error == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
                                 static_cast<KafkaControl*>(opaque)->SetHealth(
                                     KafkaError(RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, reason));
                               }
                             });
  ASSIGN_OR_RETURN(control->handle_, MakeHandle(RD_KAFKA_CONSUMER, std::move(conf)));
  RETURN_IF_ERROR_CTX(
      control->LearnPartitions(control->clock_->SteadyNow() + options.connect_timeout),
      "cannot use the Kafka log at {}", options.brokers);
  control->SetHealth(absl::OkStatus());
  control->monitor_ = std::thread([c = control.get()] { c->Monitor(); });
  return control;
}

KafkaControl::~KafkaControl() {
  stopping_ = true;
  if (monitor_.joinable()) {
    const KafkaQueue events(rd_kafka_queue_get_main(handle_.get()));
    rd_kafka_queue_yield(events.get());
    monitor_.join();
  }
}

std::string KafkaControl::FullName(Topic topic) const {
  return options_.topic_prefix + std::string(TopicName(topic));
}

absl::Status KafkaControl::LearnPartitions(SteadyTime deadline) {
  std::optional<bool> created;  // whether topics had to be; once all are there
  absl::Status status;
  do {
    rd_kafka_poll(handle_.get(), 0);  // serves the error callback
    const auto left = std::chrono::ceil<milliseconds>(deadline - clock_->SteadyNow());
    const milliseconds patience = std::clamp(left, kRequestRetryInterval, kTryTimeout);
    if (log_name_.empty()) {
      char* cluster_id = rd_kafka_clusterid(handle_.get(), Millis(patience));
      if (cluster_id == nullptr) {
        status = Error(StatusCode::kUnavailable, "log_unavailable", "no broker answers");
        continue;
      }
      log_name_ = fmt::format("kafka:{}/{}", cluster_id, options_.topic_prefix);
      rd_kafka_mem_free(handle_.get(), cluster_id);
    }
    if (!created.has_value()) {
      const auto ensured = EnsureTopics(std::clamp(left, kTryTimeout, options_.operation_timeout));
      status = ensured.status();
      if (!status.ok()) {
        if (status.code() != absl::StatusCode::kUnavailable) {
          return status;
        }
        rd_kafka_poll(handle_.get(), Millis(kRequestRetryInterval));
        continue;
      }
      created = *ensured;
    }
    status = absl::OkStatus();
    for (const Topic topic : kAllTopics) {
      const auto count = LookUpPartitions(topic, patience);
      status = count.status();
      // New topics take a moment to get their leaders. One that a topic has lost, perhaps for long,
      // is the trouble of that partition alone.
      if (status.ok() && *created) {
        status = RequireLeaders(topic, patience);
      }
      if (!status.ok()) {
        break;
      }
      partition_counts_[topic] = *count;
    }
    if (!status.ok()) {
      rd_kafka_poll(handle_.get(), Millis(kRequestRetryInterval));
    }
  } while (!status.ok() && clock_->SteadyNow() < deadline);
  RETURN_IF_ERROR(status);
  return CheckPartitionCounts();
}

absl::Status KafkaControl::CheckPartitionCounts() {
  const int32_t expected = partition_counts_.at(Topic::kChanges);
  const auto wrong =
      std::find_if(partition_counts_.begin(), partition_counts_.end(), [&](const auto& entry) {
        return entry.second != (entry.first == Topic::kNodes ? 1 : expected);
      });
  // One that is only looked at is taken as it is.
  if (wrong == partition_counts_.end() || options_.inspect) {
    return absl::OkStatus();
  }
  // Of a log that has events, KafkaWatch says which topic was changed.
  ASSIGN_OR_RETURN(const bool has_history, HasEvents(Topic::kProvisioning));
  return has_history
             ? absl::OkStatus()
             : Error(StatusCode::kFailedPrecondition, "partition_count_mismatch",
                     "topic {} has {} partitions, but {} has {}: all must have as many, and nodes "
                     "one",
                     FullName(wrong->first), wrong->second, FullName(Topic::kChanges), expected);
}

absl::StatusOr<bool> KafkaControl::EnsureTopics(milliseconds timeout) {
  // Only missing topics are created, so that a client without that right can use existing ones;
  // they get as many partitions as those that exist.
  std::vector<TopicToCreate> missing;
  int32_t partitions = options_.partitions;
  for (const Topic topic : kAllTopics) {
    const auto count = LookUpPartitions(topic, timeout);
    if (count.ok()) {
      partitions = topic == Topic::kNodes ? partitions : *count;
    } else if (ErrorCode(count.status()) == "topic_missing") {
      missing.push_back({.topic = topic, .name = FullName(topic)});
    } else {
      return count.status();
    }
  }
  if (missing.empty()) {
    return false;
  }
  if (options_.inspect) {
    return Error(StatusCode::kNotFound, "no_log",
                 "topic {} does not exist: there is no log with the prefix \"{}\" at {}; look at "
                 "--topic-prefix",
                 missing.front().name, options_.topic_prefix, options_.brokers);
  }
  RETURN_IF_ERROR(CheckNoHistory(missing));
  for (TopicToCreate& topic : missing) {
    topic.partitions = topic.topic == Topic::kNodes ? 1 : partitions;
    topic.replication_factor = options_.replication_factor;
    topic.message_bytes_max = options_.limits.event_bytes_max + kRecordOverheadMax;
  }
  RETURN_IF_ERROR(CreateTopics(handle_.get(), missing, timeout));
  return true;
}

absl::StatusOr<bool> KafkaControl::HasEvents(Topic topic) {
  ASSIGN_OR_RETURN(const int32_t count, LookUpPartitions(topic, kTryTimeout));
  for (int32_t p = 0; p < count; ++p) {
    ASSIGN_OR_RETURN(const OffsetRange range, Range(topic, PartitionId(p)));
    if (range.end > Offset(0)) {
      return true;
    }
  }
  return false;
}

// An empty topic beside one that has a history would be taken for what happened: organisations
// would be unknown, or have no rows.
absl::Status KafkaControl::CheckNoHistory(const std::vector<TopicToCreate>& missing) {
  constexpr Topic kHistory[] = {Topic::kProvisioning, Topic::kChanges};
  const auto is_missing = [&missing](Topic topic) {
    return std::ranges::any_of(missing, [topic](const auto& one) { return one.topic == topic; });
  };
  for (const Topic lost : kHistory) {
    for (const Topic other : kHistory) {
      if (!is_missing(lost) || is_missing(other)) {
        continue;
      }
      ASSIGN_OR_RETURN(const bool has_events, HasEvents(other));
      if (has_events) {
        return Error(
            StatusCode::kFailedPrecondition, "topic_missing",
            "topic {} does not exist, but {} has events: restore it; or, to go on with what {} "
            "holds, make it anew by hand with as many partitions and retention.ms=-1, run `sluice "
            "log new-epoch`, and start again; or, for another log, use another log.topic_prefix",
            FullName(lost), FullName(other), FullName(other));
      }
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<bool>> KafkaControl::LookUpLeaders(Topic topic, milliseconds timeout) {
  const std::string name = FullName(topic);
  const KafkaTopic handle(rd_kafka_topic_new(handle_.get(), name.c_str(), nullptr));
  if (handle == nullptr) {
    return KafkaError(rd_kafka_last_error(), fmt::format("cannot use topic {}", name));
  }
  const rd_kafka_metadata_t* metadata = nullptr;
  const rd_kafka_resp_err_t error =
      rd_kafka_metadata(handle_.get(), 0, handle.get(), &metadata, Millis(timeout));
  if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaError(error, fmt::format("cannot look up topic {}", name));
  }
  const std::unique_ptr<const rd_kafka_metadata_t, void (*)(const rd_kafka_metadata_t*)> owner(
      metadata, rd_kafka_metadata_destroy);
  brokers_.Learn(*metadata);
  const rd_kafka_metadata_topic_t* found = metadata->topic_cnt == 1 ? metadata->topics : nullptr;
  if (found == nullptr || found->err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) {
    return Error(StatusCode::kUnavailable, "topic_missing", "topic {} does not exist", name);
  }
  if (found->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaError(found->err, fmt::format("cannot use topic {}", name));
  }
  const std::span partitions(found->partitions, static_cast<size_t>(found->partition_cnt));
  return Collect(partitions, [](const auto& partition) { return partition.leader >= 0; });
}

absl::StatusOr<int32_t> KafkaControl::LookUpPartitions(Topic topic, milliseconds timeout) {
  ASSIGN_OR_RETURN(const std::vector<bool> leaders, LookUpLeaders(topic, timeout));
  return static_cast<int32_t>(leaders.size());
}

absl::Status KafkaControl::RequireLeaders(Topic topic, milliseconds timeout) {
  ASSIGN_OR_RETURN(const std::vector<bool> leaders, LookUpLeaders(topic, timeout));
  const auto without = std::ranges::find(leaders, false);
  return without == leaders.end() ? absl::OkStatus()
                                  : Error(StatusCode::kUnavailable, "log_unavailable",
                                          "partition {} of topic {} has no leader",
                                          without - leaders.begin(), FullName(topic));
}

absl::StatusOr<OffsetRange> KafkaControl::Range(Topic topic, PartitionId partition) {
  OffsetRange range;
  RETURN_IF_ERROR(RetryWhileLeaderMoves(topic, [&](milliseconds patience) -> absl::Status {
    const std::string name = FullName(topic);
    ASSIGN_OR_RETURN(range.begin,
                     LookUpOffset(handle_.get(), name, partition, OffsetKind::kBegin, patience));
    ASSIGN_OR_RETURN(range.end,
                     LookUpOffset(handle_.get(), name, partition, OffsetKind::kEnd, patience));
    return absl::OkStatus();
  }));
  return range;
}

absl::StatusOr<Offset> KafkaControl::EndOf(Topic topic, PartitionId partition,
                                           milliseconds timeout) {
  return LookUpOffset(handle_.get(), FullName(topic), partition, OffsetKind::kEnd, timeout);
}

absl::Status KafkaControl::TruncateBefore(Topic topic, PartitionId partition, Offset begin) {
  ASSIGN_OR_RETURN(const OffsetRange range, Range(topic, partition));
  if (begin <= range.begin) {
    return absl::OkStatus();
  }
  return RetryWhileLeaderMoves(topic, [&](milliseconds patience) {
    return DeleteRecords(handle_.get(), FullName(topic), partition, std::min(begin, range.end),
                         patience);
  });
}

template <typename Request>
absl::Status KafkaControl::RetryWhileLeaderMoves(Topic topic, Request request) {
  const SteadyTime deadline = clock_->SteadyNow() + options_.operation_timeout;
  // Time for several tries, whatever the whole may take.
  const milliseconds try_timeout = std::min(kTryTimeout, options_.operation_timeout / 4);
  const auto patience = [&] {
    const auto left = std::chrono::ceil<milliseconds>(deadline - clock_->SteadyNow());
    return std::max(std::min(left, try_timeout), kRequestRetryInterval);
  };
  while (true) {
    absl::Status status = request(patience());
    if (status.code() != absl::StatusCode::kUnavailable || clock_->SteadyNow() >= deadline) {
      return status;
    }
    rd_kafka_poll(handle_.get(), Millis(kRequestRetryInterval));
    // A request that was not answered may have gone to a leader that is dead. librdkafka would ask
    // it again: it goes by the metadata that it was told last.
    if (const auto refreshed = LookUpPartitions(topic, patience()); !refreshed.ok()) {
      spdlog::debug("kafka_refresh_failed topic={} error=\"{}\"", FullName(topic),
                    Message(refreshed.status()));
    }
  }
}

absl::Status KafkaControl::Health() {
  const absl::MutexLock lock(&mutex_);
  return health_;
}

void KafkaControl::SetHealth(absl::Status health) {
  const absl::MutexLock lock(&mutex_);
  if (health.ok() != health_.ok()) {
    if (health.ok()) {
      spdlog::info("kafka_reachable brokers={}", options_.brokers);
    } else {
      spdlog::warn("kafka_unreachable brokers={} error=\"{}\"", options_.brokers, Message(health));
    }
  }
  metrics_.healthy.Set(health.ok() ? 1 : 0);
  health_ = std::move(health);
}

absl::Status KafkaControl::CheckHealth() {
  // Who leads is told by any broker, also by one that is cut off from the others: only by asking
  // often does a handle hear of a new leader within seconds, of either topic.
  static_cast<void>(LookUpLeaders(Topic::kProvisioning, kTryTimeout));
  ASSIGN_OR_RETURN(const std::vector<bool> leaders, LookUpLeaders(Topic::kChanges, kTryTimeout));
  return std::ranges::find(leaders, true) != leaders.end()
             ? absl::OkStatus()
             : Error(StatusCode::kUnavailable, "log_unavailable",
                     "no partition of topic {} has a leader", FullName(Topic::kChanges));
}

void KafkaControl::Monitor() {
  while (!stopping_) {
    // Waits for the interval, or less: an error wakes it.
    rd_kafka_poll(handle_.get(), Millis(options_.health_interval));
    if (!stopping_) {
      SetHealth(CheckHealth());
    }
  }
}

}  // namespace sluice::eventlog

#include "eventlog/kafka/kafka_group.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "eventlog/kafka/conf.h"
#include "schemas/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;
using PartitionList =
    std::unique_ptr<rd_kafka_topic_partition_list_t, void (*)(rd_kafka_topic_partition_list_t*)>;

constexpr milliseconds kPollInterval{100};
// Members learn of a rebalance by their next heartbeat.
constexpr milliseconds kHeartbeatInterval{1'000};
// How long Stop() waits for the coordinator to confirm that this member has gone.
constexpr milliseconds kLeaveTimeout{5'000};

PartitionList MakeList() {
  return {rd_kafka_topic_partition_list_new(8), rd_kafka_topic_partition_list_destroy};
}

// Without those that were added to the topic after the log was started: no organisation is theirs,
// and KafkaWatch tells of them (topic_partitions_changed).
std::vector<PartitionId> PartitionsOf(const rd_kafka_topic_partition_list_t& list, int32_t count) {
  std::vector<PartitionId> partitions;
  for (int i = 0; i < list.cnt; ++i) {
    if (list.elems[i].partition < count) {
      partitions.emplace_back(list.elems[i].partition);
    }
  }
  std::sort(partitions.begin(), partitions.end());
  return partitions;
}

void LogFailure(std::string_view what, rd_kafka_error_t* error) {
  if (error != nullptr) {
    spdlog::error("kafka_group_failed what={} error=\"{}\"", what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
  }
}

}  // namespace

KafkaPartitionGroup::KafkaPartitionGroup(const KafkaGroupOptions& options)
    : options_(options),
      topic_(options.log.topic_prefix + std::string(TopicName(Topic::kChanges))) {}

absl::StatusOr<std::unique_ptr<KafkaPartitionGroup>> KafkaPartitionGroup::Create(
    const KafkaGroupOptions& options) {
  if (options.replica_set.empty()) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 "the replica set has no name: give one, it is part of the consumer group's");
  }
  std::unique_ptr<KafkaPartitionGroup> group(new KafkaPartitionGroup(options));
  const std::string session_ms = std::to_string(options.session_timeout.count());
  const std::string heartbeat_ms =
      std::to_string(std::min(options.session_timeout / 4, kHeartbeatInterval).count());
  ASSIGN_OR_RETURN(
      KafkaConf conf,
      MakeConf(options.log, {{"group.id", options.log.topic_prefix + options.replica_set},
                             {"partition.assignment.strategy", "cooperative-sticky"},
                             {"session.timeout.ms", session_ms},
                             {"heartbeat.interval.ms", heartbeat_ms},
                             {"enable.auto.commit", "false"},
                             {"enable.auto.offset.store", "false"},
                             {"allow.auto.create.topics", "false"},
                             // Never consumed, as partitions are paused; were they, from the end.
                             {"auto.offset.reset", "latest"},
                             {"queued.min.messages", "1"},
                             {"queued.max.messages.kbytes", "1"}}));
  if (!options.instance_id.empty()) {
    rd_kafka_conf_set(conf.get(), "group.instance.id", options.instance_id.c_str(), nullptr, 0);
  }
  rd_kafka_conf_set_opaque(conf.get(), group.get());
  rd_kafka_conf_set_rebalance_cb(conf.get(),
                                 [](rd_kafka_t*, rd_kafka_resp_err_t error,
                                    rd_kafka_topic_partition_list_t* partitions, void* opaque) {
                                   auto* self = static_cast<KafkaPartitionGroup*>(opaque);
                                   if (error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
                                     self->Assign(partitions);
                                   } else {
                                     self->Revoke(partitions);
                                   }
                                 });
  ASSIGN_OR_RETURN(group->handle_, MakeHandle(RD_KAFKA_CONSUMER, std::move(conf)));
  rd_kafka_poll_set_consumer(group->handle_.get());
  return group;
}

KafkaPartitionGroup::~KafkaPartitionGroup() { KafkaPartitionGroup::Stop(); }

absl::Status KafkaPartitionGroup::Start(Callbacks callbacks) {
  const absl::MutexLock lock(&mutex_);
  if (started_) {
    return absl::FailedPreconditionError("the partition group has been started already");
  }
  callbacks_ = std::move(callbacks);
  const PartitionList topics = MakeList();
  rd_kafka_topic_partition_list_add(topics.get(), topic_.c_str(), RD_KAFKA_PARTITION_UA);
  if (const auto error = rd_kafka_subscribe(handle_.get(), topics.get());
      error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaError(error, fmt::format("cannot join the replica set {}", options_.replica_set));
  }
  started_ = true;
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

void KafkaPartitionGroup::Stop() {
  std::thread thread;
  {
    const absl::MutexLock lock(&mutex_);
    thread = std::move(thread_);
  }
  if (thread.joinable()) {
    stopping_ = true;
    thread.join();
  }
}

void KafkaPartitionGroup::CommitHint(PartitionId partition, Offset next) {
  const absl::MutexLock lock(&mutex_);
  hints_[partition] = next;
}

void KafkaPartitionGroup::Run() {
  auto commit_at = std::chrono::steady_clock::now() + options_.commit_interval;
  while (!stopping_) {
    // Serves the rebalance callback; a message can only be one that came before the pause.
    const KafkaMessage ignored(
        rd_kafka_consumer_poll(handle_.get(), static_cast<int>(kPollInterval.count())));
    if (ignored != nullptr && ignored->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      spdlog::warn("kafka_group_error group={} error=\"{}\"", options_.replica_set,
                   rd_kafka_message_errstr(ignored.get()));
    }
    if (std::chrono::steady_clock::now() >= commit_at) {
      CommitHints();
      commit_at = std::chrono::steady_clock::now() + options_.commit_interval;
    }
  }
  Close();
}

void KafkaPartitionGroup::Close() {
  // Revokes through the callback, then leaves. Waits no longer than the bound: a coordinator that
  // is away notices by itself.
  const KafkaQueue queue(rd_kafka_queue_new(handle_.get()));
  LogFailure("close", rd_kafka_consumer_close_queue(handle_.get(), queue.get()));
  const auto deadline = std::chrono::steady_clock::now() + kLeaveTimeout;
  while (rd_kafka_consumer_closed(handle_.get()) == 0 &&
         std::chrono::steady_clock::now() < deadline) {
    rd_kafka_event_t* event =
        rd_kafka_queue_poll(queue.get(), static_cast<int>(kPollInterval.count()));
    if (event != nullptr && rd_kafka_event_type(event) == RD_KAFKA_EVENT_REBALANCE) {
      Revoke(rd_kafka_event_topic_partition_list(event));
    }
    rd_kafka_event_destroy(event);
  }
}

void KafkaPartitionGroup::Assign(rd_kafka_topic_partition_list_t* partitions) {
  for (int i = 0; i < partitions->cnt; ++i) {
    partitions->elems[i].offset = RD_KAFKA_OFFSET_END;
  }
  LogFailure("assign", rd_kafka_incremental_assign(handle_.get(), partitions));
  rd_kafka_pause_partitions(handle_.get(), partitions);
  const auto assigned = PartitionsOf(*partitions, options_.log.partitions);
  spdlog::info("kafka_group_assigned group={} partitions={}", options_.replica_set,
               assigned.size());
  callbacks_.on_assigned(assigned);  // also of none: the group has answered
}

void KafkaPartitionGroup::Revoke(rd_kafka_topic_partition_list_t* partitions) {
  const auto revoked = PartitionsOf(*partitions, options_.log.partitions);
  if (!revoked.empty()) {
    const bool lost = rd_kafka_assignment_lost(handle_.get()) != 0;
    spdlog::info("kafka_group_revoked group={} partitions={} lost={}", options_.replica_set,
                 revoked.size(), lost);
    callbacks_.on_revoked(revoked);
    if (lost) {
      const absl::MutexLock lock(&mutex_);
      hints_.clear();  // another member commits for them now
    }
    CommitHints();
  }
  LogFailure("unassign", rd_kafka_incremental_unassign(handle_.get(), partitions));
}

void KafkaPartitionGroup::CommitHints() {
  const PartitionList offsets = MakeList();
  {
    const absl::MutexLock lock(&mutex_);
    for (const auto& [partition, next] : hints_) {
      rd_kafka_topic_partition_list_add(offsets.get(), topic_.c_str(), partition.value())->offset =
          next.value();
    }
    hints_.clear();
  }
  if (offsets->cnt > 0) {
    rd_kafka_commit(handle_.get(), offsets.get(), 1);  // a hint: a failure is the next one's turn
  }
}

}  // namespace sluice::eventlog

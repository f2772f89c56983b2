#include "eventlog/kafka/kafka_group.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/registry.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

#include "absl/time/time.h"
#include "eventlog/kafka/conf.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

using std::chrono::milliseconds;
using PartitionList =
    std::unique_ptr<rd_kafka_topic_partition_list_t, void (*)(rd_kafka_topic_partition_list_t*)>;

constexpr milliseconds kConsumerPollInterval{100};
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
      topic_(options.log.topic_prefix + std::string(TopicName(Topic::kChanges))),
      registry_(RegistryOrNew(options.log.metrics)),
      fenced_total_(
          AddCounter(*registry_, "sluice_eventlog_group_fenced_total",
                     "Times that this process was put out of a consumer group and joined anew",
                     {{"log", "kafka"}, {"group", options.replica_set}})),
      rejoin_(options.rejoin_min, options.rejoin_max) {}

absl::StatusOr<std::unique_ptr<KafkaPartitionGroup>> KafkaPartitionGroup::Create(
    const KafkaGroupOptions& options) {
  if (options.replica_set.empty()) {
    return Invalid("invalid_argument",
                   "the replica set has no name: give one, it is part of the consumer group's");
  }
  std::unique_ptr<KafkaPartitionGroup> group(new KafkaPartitionGroup(options));
  ASSIGN_OR_RETURN(group->handle_, group->MakeMember());
  return group;
}

absl::StatusOr<KafkaHandle> KafkaPartitionGroup::MakeMember() {
  const std::string session_ms = std::to_string(options_.session_timeout.count());
  const std::string heartbeat_ms =
      std::to_string(std::min(options_.session_timeout / 4, kHeartbeatInterval).count());
  ASSIGN_OR_RETURN(
      KafkaConf conf,
      MakeConf(options_.log, {{"group.id", options_.log.topic_prefix + options_.replica_set},
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
  if (!options_.instance_id.empty()) {
    rd_kafka_conf_set(conf.get(), "group.instance.id", options_.instance_id.c_str(), nullptr, 0);
  }
  rd_kafka_conf_set_opaque(conf.get(), this);
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
  ASSIGN_OR_RETURN(KafkaHandle member, MakeHandle(RD_KAFKA_CONSUMER, std::move(conf)));
  rd_kafka_poll_set_consumer(member.get());
  return member;
}

KafkaPartitionGroup::~KafkaPartitionGroup() { KafkaPartitionGroup::Stop(); }

absl::Status KafkaPartitionGroup::Start(Callbacks callbacks) {
  const absl::MutexLock lock(&mutex_);
  if (started_) {
    return absl::FailedPreconditionError("the partition group has been started already");
  }
  callbacks_ = std::move(callbacks);
  RETURN_IF_ERROR(Subscribe());
  started_ = true;
  thread_ = std::thread([this] { Run(); });
  return absl::OkStatus();
}

absl::Status KafkaPartitionGroup::Subscribe() {
  const PartitionList topics = MakeList();
  rd_kafka_topic_partition_list_add(topics.get(), topic_.c_str(), RD_KAFKA_PARTITION_UA);
  if (const auto error = rd_kafka_subscribe(handle_.get(), topics.get());
      error != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return KafkaError(error, fmt::format("cannot join the replica set {}", options_.replica_set));
  }
  joined_ = std::chrono::steady_clock::now();
  return absl::OkStatus();
}

absl::Status KafkaPartitionGroup::Health() const {
  const absl::MutexLock lock(&mutex_);
  return health_;
}

void KafkaPartitionGroup::Stop() {
  std::thread thread;
  {
    const absl::MutexLock lock(&mutex_);
    thread = std::move(thread_);
    stopping_ = true;
  }
  if (thread.joinable()) {
    thread.join();
  }
}

void KafkaPartitionGroup::CommitHint(PartitionId partition, Offset next) {
  const absl::MutexLock lock(&mutex_);
  hints_[partition] = next;
}

bool KafkaPartitionGroup::Pause(std::chrono::milliseconds delay) {
  const auto stops = [this] { return stopping_.load(); };
  const absl::MutexLock lock(&mutex_);
  return !mutex_.AwaitWithTimeout(absl::Condition(&stops), absl::FromChrono(delay));
}

void KafkaPartitionGroup::Run() {
  auto commit_at = std::chrono::steady_clock::now() + options_.commit_interval;
  while (!stopping_) {
    if (PutOut()) {
      Rejoin();
      continue;
    }
    // Serves the rebalance callback; a message can only be one that came before the pause.
    const KafkaMessage ignored(
        rd_kafka_consumer_poll(handle_.get(), static_cast<int>(kConsumerPollInterval.count())));
    if (ignored != nullptr && ignored->err != RD_KAFKA_RESP_ERR_NO_ERROR) {
      spdlog::warn("kafka_group_error group={} error=\"{}\"", options_.replica_set,
                   rd_kafka_message_errstr(ignored.get()));
    }
    if (std::chrono::steady_clock::now() >= commit_at) {
      CommitHints();
      commit_at = std::chrono::steady_clock::now() + options_.commit_interval;
    }
  }
  if (!PutOut()) {
    Close();
  }
  GiveBack({held_.begin(), held_.end()}, /*lost=*/true);  // what was not given back by then
}

bool KafkaPartitionGroup::PutOut() const {
  return handle_ == nullptr ||
         rd_kafka_fatal_error(handle_.get(), nullptr, 0) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

void KafkaPartitionGroup::Rejoin() {
  // Who was let alone for long enough begins anew with the waits: another process of the same name
  // would have come back by then, and have put this one out.
  if (handle_ != nullptr && std::chrono::steady_clock::now() - joined_ > 2 * options_.rejoin_max) {
    rejoin_.Reset();
  }
  const milliseconds delay = rejoin_.Next();
  if (handle_ != nullptr) {
    std::array<char, 512> reason{};
    rd_kafka_fatal_error(handle_.get(), reason.data(), reason.size());
    spdlog::error("kafka_group_fenced group={} code=group_fenced error=\"{}\" rejoin_ms={}",
                  options_.replica_set, reason.data(), delay.count());
    fenced_total_.Increment();
    {
      const absl::MutexLock lock(&mutex_);
      health_ = Error(StatusCode::kUnavailable, "group_fenced",
                      "the consumer group {}{} has put this process out: another one has, or had, "
                      "its node id \"{}\"; it joins anew by itself; where that goes on, give each "
                      "process a staging.node_id of its own",
                      options_.log.topic_prefix, options_.replica_set, options_.instance_id);
    }
    GiveBack({held_.begin(), held_.end()}, /*lost=*/true);
    handle_.reset();  // there is nothing to leave: the group has another in this one's place
  }
  if (!Pause(delay)) {
    return;
  }
  auto member = MakeMember();
  absl::Status joined = member.status();
  if (member.ok()) {
    handle_ = *std::move(member);
    joined = Subscribe();
  }
  if (!joined.ok()) {
    handle_.reset();
    spdlog::error("kafka_group_failed what=rejoin group={} error=\"{}\"", options_.replica_set,
                  Message(joined));
  }
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
        rd_kafka_queue_poll(queue.get(), static_cast<int>(kConsumerPollInterval.count()));
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
  held_.insert(assigned.begin(), assigned.end());
  // Well again only when the callback has returned: until then nobody folds what was assigned.
  callbacks_.on_assigned(assigned);  // also of none: the group has answered
  const absl::MutexLock lock(&mutex_);
  health_ = absl::OkStatus();
}

void KafkaPartitionGroup::Revoke(rd_kafka_topic_partition_list_t* partitions) {
  // The folds end before the partitions are given up: from the unassign on another member may have
  // them, and answer for them.
  GiveBack(PartitionsOf(*partitions, options_.log.partitions),
           rd_kafka_assignment_lost(handle_.get()) != 0);
  LogFailure("unassign", rd_kafka_incremental_unassign(handle_.get(), partitions));
}

void KafkaPartitionGroup::GiveBack(const std::vector<PartitionId>& partitions, bool lost) {
  std::vector<PartitionId> revoked;
  std::copy_if(partitions.begin(), partitions.end(), std::back_inserter(revoked),
               [this](PartitionId partition) { return held_.erase(partition) > 0; });
  if (revoked.empty()) {
    return;
  }
  spdlog::info("kafka_group_revoked group={} partitions={} lost={}", options_.replica_set,
               revoked.size(), lost);
  callbacks_.on_revoked(revoked);
  if (lost) {
    const absl::MutexLock lock(&mutex_);
    hints_.clear();  // another member commits for them now
  }
  CommitHints();
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

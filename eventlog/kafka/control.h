#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/kafka/admin.h"
#include "eventlog/kafka/handles.h"
#include "eventlog/kafka/metrics.h"
#include "eventlog/kafka/options.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

class KnownBrokers;

// The Kafka log's questions and orders to the cluster: topics, offsets, retention, health. They go
// over a connection of their own, so that they never queue behind a fetch that waits for data. A
// thread checks the connection. Thread-safe.
class KafkaControl {
 public:
  // Waits up to options.connect_timeout for the cluster, creates the topics that are missing and
  // learns the partitions of all; those of topics that were there need no leader. kUnavailable
  // where the cluster does not answer in time; kFailedPrecondition where topics have different
  // partition counts. `metrics` and `brokers`, which it teaches, must outlive it.
  static absl::StatusOr<std::unique_ptr<KafkaControl>> Connect(const KafkaLogOptions& options,
                                                               KafkaMetrics& metrics,
                                                               KnownBrokers& brokers);
  ~KafkaControl();

  // "kafka:<cluster id>/<topic prefix>": the log's id without its epoch.
  const std::string& log_name() const { return log_name_; }
  // For questions of this folder's own, over the connection.
  rd_kafka_t* handle() const { return handle_.get(); }
  int32_t PartitionCount(Topic topic) const { return partition_counts_.at(topic); }
  std::string FullName(Topic topic) const;

  // As in Log; the partition exists.
  absl::StatusOr<OffsetRange> Range(Topic topic, PartitionId partition);
  absl::Status TruncateBefore(Topic topic, PartitionId partition, Offset begin);
  // Whether the brokers answer; the last that was heard, without asking. That some partitions have
  // no leader is the trouble of those alone.
  absl::Status Health();

  // By partition, whether it has a leader. kUnavailable, code "topic_missing", where the topic
  // doesn't exist.
  absl::StatusOr<std::vector<bool>> LookUpLeaders(Topic topic, std::chrono::milliseconds timeout);
  // How many partitions the topic has, whether they have leaders or not; errors as above.
  absl::StatusOr<int32_t> LookUpPartitions(Topic topic, std::chrono::milliseconds timeout);
  // kUnavailable, code "log_unavailable", where a partition of the topic has no leader.
  absl::Status RequireLeaders(Topic topic, std::chrono::milliseconds timeout);
  // The partition's end, asked once.
  absl::StatusOr<Offset> EndOf(Topic topic, PartitionId partition,
                               std::chrono::milliseconds timeout);

 private:
  KafkaControl(const KafkaLogOptions& options, KafkaMetrics& metrics, KnownBrokers& brokers);

  // Whether some were created.
  absl::StatusOr<bool> EnsureTopics(std::chrono::milliseconds timeout);
  // kFailedPrecondition, code "topic_missing", where one of `missing` would be made anew beside
  // events that go with it.
  absl::Status CheckNoHistory(const std::vector<TopicToCreate>& missing);
  absl::Status CheckPartitionCounts();
  absl::StatusOr<bool> HasEvents(Topic topic);
  absl::Status LearnPartitions(SteadyTime deadline);
  // A topic that is new, or whose leader has just failed, has a leader in a moment: asks again,
  // with fresh metadata, until options.operation_timeout. `request` takes how long one try may
  // last.
  template <typename Request>
  absl::Status RetryWhileLeaderMoves(Topic topic, Request request);
  absl::Status CheckHealth();
  void SetHealth(absl::Status health);
  void Monitor();

  const KafkaLogOptions options_;
  const std::shared_ptr<const Clock> clock_;
  KafkaMetrics& metrics_;
  KnownBrokers& brokers_;
  KafkaHandle handle_;
  std::string log_name_;
  std::map<Topic, int32_t> partition_counts_;  // set by Connect()
  std::atomic<bool> stopping_ = false;
  absl::Mutex mutex_;
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
  std::thread monitor_;
};

}  // namespace sluice::eventlog

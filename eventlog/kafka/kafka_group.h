#pragma once

#include <atomic>
#include <chrono>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/kafka/handles.h"
#include "eventlog/kafka/options.h"
#include "eventlog/partition_group.h"
#include "schemas/base/backoff.h"
#include "schemas/base/metrics.h"

typedef struct rd_kafka_topic_partition_list_s rd_kafka_topic_partition_list_t;

namespace sluice::eventlog {

struct KafkaGroupOptions {
  KafkaLogOptions log;  // brokers, prefix, properties, and the partitions that the log has
  // The replica set: processes with the same one share the partitions, and the consumer group is
  // called <topic prefix><replica set>.
  std::string replica_set;
  // Kafka's group.instance.id. A process that comes back under its name within session_timeout
  // gets its partitions back and nobody else moves; therefore Stop() does not leave the group, and
  // others take over after session_timeout. Empty: Stop() leaves and others take over at once.
  std::string instance_id;
  // Without a sign of life for this long a member is taken for dead.
  std::chrono::milliseconds session_timeout{10'000};
  // How often hints are committed.
  std::chrono::milliseconds commit_interval{5'000};
  // The wait before a member that was put out of the group joins again, half of it left to chance;
  // doubled each time, up to rejoin_max. So two processes of one name, which put each other out, do
  // not do so without end and in step.
  std::chrono::milliseconds rejoin_min{1'000};
  std::chrono::milliseconds rejoin_max{30'000};
};

// Membership in a consumer group on the topic `changes`, with cooperative rebalancing: partitions
// that stay are not interrupted. Nothing is consumed through it: it only says who folds what. A
// member whose handle ends with a fatal error (another process has its name, or the coordinator
// believes so) gives back what it holds and joins anew.
// Callbacks run on the group's thread. Thread-safe.
class KafkaPartitionGroup final : public PartitionGroup {
 public:
  // kInvalidArgument for wrong options.
  static absl::StatusOr<std::unique_ptr<KafkaPartitionGroup>> Create(
      const KafkaGroupOptions& options);
  ~KafkaPartitionGroup() override;

  absl::Status Start(Callbacks callbacks) override;
  [[nodiscard]] absl::Status Health() const override;
  void CommitHint(PartitionId partition, Offset next) override;
  void Stop() override;

 private:
  explicit KafkaPartitionGroup(const KafkaGroupOptions& options);

  absl::StatusOr<KafkaHandle> MakeMember();
  absl::Status Subscribe();
  void Run();
  // Has the handle come to an end of which librdkafka says that it is for good?
  bool PutOut() const;
  // Gives back what is held and drops the handle; then, after the wait, makes a new one.
  void Rejoin();
  void Close();
  void Assign(rd_kafka_topic_partition_list_t* partitions);
  void Revoke(rd_kafka_topic_partition_list_t* partitions);
  void GiveBack(const std::vector<PartitionId>& partitions, bool lost);
  // False when the group stops.
  bool Pause(std::chrono::milliseconds delay) ABSL_LOCKS_EXCLUDED(mutex_);
  // Commits what CommitHint() was told since the last time, without waiting.
  void CommitHints();

  const KafkaGroupOptions options_;
  const std::string topic_;
  const std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Counter& fenced_total_;
  // Set up by Create() and Start(), then used by the group's thread only.
  KafkaHandle handle_;  // nullptr where it ended and no new one could be made
  Callbacks callbacks_;
  std::set<PartitionId> held_;
  Backoff rejoin_;
  std::chrono::steady_clock::time_point joined_;
  std::atomic<bool> stopping_ = false;
  mutable absl::Mutex mutex_;
  absl::Status health_ ABSL_GUARDED_BY(mutex_);
  std::map<PartitionId, Offset> hints_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
  bool started_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice::eventlog

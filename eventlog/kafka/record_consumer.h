#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/kafka/handles.h"
#include "eventlog/record_source.h"

namespace sluice::eventlog {

// Topics in Kafka that others write, through a consumer of its own: no group, no offset of ours is
// kept there. All places share one queue, which options.queue_bytes_max bounds. A paused place is
// not fetched at all, and what was fetched of it is let go. Properties are the caller's to judge:
// librdkafka has some that read files and run commands.
class RecordConsumer final : public RecordSource {
 public:
  // Connects later. kInvalidArgument for properties that do not exist, or that the contract of
  // RecordSource depends on.
  static absl::StatusOr<std::unique_ptr<RecordSource>> Open(const RecordSourceOptions& options);
  ~RecordConsumer() override;

  absl::StatusOr<std::vector<PartitionId>> Partitions(const std::string& topic) override;
  absl::Status Assign(std::vector<RecordPlace> places) override;
  absl::StatusOr<std::vector<Record>> Read(const ReadLimits& limits) override;
  [[nodiscard]] Offset next(const std::string& topic, PartitionId partition) const override;
  absl::Status Pause(const std::string& topic, PartitionId partition, bool paused) override;
  absl::StatusOr<Offset> Begin(const std::string& topic, PartitionId partition) override;
  absl::StatusOr<Offset> End(const std::string& topic, PartitionId partition) override;
  void Cancel() override;

 private:
  using Key = std::pair<std::string, PartitionId>;
  struct Place {
    Offset next = kNoOffset;
    bool paused = false;
    bool consuming = false;
  };

  RecordConsumer() = default;

  absl::Status CheckCancelled() const;
  absl::StatusOr<rd_kafka_topic_t*> TopicOf(const std::string& name);
  absl::Status StartPlaces();
  void Stop(const Key& key, Place& place);
  // Fills fetched_ with at least one message, unless the time is over or Cancel() was called.
  absl::Status Fetch(SteadyTime deadline);
  void WakeOne();
  absl::Status CheckBrokers();
  // What an error in place of a message means.
  absl::Status ErrorOf(const rd_kafka_message_t& message, const Key& key, const Place& place);

  std::atomic<bool> down_{false};  // librdkafka said that no broker answers; before handle_
  KafkaHandle handle_;
  std::map<std::string, KafkaTopic> topics_;
  KafkaQueue queue_;
  std::map<Key, Place> places_;
  std::deque<KafkaMessage> fetched_;  // what Read()'s limits left
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace sluice::eventlog

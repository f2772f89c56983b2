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
#include "eventlog/kafka/handles.h"
#include "eventlog/kafka/metrics.h"
#include "eventlog/kafka/options.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

// The appending half of the Kafka log: an idempotent producer with acks=all, a bounded queue, and a
// thread that serves delivery reports. One callback per batch. A producer that reports a fatal
// error (its sequence is lost) is replaced: what it had in flight fails with kUnavailable.
// Thread-safe.
class KafkaProducer {
 public:
  // `metrics` must outlive the producer. Does not wait for a broker.
  static absl::StatusOr<std::unique_ptr<KafkaProducer>> Create(const KafkaLogOptions& options,
                                                               KafkaMetrics& metrics);

  // Waits up to options.close_timeout for what is in flight, then fails the rest.
  ~KafkaProducer();

  // As Log::AppendAsync(); `partition` exists. Refusals call `done` on this thread.
  void Append(Topic topic, PartitionId partition, std::vector<Event> batch,
              Log::AppendCallback done);

 private:
  struct Batch;
  // A handle with its topics; replaced as a whole.
  struct Client {
    KafkaHandle handle;
    std::map<Topic, KafkaTopic> topics;  // destroyed before the handle
    std::atomic<bool> fatal = false;
  };

  KafkaProducer(const KafkaLogOptions& options, KafkaMetrics& metrics);

  absl::StatusOr<std::unique_ptr<Client>> MakeClient();
  absl::Status Admit(const std::vector<Event>& batch, size_t* bytes);
  void Produce(Client& client, Topic topic, PartitionId partition, Batch& batch);
  void Poll();
  void ReplaceClient();
  // Counts `count` events of the batch as answered; the last one calls back and deletes it.
  void Answer(Batch* batch, size_t count);
  static void OnDelivery(rd_kafka_t* handle, const rd_kafka_message_t* message, void* opaque);

  const KafkaLogOptions options_;
  const std::shared_ptr<const Clock> clock_;
  KafkaMetrics& metrics_;
  std::atomic<size_t> queue_bytes_ = 0;
  std::atomic<size_t> queue_events_ = 0;
  std::atomic<bool> stopping_ = false;
  absl::Mutex mutex_;
  // Held shared while producing, exclusively while the client is replaced.
  std::unique_ptr<Client> client_ ABSL_GUARDED_BY(mutex_);  // null while closing
  std::thread poller_;
};

}  // namespace sluice::eventlog

#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/append_admission.h"
#include "eventlog/kafka/append_progress.h"
#include "eventlog/kafka/metrics.h"
#include "eventlog/kafka/options.h"
#include "eventlog/log.h"

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_message_s rd_kafka_message_t;

namespace sluice::eventlog {

class KnownBrokers;
struct ProducerClient;

// The appending half of the Kafka log: an idempotent producer with acks=all, a bounded queue, and a
// thread that serves delivery reports. One callback per batch.
//
// In a partition no event becomes durable behind one that was appended before it and failed, unless
// the failure was told before (PartitionAppends). Therefore a partition that has confirmed nothing
// for options.append_timeout gives up all that it has in flight at once, and the producer is
// replaced, as it is after a fatal error (its sequence is lost, or a broker refuses events for
// good). Partitions that get on are waited for a moment, and notice nothing; what fails is
// kUnavailable. Thread-safe.
class KafkaProducer {
 public:
  // `metrics` and `brokers` must outlive the producer. Does not wait for a broker.
  static absl::StatusOr<std::unique_ptr<KafkaProducer>> Create(const KafkaLogOptions& options,
                                                               KafkaMetrics& metrics,
                                                               const KnownBrokers& brokers);

  // Waits for what is in flight until options.close_timeout after the last append, then fails the
  // rest: what has been waited for meanwhile, as others were closed, is not waited for again.
  ~KafkaProducer();

  // As Log::AppendAsync(); `partition` exists. Refusals call `done` on this thread.
  void Append(Topic topic, PartitionId partition, std::vector<Event> batch,
              Log::AppendCallback done);

 private:
  struct Batch;

  KafkaProducer(const KafkaLogOptions& options, KafkaMetrics& metrics, const KnownBrokers& brokers);

  // These return how many of the batch's events, its last ones, nobody will report on: the caller
  // answers for them, under no lock. Where that is 0 the batch may be gone.
  size_t TakeIn(Batch* batch) ABSL_SHARED_LOCKS_REQUIRED(mutex_);
  static size_t Produce(ProducerClient& client, Batch& batch);
  static size_t Refuse(Batch* batch);
  void Poll();
  void AwaitConnection(ProducerClient& client, ProducerClient& old);
  // Where no new one can be made, the old one stays.
  void ReplaceClient();
  // Hands over to it what was held back, too.
  void UseClient(std::unique_ptr<ProducerClient> client);
  // Counts `count` events of the batch as answered; the last one calls back and deletes it.
  void Answer(Batch* batch, size_t count);
  static void OnDelivery(rd_kafka_t* handle, const rd_kafka_message_t* message, void* opaque);

  const KafkaLogOptions options_;
  const std::shared_ptr<const Clock> clock_;
  KafkaMetrics& metrics_;
  const KnownBrokers& brokers_;
  AppendAdmission admission_;
  AppendProgress progress_;
  std::atomic<SteadyTime> last_append_ = SteadyTime();
  std::atomic<bool> stopping_ = false;
  absl::Mutex mutex_;
  // Held shared while producing, exclusively while the client is replaced.
  std::unique_ptr<ProducerClient> client_ ABSL_GUARDED_BY(mutex_);  // null while closing
  absl::Mutex held_mutex_ ABSL_ACQUIRED_AFTER(mutex_);
  // What came since the client is being replaced, in its order; none while it is not.
  std::optional<std::vector<Batch*>> held_ ABSL_GUARDED_BY(held_mutex_);
  std::thread poller_;
};

}  // namespace sluice::eventlog

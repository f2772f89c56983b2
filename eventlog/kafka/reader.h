#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/kafka/consumer_pool.h"
#include "eventlog/kafka/control.h"
#include "eventlog/kafka/metrics.h"
#include "eventlog/log.h"

namespace sluice::eventlog {

// Reads one partition through a consumer of the pool, over a queue of its own. Consuming starts
// with the first Read(), and anew at next() after an error. Offsets that hold no event (control
// records of transactions, aborted events) are passed over when the end behind them is reached:
// next() then is that end, and Read() returns at once, empty, so that "next() >= end" says exactly
// whether everything below a known end has been read. Thread-safety as Reader.
class KafkaReader final : public Reader {
 public:
  // `control` and `metrics` must outlive the reader.
  KafkaReader(std::unique_ptr<ConsumerPool::Lease> lease, KafkaControl& control,
              KafkaMetrics& metrics, Topic topic, PartitionId partition, Offset from);
  ~KafkaReader() override;

  absl::StatusOr<std::vector<StoredEvent>> Read(const ReadLimits& limits) override;
  Offset next() const override { return next_; }
  void Cancel() override;

 private:
  // kCancelled after Cancel().
  absl::Status StartConsuming();
  void StopConsuming();
  // Fills fetched_ with at least one message, unless `wait` or Cancel() ends it.
  absl::Status Fetch(std::chrono::milliseconds wait);
  // Has librdkafka ask for more where it rests though there is more, up to a second.
  void WakeFetcher();
  // The end at `end` has been reached: true where next() moves over offsets without events.
  bool PassTo(Offset end);
  // What librdkafka's error in place of a message means to the caller.
  absl::Status ErrorOf(const rd_kafka_message_t& message);
  absl::Status CheckCancelled();

  const std::unique_ptr<ConsumerPool::Lease> lease_;
  KafkaControl& control_;
  KafkaMetrics& metrics_;
  const Topic topic_;
  const PartitionId partition_;
  Offset next_;
  std::deque<KafkaMessage> fetched_;  // what Read()'s limits left: at most one fetch's messages
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  // Null while not consuming. Changed by the reading thread only, used by Cancel().
  KafkaQueue queue_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::eventlog

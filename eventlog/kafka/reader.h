#pragma once

#include <deque>
#include <memory>
#include <optional>
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
//
// What one session() returns came over one connection from one broker. librdkafka connects anew, or
// asks another leader, without a word, and by then its queue may hold what came before and what
// came after. So where a connection of the handle has ended (ConsumerPool::Lease), nothing is kept
// that is in the queue or that Read() has taken since it last looked: it is fetched again, in a new
// session. Of several brokers each message names its own. What this does not tell is a leader that
// another one replaced, that took over from that one what it lacked, and that leads again, all
// while its connection stayed and nothing came from the other one; messages have the leader's epoch
// (rd_kafka_message_leader_epoch()) from librdkafka 2.1 on, and Debian 12 has 2.0.
class KafkaReader final : public Reader {
 public:
  // `control` and `metrics` must outlive the reader.
  KafkaReader(std::unique_ptr<ConsumerPool::Lease> lease, KafkaControl& control,
              KafkaMetrics& metrics, Topic topic, PartitionId partition, Offset from);
  ~KafkaReader() override;

  absl::StatusOr<std::vector<StoredEvent>> Read(const ReadLimits& limits) override;
  Offset next() const override { return next_; }
  uint64_t session() const override { return session_; }
  void Cancel() override;

 private:
  // Read(), of whatever comes.
  absl::StatusOr<std::vector<StoredEvent>> Take(const ReadLimits& limits, SteadyTime deadline);
  void CountRead(const absl::StatusOr<std::vector<StoredEvent>>& events);
  // kCancelled after Cancel().
  absl::Status StartConsuming();
  void StopConsuming();
  // Fills fetched_ with at least one message, unless `wait` or Cancel() ends it. With a `wait` only
  // where this Read() has taken nothing yet.
  absl::Status Fetch(std::chrono::milliseconds wait);
  void BeginSessionWhereEmpty(rd_kafka_queue_t* queue);
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
  uint64_t session_ = 0;
  uint64_t connections_lost_ = 0;  // when the session began
  std::optional<int32_t> broker_;  // of the session's messages; not before the first
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  // Null while not consuming. Changed by the reading thread only, used by Cancel().
  KafkaQueue queue_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::eventlog

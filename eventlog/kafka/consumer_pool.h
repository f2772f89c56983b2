#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/kafka/handles.h"
#include "eventlog/kafka/options.h"
#include "schemas/base/ids.h"

namespace sluice::eventlog {

class KnownBrokers;

// Consumer handles shared by readers. A handle costs threads and connections but serves one reader
// of every partition, so there are as many as the most readers that one partition ever had at a
// time. Handles stay until the pool goes. Thread-safe.
class ConsumerPool {
 public:
  // What becomes of the connections of a handle.
  struct Connections {
    std::atomic<uint64_t> lost{0};
    absl::Mutex mutex;
    std::set<rd_kafka_queue_t*> watched ABSL_GUARDED_BY(mutex);
  };

  // The right to consume one partition through one handle, given back by destruction.
  class Lease {
   public:
    Lease(ConsumerPool* pool, size_t consumer, std::string topic, PartitionId partition);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    rd_kafka_t* handle() const { return handle_; }
    rd_kafka_topic_t* topic() const { return topic_handle_; }
    // How many of the handle's connections that had brought something have ended. Counted by the
    // thread that serves the connection, before it connects again: a message that came over a new
    // one is not taken from a queue before the count has gone up.
    uint64_t connections_lost() const;
    // Until Unwatch(), whoever waits for the queue is woken when such a connection ends, which is
    // before it has been made anew.
    void Watch(rd_kafka_queue_t* queue);
    void Unwatch(rd_kafka_queue_t* queue);

   private:
    friend class ConsumerPool;
    ConsumerPool* pool_;
    size_t consumer_;
    std::pair<std::string, PartitionId> place_;
    rd_kafka_t* handle_ = nullptr;
    rd_kafka_topic_t* topic_handle_ = nullptr;
    Connections* connections_ = nullptr;
  };

  // What its readers read: on and on, or an event or two (Log::OpenPointReader()).
  enum class Use { kStreams, kPoints };

  // `brokers` must outlive it.
  ConsumerPool(const KafkaLogOptions& options, Use use, const KnownBrokers& brokers)
      : options_(options), use_(use), brokers_(brokers) {}

  // kResourceExhausted, code "too_many_readers", where the partition has as many readers as
  // options.readers_per_partition_max. The pool must outlive the lease.
  absl::StatusOr<std::unique_ptr<Lease>> Acquire(const std::string& topic, PartitionId partition);

 private:
  struct Consumer {
    Connections connections;  // used by threads of the handle, which goes before
    KafkaHandle handle;
    std::map<std::string, KafkaTopic> topics;  // destroyed before the handle
    std::set<std::pair<std::string, PartitionId>> leased;
  };

  absl::StatusOr<std::unique_ptr<Consumer>> MakeConsumer() const;
  void Release(const Lease& lease);

  const KafkaLogOptions options_;
  const Use use_;
  const KnownBrokers& brokers_;
  absl::Mutex mutex_;
  std::vector<std::unique_ptr<Consumer>> consumers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::eventlog

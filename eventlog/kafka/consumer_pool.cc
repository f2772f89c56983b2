#include "eventlog/kafka/consumer_pool.h"

#include <fmt/format.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>

#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/known_brokers.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

// Of point readers: a broker always sends the whole of the record batch that holds the event.
constexpr size_t kPointFetchBytesMax = 4 << 10;

// Has anything come over this connection? One that was refused, as by a broker that is down and is
// tried again and again, is no loss. Where the system does not say, something has.
bool HasReceived(int socket) {
  tcp_info info{};
  socklen_t size = sizeof(info);
  constexpr size_t kNeeded =
      offsetof(tcp_info, tcpi_bytes_received) + sizeof(info.tcpi_bytes_received);
  return getsockopt(socket, IPPROTO_TCP, TCP_INFO, &info, &size) != 0 || size < kNeeded ||
         info.tcpi_bytes_received > 0;
}

// Called by librdkafka in place of close().
int CloseSocket(int socket, void* opaque) {
  if (HasReceived(socket)) {
    auto& connections = *static_cast<ConsumerPool::Connections*>(opaque);
    ++connections.lost;
    const absl::MutexLock lock(&connections.mutex);
    for (rd_kafka_queue_t* queue : connections.watched) {
      rd_kafka_queue_yield(queue);
    }
  }
  return close(socket);
}

}  // namespace

ConsumerPool::Lease::Lease(ConsumerPool* pool, size_t consumer, std::string topic,
                           PartitionId partition)
    : pool_(pool), consumer_(consumer), place_(std::move(topic), partition) {}

ConsumerPool::Lease::~Lease() { pool_->Release(*this); }

uint64_t ConsumerPool::Lease::connections_lost() const { return connections_->lost; }

void ConsumerPool::Lease::Watch(rd_kafka_queue_t* queue) {
  const absl::MutexLock lock(&connections_->mutex);
  connections_->watched.insert(queue);
}

void ConsumerPool::Lease::Unwatch(rd_kafka_queue_t* queue) {
  const absl::MutexLock lock(&connections_->mutex);
  connections_->watched.erase(queue);
}

absl::StatusOr<std::unique_ptr<ConsumerPool::Lease>> ConsumerPool::Acquire(const std::string& topic,
                                                                           PartitionId partition) {
  const auto place = std::make_pair(topic, partition);
  const absl::MutexLock lock(&mutex_);
  size_t index = 0;
  while (index < consumers_.size() && consumers_[index]->leased.contains(place)) {
    ++index;
  }
  if (index >= static_cast<size_t>(options_.readers_per_partition_max)) {
    return Error(StatusCode::kResourceExhausted, "too_many_readers",
                 "{}-{} has {} readers at once, which is the limit: close one", topic,
                 partition.value(), index);
  }
  if (index == consumers_.size()) {
    ASSIGN_OR_RETURN(auto made, MakeConsumer());
    consumers_.push_back(std::move(made));
  }
  Consumer& consumer = *consumers_[index];
  KafkaTopic& topic_handle = consumer.topics[topic];
  if (topic_handle == nullptr) {
    topic_handle.reset(rd_kafka_topic_new(consumer.handle.get(), topic.c_str(), nullptr));
    if (topic_handle == nullptr) {
      return KafkaError(rd_kafka_last_error(), fmt::format("cannot read topic {}", topic));
    }
  }
  consumer.leased.insert(place);
  auto lease = std::make_unique<Lease>(this, index, topic, partition);
  lease->handle_ = consumer.handle.get();
  lease->topic_handle_ = topic_handle.get();
  lease->connections_ = &consumer.connections;
  return lease;
}

void ConsumerPool::Release(const Lease& lease) {
  const absl::MutexLock lock(&mutex_);
  consumers_[lease.consumer_]->leased.erase(lease.place_);
}

absl::StatusOr<std::unique_ptr<ConsumerPool::Consumer>> ConsumerPool::MakeConsumer() const {
  const bool points = use_ == Use::kPoints;
  const size_t fetch_bytes =
      points ? kPointFetchBytesMax : std::min(kFetchBytesMax, options_.reader_queue_bytes_max);
  // The bytes are the limit; of point readers the first fetch is, if it has any. A broker has one
  // fetch of a handle at a time, for all its partitions: a reader that is opened waits for the
  // running one, and what comes after a silence waits for such a reader. 15 ms cost an idle process
  // of 8 partitions 1.9 % of a core, 50 ms 1.6 %; an event after a quiet second is applied in 19
  // ms, else in 39 to 69.
  ConsumerLimits limits{.fetch_bytes_max = fetch_bytes,
                        .fetch_wait = std::chrono::milliseconds(15)};
  if (points) {
    limits.queue_messages_min = 1;
  }
  ASSIGN_OR_RETURN(KafkaConf conf, MakeConsumerConf(options_, limits));
  auto consumer = std::make_unique<Consumer>();
  rd_kafka_conf_set_opaque(conf.get(), &consumer->connections);
  rd_kafka_conf_set_closesocket_cb(conf.get(), CloseSocket);
  ASSIGN_OR_RETURN(consumer->handle, MakeHandle(RD_KAFKA_CONSUMER, std::move(conf)));
  brokers_.AddTo(consumer->handle.get());
  return consumer;
}

}  // namespace sluice::eventlog

#include "eventlog/kafka/producer_client.h"

#include <fmt/format.h>

#include <string>
#include <utility>

#include "eventlog/kafka/admin.h"
#include "eventlog/kafka/conf.h"
#include "eventlog/kafka/known_brokers.h"
#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

// After a purge; what it missed is purged again then.
constexpr int kPurgedWaitMs = 100;

}  // namespace

absl::StatusOr<std::unique_ptr<ProducerClient>> MakeProducerClient(
    const KafkaLogOptions& options, const KnownBrokers& brokers,
    void (*on_delivery)(rd_kafka_t*, const rd_kafka_message_t*, void*)) {
  ASSIGN_OR_RETURN(
      KafkaConf conf,
      MakeConf(options, {{"enable.idempotence", "true"},
                         {"acks", "all"},
                         // A topic that is gone must not come back empty.
                         {"allow.auto.create.topics", "false"},
                         // librdkafka gives up each event by itself, at a look once a second:
                         // the first ones of a batch, and a broker that is back then gets the
                         // rest. KafkaProducer gives up instead, and all of it.
                         {"message.timeout.ms", "0"},
                         // Likewise where the broker refuses some for good: the error is fatal.
                         {"enable.gapless.guarantee", "true"},
                         {"message.max.bytes",
                          std::to_string(options.limits.event_bytes_max + kRecordOverheadMax)},
                         // The queue is bounded by AppendLimits, batch by batch; librdkafka would
                         // bound it event by event and take half a batch.
                         {"queue.buffering.max.messages", "10000000"},
                         {"queue.buffering.max.kbytes", "2097151"},
                         {"linger.ms", "1"},
                         {"batch.size", std::to_string(kRecordBatchBytes)},
                         {"compression.codec", "lz4"}}));
  auto client = std::make_unique<ProducerClient>();
  rd_kafka_conf_set_opaque(conf.get(), client.get());
  rd_kafka_conf_set_dr_msg_cb(conf.get(), on_delivery);
  rd_kafka_conf_set_error_cb(conf.get(), [](rd_kafka_t*, int error, const char*, void* opaque) {
    if (error == RD_KAFKA_RESP_ERR__FATAL) {
      static_cast<ProducerClient*>(opaque)->fatal = true;
    }
  });
  ASSIGN_OR_RETURN(client->handle, MakeHandle(RD_KAFKA_PRODUCER, std::move(conf)));
  brokers.AddTo(client->handle.get());
  for (const Topic topic : kAllTopics) {
    const std::string name = options.topic_prefix + std::string(TopicName(topic));
    client->topics[topic].reset(rd_kafka_topic_new(client->handle.get(), name.c_str(), nullptr));
    if (client->topics[topic] == nullptr) {
      return KafkaError(rd_kafka_last_error(), fmt::format("cannot use topic {}", name));
    }
  }
  return client;
}

void FailWhatIsLeft(ProducerClient& client) {
  rd_kafka_t* handle = client.handle.get();
  if (rd_kafka_outq_len(handle) == 0) {
    return;
  }
  // A purge goes through the queues one after the other: what it has not come to yet must not be
  // sent behind what it has taken away. A producer with a fatal error sends nothing any more, and
  // this is the one call that makes it so; without effect where it has such an error.
  (void)rd_kafka_test_fatal_error(handle, RD_KAFKA_RESP_ERR__TIMED_OUT, "given up");
  do {
    // A partition that goes from one broker to another just now is in no broker's queues, and is
    // missed; with no time-out it would stay for good.
    rd_kafka_purge(handle, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    rd_kafka_flush(handle, kPurgedWaitMs);
  } while (rd_kafka_outq_len(handle) > 0);
}

}  // namespace sluice::eventlog

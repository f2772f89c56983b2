#pragma once

#include <librdkafka/rdkafka.h>

#include <atomic>
#include <map>
#include <memory>

#include "absl/status/statusor.h"
#include "eventlog/kafka/handles.h"
#include "eventlog/kafka/options.h"
#include "eventlog/log.h"

// Included by the .cc files of this folder only: it brings librdkafka's header.
namespace sluice::eventlog {

class KnownBrokers;

// An idempotent producer of librdkafka with acks=all and its topics. It never leaves an event out
// and goes on behind it: it has no time-out of its own, which would end single events and send the
// next ones, and what a broker refuses for good ends it as a whole. Thread-safe.
struct ProducerClient {
  KafkaHandle handle;
  std::map<Topic, KafkaTopic> topics;  // destroyed before the handle
  std::atomic<bool> fatal = false;     // nothing more can be produced
};

// `on_delivery` is called for each event, by whoever polls the handle. Does not wait for a broker.
absl::StatusOr<std::unique_ptr<ProducerClient>> MakeProducerClient(
    const KafkaLogOptions& options, const KnownBrokers& brokers,
    void (*on_delivery)(rd_kafka_t*, const rd_kafka_message_t*, void*));

// Serves the reports of all that is left in it, which fails. Nothing is produced meanwhile.
void FailWhatIsLeft(ProducerClient& client);

}  // namespace sluice::eventlog

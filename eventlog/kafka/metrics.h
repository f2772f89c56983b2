#pragma once

#include <memory>
#include <string>

#include "eventlog/log.h"

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

namespace sluice::eventlog {

// What the Kafka log counts: the embedded log's families where both have them, with the label
// log="kafka". Thread-safe.
class KafkaMetrics {
 public:
  // Registers the families in `registry`, or in one of its own where that is null.
  KafkaMetrics(std::shared_ptr<prometheus::Registry> registry, const AppendLimits& limits);
  ~KafkaMetrics();

  // Counts an append that got an error, by its stable code.
  void AppendFailed(const std::string& code);

  // Whether the topic has the fault of the code.
  void SetTopicFault(Topic topic, const std::string& code, bool present);

 private:
  std::shared_ptr<prometheus::Registry> registry_;  // outlives the members below

 public:
  prometheus::Counter& appended_events;
  prometheus::Counter& appended_bytes;
  prometheus::Counter& producer_restarts;
  prometheus::Gauge& queue_bytes;
  prometheus::Gauge& queue_events;
  prometheus::Histogram& append_seconds;
  prometheus::Counter& read_events;
  prometheus::Counter& read_bytes;
  prometheus::Gauge& open_readers;
  prometheus::Gauge& healthy;
};

}  // namespace sluice::eventlog

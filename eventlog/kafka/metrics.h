#pragma once

#include <memory>

namespace prometheus {
class Counter;
class Gauge;
class Histogram;
class Registry;
}  // namespace prometheus

namespace sluice::eventlog {

// What the Kafka log counts. Thread-safe; every member is set.
class KafkaMetrics {
 public:
  // Registers the families in `registry`, or in one of its own where that is null.
  explicit KafkaMetrics(std::shared_ptr<prometheus::Registry> registry);
  ~KafkaMetrics();

 private:
  std::shared_ptr<prometheus::Registry> registry_;  // outlives the members below

 public:
  prometheus::Counter& appended_events;
  prometheus::Counter& appended_bytes;
  prometheus::Counter& append_failures;
  prometheus::Counter& append_refusals;
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

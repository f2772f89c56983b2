#pragma once

#include <memory>
#include <string>

#include "eventlog/log.h"
#include "schemas/base/metrics.h"

namespace sluice::eventlog {

// What the Kafka log counts: the embedded log's families where both have them, with the label
// log="kafka". Thread-safe.
class KafkaMetrics {
 public:
  // Registers the families in `registry`, or in one of its own where that is null.
  KafkaMetrics(std::shared_ptr<prometheus::Registry> registry, const AppendLimits& limits);

  // Counts an append that got an error, by its stable code.
  void AppendFailed(const std::string& code);

  // Whether the topic has the fault of the code.
  void SetTopicFault(Topic topic, const std::string& code, bool present);

 private:
  // Before the metrics.
  const std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Registry& r_ = *registry_;
  const prometheus::Labels labels_{{"log", "kafka"}};

 public:
  prometheus::Counter& appended_events =
      AddCounter(r_, "sluice_eventlog_append_events_total",
                 "Events acknowledged by all in-sync replicas", labels_);
  prometheus::Counter& appended_bytes = AddCounter(r_, "sluice_eventlog_append_bytes_total",
                                                   "Bytes of the acknowledged events", labels_);
  prometheus::Counter& producer_restarts = AddCounter(
      r_, "sluice_eventlog_producer_restarts_total",
      "Producers replaced, after a fatal error or because a partition was silent", labels_);
  prometheus::Gauge& queue_bytes =
      AddGauge(r_, "sluice_eventlog_append_queue_bytes",
               "Bytes of the events taken and not yet answered", labels_);
  prometheus::Gauge& queue_events = AddGauge(r_, "sluice_eventlog_append_queue_events",
                                             "Events taken and not yet answered", labels_);
  prometheus::Histogram& append_seconds = AddHistogram(
      r_, "sluice_eventlog_append_seconds", "From taking a batch to its answer",
      {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}, labels_);
  prometheus::Counter& read_events =
      AddCounter(r_, "sluice_eventlog_read_events_total", "Events that readers returned", labels_);
  prometheus::Counter& read_bytes = AddCounter(
      r_, "sluice_eventlog_read_bytes_total", "Bytes of the events that readers returned", labels_);
  prometheus::Gauge& open_readers =
      AddGauge(r_, "sluice_eventlog_open_readers", "Readers that are open", labels_);
  prometheus::Gauge& healthy =
      AddGauge(r_, "sluice_eventlog_healthy",
               "1 while the brokers answer and every partition has a leader", labels_);
};

}  // namespace sluice::eventlog

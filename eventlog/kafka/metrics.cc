#include "eventlog/kafka/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <utility>

namespace sluice::eventlog {

KafkaMetrics::KafkaMetrics(std::shared_ptr<prometheus::Registry> registry,
                           const AppendLimits& limits)
    : registry_(RegistryOrNew(std::move(registry))) {
  AddGauge(r_, "sluice_eventlog_append_queue_bytes_limit", "Bytes above which appends are refused",
           labels_)
      .Set(static_cast<double>(limits.queue_bytes_max));
  AddGauge(r_, "sluice_eventlog_append_queue_events_limit",
           "Events above which appends are refused", labels_)
      .Set(static_cast<double>(limits.queue_events_max));
}

void KafkaMetrics::SetTopicFault(Topic topic, const std::string& code, bool present) {
  AddGauge(r_, "sluice_eventlog_topic_fault",
           "1 while a topic does not fit the log: its partitions, settings, begin or history.",
           {{"log", "kafka"}, {"topic", std::string(TopicName(topic))}, {"code", code}})
      .Set(present ? 1 : 0);
}

void KafkaMetrics::AppendFailed(const std::string& code) {
  AddCounter(r_, "sluice_eventlog_append_failures_total", "Appends that got an error, by its code.",
             {{"log", "kafka"}, {"code", code}})
      .Increment();
}

}  // namespace sluice::eventlog

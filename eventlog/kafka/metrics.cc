#include "eventlog/kafka/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <utility>

#include "schemas/base/metrics.h"

namespace sluice::eventlog {
namespace {

const prometheus::Labels kLabels = {{"log", "kafka"}};

}  // namespace

KafkaMetrics::KafkaMetrics(std::shared_ptr<prometheus::Registry> registry,
                           const AppendLimits& limits)
    : registry_(RegistryOrNew(std::move(registry))),
      appended_events(AddCounter(*registry_, "sluice_eventlog_append_events_total",
                                 "Events acknowledged by all in-sync replicas", kLabels)),
      appended_bytes(AddCounter(*registry_, "sluice_eventlog_append_bytes_total",
                                "Bytes of the acknowledged events", kLabels)),
      producer_restarts(AddCounter(
          *registry_, "sluice_eventlog_producer_restarts_total",
          "Producers replaced, after a fatal error or because a partition was silent", kLabels)),
      queue_bytes(AddGauge(*registry_, "sluice_eventlog_append_queue_bytes",
                           "Bytes of the events taken and not yet answered", kLabels)),
      queue_events(AddGauge(*registry_, "sluice_eventlog_append_queue_events",
                            "Events taken and not yet answered", kLabels)),
      append_seconds(AddHistogram(
          *registry_, "sluice_eventlog_append_seconds", "From taking a batch to its answer",
          {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30}, kLabels)),
      read_events(AddCounter(*registry_, "sluice_eventlog_read_events_total",
                             "Events that readers returned", kLabels)),
      read_bytes(AddCounter(*registry_, "sluice_eventlog_read_bytes_total",
                            "Bytes of the events that readers returned", kLabels)),
      open_readers(
          AddGauge(*registry_, "sluice_eventlog_open_readers", "Readers that are open", kLabels)),
      healthy(AddGauge(*registry_, "sluice_eventlog_healthy",
                       "1 while the brokers answer and every partition has a leader", kLabels)) {
  AddGauge(*registry_, "sluice_eventlog_append_queue_bytes_limit",
           "Bytes above which appends are refused", kLabels)
      .Set(static_cast<double>(limits.queue_bytes_max));
  AddGauge(*registry_, "sluice_eventlog_append_queue_events_limit",
           "Events above which appends are refused", kLabels)
      .Set(static_cast<double>(limits.queue_events_max));
}

KafkaMetrics::~KafkaMetrics() = default;

void KafkaMetrics::SetTopicFault(Topic topic, const std::string& code, bool present) {
  AddGauge(*registry_, "sluice_eventlog_topic_fault",
           "1 while a topic does not fit the log: its partitions, settings, begin or history.",
           {{"log", "kafka"}, {"topic", std::string(TopicName(topic))}, {"code", code}})
      .Set(present ? 1 : 0);
}

void KafkaMetrics::AppendFailed(const std::string& code) {
  AddCounter(*registry_, "sluice_eventlog_append_failures_total",
             "Appends that got an error, by its code.", {{"log", "kafka"}, {"code", code}})
      .Increment();
}

}  // namespace sluice::eventlog

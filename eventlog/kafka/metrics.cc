#include "eventlog/kafka/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <utility>

namespace sluice::eventlog {
namespace {

const prometheus::Labels kLabels = {{"log", "kafka"}};

prometheus::Counter& Counter(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(registry).Add(kLabels);
}

prometheus::Gauge& Gauge(prometheus::Registry& registry, const char* name, const char* help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add(kLabels);
}

}  // namespace

KafkaMetrics::KafkaMetrics(std::shared_ptr<prometheus::Registry> registry,
                           const AppendLimits& limits)
    : registry_(registry != nullptr ? std::move(registry)
                                    : std::make_shared<prometheus::Registry>()),
      appended_events(Counter(*registry_, "sluice_eventlog_append_events_total",
                              "Events acknowledged by all in-sync replicas")),
      appended_bytes(Counter(*registry_, "sluice_eventlog_append_bytes_total",
                             "Bytes of the acknowledged events")),
      producer_restarts(
          Counter(*registry_, "sluice_eventlog_producer_restarts_total",
                  "Producers replaced, after a fatal error or because a partition was silent")),
      queue_bytes(Gauge(*registry_, "sluice_eventlog_append_queue_bytes",
                        "Bytes of the events taken and not yet answered")),
      queue_events(Gauge(*registry_, "sluice_eventlog_append_queue_events",
                         "Events taken and not yet answered")),
      append_seconds(
          prometheus::BuildHistogram()
              .Name("sluice_eventlog_append_seconds")
              .Help("From taking a batch to its answer")
              .Register(*registry_)
              .Add({},
                   prometheus::Histogram::BucketBoundaries{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                           0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30})),
      read_events(
          Counter(*registry_, "sluice_eventlog_read_events_total", "Events that readers returned")),
      read_bytes(Counter(*registry_, "sluice_eventlog_read_bytes_total",
                         "Bytes of the events that readers returned")),
      open_readers(Gauge(*registry_, "sluice_eventlog_open_readers", "Readers that are open")),
      healthy(Gauge(*registry_, "sluice_eventlog_healthy",
                    "1 while the brokers answer and every partition has a leader")) {
  Gauge(*registry_, "sluice_eventlog_append_queue_bytes_limit",
        "Bytes above which appends are refused")
      .Set(static_cast<double>(limits.queue_bytes_max));
  Gauge(*registry_, "sluice_eventlog_append_queue_events_limit",
        "Events above which appends are refused")
      .Set(static_cast<double>(limits.queue_events_max));
}

KafkaMetrics::~KafkaMetrics() = default;

void KafkaMetrics::SetTopicFault(Topic topic, const std::string& code, bool present) {
  prometheus::BuildGauge()
      .Name("sluice_eventlog_topic_fault")
      .Help("1 while a topic does not fit the log: its partitions, settings, begin or history.")
      .Register(*registry_)
      .Add({{"log", "kafka"}, {"topic", std::string(TopicName(topic))}, {"code", code}})
      .Set(present ? 1 : 0);
}

void KafkaMetrics::AppendFailed(const std::string& code) {
  prometheus::BuildCounter()
      .Name("sluice_eventlog_append_failures_total")
      .Help("Appends that got an error, by its code.")
      .Register(*registry_)
      .Add({{"log", "kafka"}, {"code", code}})
      .Increment();
}

}  // namespace sluice::eventlog

#include "eventlog/embedded/log_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <utility>

namespace sluice::eventlog {
LogMetrics::LogMetrics(std::shared_ptr<prometheus::Registry> registry, const AppendLimits& limits)
    : registry_(RegistryOrNew(std::move(registry))) {
  AddGauge(r_, "sluice_eventlog_append_queue_events_limit",
           "Events above which appends are refused.", labels_)
      .Set(static_cast<double>(limits.queue_events_max));
  AddGauge(r_, "sluice_eventlog_append_queue_bytes_limit", "Bytes above which appends are refused.",
           labels_)
      .Set(static_cast<double>(limits.queue_bytes_max));
}

void LogMetrics::Appended(size_t events, size_t bytes) {
  events_.Increment(static_cast<double>(events));
  bytes_.Increment(static_cast<double>(bytes));
}

void LogMetrics::Synced(size_t events, size_t batches, std::chrono::duration<double> took) {
  syncs_.Increment();
  sync_events_.Observe(static_cast<double>(events));
  sync_batches_.Observe(static_cast<double>(batches));
  sync_seconds_.Observe(took.count());
}

void LogMetrics::Answered(std::chrono::duration<double> latency) {
  append_seconds_.Observe(latency.count());
}

void LogMetrics::Failed(const std::string& code) {
  AddCounter(r_, "sluice_eventlog_append_failures_total", "Appends that got an error, by its code.",
             {{"log", "embedded"}, {"code", code}})
      .Increment();
}

void LogMetrics::Queued(size_t events, size_t bytes) {
  queue_events_.Increment(static_cast<double>(events));
  queue_bytes_.Increment(static_cast<double>(bytes));
}

void LogMetrics::Unqueued(size_t events, size_t bytes) {
  queue_events_.Decrement(static_cast<double>(events));
  queue_bytes_.Decrement(static_cast<double>(bytes));
}

}  // namespace sluice::eventlog

#include "eventlog/embedded/log_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <utility>

#include "schemas/base/metrics.h"

namespace sluice::eventlog {
namespace {

using prometheus::Histogram;

const prometheus::Labels kLabels = {{"log", "embedded"}};

const Histogram::BucketBoundaries kSeconds = {0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01,
                                              0.025,  0.05,    0.1,    0.25,  0.5,    1,     5};
const Histogram::BucketBoundaries kCounts = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536};

}  // namespace

LogMetrics::LogMetrics(std::shared_ptr<prometheus::Registry> registry, const AppendLimits& limits)
    : registry_(RegistryOrNew(std::move(registry))) {
  auto& r = *registry_;
  events_ =
      &AddCounter(r, "sluice_eventlog_append_events_total", "Events that became durable.", kLabels);
  bytes_ =
      &AddCounter(r, "sluice_eventlog_append_bytes_total", "Bytes that became durable.", kLabels);
  syncs_ = &AddCounter(r, "sluice_eventlog_syncs_total", "Synced writes.", kLabels);
  queue_events_ =
      &AddGauge(r, "sluice_eventlog_append_queue_events", "Events not answered yet.", kLabels);
  queue_bytes_ =
      &AddGauge(r, "sluice_eventlog_append_queue_bytes", "Bytes not answered yet.", kLabels);
  AddGauge(r, "sluice_eventlog_append_queue_events_limit",
           "Events above which appends are refused.", kLabels)
      .Set(static_cast<double>(limits.queue_events_max));
  AddGauge(r, "sluice_eventlog_append_queue_bytes_limit", "Bytes above which appends are refused.",
           kLabels)
      .Set(static_cast<double>(limits.queue_bytes_max));
  sync_events_ = &AddHistogram(r, "sluice_eventlog_sync_events",
                               "Events that share a synced write.", kCounts, kLabels);
  sync_batches_ = &AddHistogram(r, "sluice_eventlog_sync_batches",
                                "Appends that share a synced write.", kCounts, kLabels);
  sync_seconds_ = &AddHistogram(r, "sluice_eventlog_sync_seconds", "Time of a synced write.",
                                kSeconds, kLabels);
  append_seconds_ = &AddHistogram(r, "sluice_eventlog_append_seconds",
                                  "Time from an append to its answer.", kSeconds, kLabels);
}

void LogMetrics::Appended(size_t events, size_t bytes) {
  events_->Increment(static_cast<double>(events));
  bytes_->Increment(static_cast<double>(bytes));
}

void LogMetrics::Synced(size_t events, size_t batches, std::chrono::duration<double> took) {
  syncs_->Increment();
  sync_events_->Observe(static_cast<double>(events));
  sync_batches_->Observe(static_cast<double>(batches));
  sync_seconds_->Observe(took.count());
}

void LogMetrics::Answered(std::chrono::duration<double> latency) {
  append_seconds_->Observe(latency.count());
}

void LogMetrics::Failed(const std::string& code) {
  AddCounter(*registry_, "sluice_eventlog_append_failures_total",
             "Appends that got an error, by its code.", {{"log", "embedded"}, {"code", code}})
      .Increment();
}

void LogMetrics::Queued(size_t events, size_t bytes) {
  queue_events_->Increment(static_cast<double>(events));
  queue_bytes_->Increment(static_cast<double>(bytes));
}

void LogMetrics::Unqueued(size_t events, size_t bytes) {
  queue_events_->Decrement(static_cast<double>(events));
  queue_bytes_->Decrement(static_cast<double>(bytes));
}

}  // namespace sluice::eventlog

#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "eventlog/log.h"
#include "schemas/base/metrics.h"

namespace sluice::eventlog {

// The embedded log's metrics, all labelled log="embedded". Thread-safe.
class LogMetrics {
 public:
  // Registers with `registry`, or with one of its own that nobody reads.
  LogMetrics(std::shared_ptr<prometheus::Registry> registry, const AppendLimits& limits);

  void Appended(size_t events, size_t bytes);
  // One synced write of `events` from `batches` appends.
  void Synced(size_t events, size_t batches, std::chrono::duration<double> took);
  // From the call to the answer.
  void Answered(std::chrono::duration<double> latency);
  // An append that got an error with the stable code.
  void Failed(const std::string& code);
  // So much was taken, and was answered.
  void Queued(size_t events, size_t bytes);
  void Unqueued(size_t events, size_t bytes);

 private:
  static inline const std::vector<double> kSeconds = {
      0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5};
  static inline const std::vector<double> kCounts = {1, 4, 16, 64, 256, 1024, 4096, 16384, 65536};

  // Before the metrics.
  const std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Registry& r_ = *registry_;
  const prometheus::Labels labels_{{"log", "embedded"}};
  prometheus::Counter& events_ =
      AddCounter(r_, "sluice_eventlog_append_events_total", "Events that became durable.", labels_);
  prometheus::Counter& bytes_ =
      AddCounter(r_, "sluice_eventlog_append_bytes_total", "Bytes that became durable.", labels_);
  prometheus::Counter& syncs_ =
      AddCounter(r_, "sluice_eventlog_syncs_total", "Synced writes.", labels_);
  prometheus::Gauge& queue_events_ =
      AddGauge(r_, "sluice_eventlog_append_queue_events", "Events not answered yet.", labels_);
  prometheus::Gauge& queue_bytes_ =
      AddGauge(r_, "sluice_eventlog_append_queue_bytes", "Bytes not answered yet.", labels_);
  prometheus::Histogram& sync_events_ = AddHistogram(
      r_, "sluice_eventlog_sync_events", "Events that share a synced write.", kCounts, labels_);
  prometheus::Histogram& sync_batches_ = AddHistogram(
      r_, "sluice_eventlog_sync_batches", "Appends that share a synced write.", kCounts, labels_);
  prometheus::Histogram& sync_seconds_ = AddHistogram(r_, "sluice_eventlog_sync_seconds",
                                                      "Time of a synced write.", kSeconds, labels_);
  prometheus::Histogram& append_seconds_ =
      AddHistogram(r_, "sluice_eventlog_append_seconds", "Time from an append to its answer.",
                   kSeconds, labels_);
};

}  // namespace sluice::eventlog

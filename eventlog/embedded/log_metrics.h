#pragma once

#include <chrono>
#include <cstddef>
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
  std::shared_ptr<prometheus::Registry> registry_;
  prometheus::Counter* events_;
  prometheus::Counter* bytes_;
  prometheus::Counter* syncs_;
  prometheus::Gauge* queue_events_;
  prometheus::Gauge* queue_bytes_;
  prometheus::Histogram* sync_events_;
  prometheus::Histogram* sync_batches_;
  prometheus::Histogram* sync_seconds_;
  prometheus::Histogram* append_seconds_;
};

}  // namespace sluice::eventlog

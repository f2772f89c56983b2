#pragma once

#include <prometheus/registry.h>

#include <memory>
#include <string>

namespace prometheus {
class Counter;
class Gauge;
template <typename T>
class Family;
}  // namespace prometheus

namespace sluice::gateways {

// What the runner of sources tells of itself. Thread-safe.
struct SourceMetrics {
  explicit SourceMetrics(std::shared_ptr<prometheus::Registry> the_registry);

  // "done", "failed", "given_up" (no further attempt), "stopped", "superseded".
  void CountRun(const std::string& end) const;
  void CountRejected(const std::string& code) const;

  std::shared_ptr<prometheus::Registry> registry;  // keeps them
  prometheus::Family<prometheus::Counter>& runs;
  prometheus::Family<prometheus::Counter>& rejected;
  prometheus::Counter& rows;
  prometheus::Counter& sets;
  prometheus::Counter& resent;     // sets, as it was not known whether they had come
  prometheus::Counter& scheduled;  // items
  prometheus::Counter& malformed;  // events of `work`
  prometheus::Gauge& running;      // runs
  prometheus::Gauge& queued;       // runs that wait for a place
  prometheus::Gauge& overdue;      // streams whose item is open for longer than their interval
  prometheus::Gauge& partitions;   // that this process has
  prometheus::Gauge& not_ready;    // of them: whose runs have yet to begin
};

}  // namespace sluice::gateways

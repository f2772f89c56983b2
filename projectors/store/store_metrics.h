#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <string>

#include "projectors/fold/fold.h"
#include "schemas/base/metrics.h"

namespace sluice::projectors {

// The metrics of all stores (sluice_store_*). Thread-safe.
class StoreMetrics {
 public:
  // `registry` may be nullptr: then nobody reads them.
  explicit StoreMetrics(std::shared_ptr<prometheus::Registry> registry);
  ~StoreMetrics();

  void SetLimits(size_t open_stores_max, size_t cache_bytes_max, size_t memtable_bytes_max);
  struct Levels {
    size_t open_stores = 0;
    size_t stores = 0;
    size_t cache_bytes = 0;
    size_t memtable_bytes = 0;
    int64_t snapshots_held = 0;
  };
  void Set(const Levels& levels);
  void SetDiskBytes(double bytes);  // of the open stores

  void ObserveApply(std::chrono::nanoseconds duration, const FoldCounters& counters);
  void ObserveFlush(std::chrono::nanoseconds duration);
  void ObserveCheckpoint(std::chrono::nanoseconds duration);
  void CountError();
  void CountEviction();
  void CountSwept(size_t removals);  // erased because the horizon has passed them
  void ObserveStep(size_t held_bytes);
  void CountPart();  // a batch that ended within a large event
  void CountApart(const std::string& reason);
  void CountNotCompared();  // who needed a store compared was told to come again

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::projectors

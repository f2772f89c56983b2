#include "projectors/store/store_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <utility>

namespace sluice::projectors {
namespace {

using prometheus::Counter;
using prometheus::Gauge;
using prometheus::Histogram;
using prometheus::Registry;

const Histogram::BucketBoundaries kSeconds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                              0.1,    0.25,  0.5,    1,     2.5,  5,     10};
const Histogram::BucketBoundaries kStepBytes = {64 << 10, 256 << 10, 1 << 20,  4 << 20,
                                                16 << 20, 64 << 20,  128 << 20};

double Seconds(std::chrono::nanoseconds d) { return std::chrono::duration<double>(d).count(); }

}  // namespace

struct StoreMetrics::Impl {
  explicit Impl(std::shared_ptr<Registry> shared) : registry(std::move(shared)) {}
  // Before the metrics, which are made in it and are gone with it.
  const std::shared_ptr<Registry> registry;
  Registry& r = *registry;
  Gauge& open = AddGauge(r, "sluice_store_open_stores", "Stores that are open");
  Gauge& open_max = AddGauge(r, "sluice_store_open_stores_limit",
                             "Past it idle stores are closed, least recently used first");
  Gauge& stores = AddGauge(r, "sluice_store_stores", "Stores on disk");
  Gauge& cache = AddGauge(r, "sluice_store_cache_bytes", "Block cache in use");
  Gauge& cache_max = AddGauge(r, "sluice_store_cache_limit_bytes", "Block cache limit");
  Gauge& memtable = AddGauge(r, "sluice_store_memtable_bytes", "Written and not yet flushed");
  Gauge& memtable_max =
      AddGauge(r, "sluice_store_memtable_limit_bytes", "Past it the store with most is flushed");
  Gauge& snapshots = AddGauge(r, "sluice_store_snapshots_held", "Snapshots that readers hold");
  Gauge& disk = AddGauge(r, "sluice_store_disk_bytes", "Tables of the open stores");
  Histogram& apply =
      AddHistogram(r, "sluice_store_apply_seconds", "Folding one batch of events", kSeconds);
  Histogram& step = AddHistogram(
      r, "sluice_store_step_bytes",
      "Held by a batch of one organisation: rows read, and what it writes", kStepBytes);
  Histogram& flush = AddHistogram(r, "sluice_store_flush_seconds", "Flushing one store", kSeconds);
  Histogram& checkpoint =
      AddHistogram(r, "sluice_store_checkpoint_seconds", "Checkpointing one partition", kSeconds);
  Counter& events = AddCounter(r, "sluice_store_events_total", "Events folded");
  Counter& ops = AddCounter(r, "sluice_store_operations_total", "Operations folded");
  Counter& duplicates =
      AddCounter(r, "sluice_store_duplicates_total", "Change sets skipped, seen before by id");
  Counter& stale = AddCounter(r, "sluice_store_stale_versions_total",
                              "Operations skipped, not newer than the row");
  Counter& patches = AddCounter(r, "sluice_store_patches_of_nothing_total",
                                "Patches skipped, without a row to patch");
  Counter& errors = AddCounter(r, "sluice_store_errors_total", "Batches or flushes that failed");
  Counter& evictions =
      AddCounter(r, "sluice_store_evictions_total", "Idle stores closed to make room");
  Counter& swept = AddCounter(r, "sluice_store_removals_swept_total",
                              "Removals erased, past the tombstone horizon");
  Counter& parts = AddCounter(r, "sluice_store_event_parts_total",
                              "Batches that ended within an event larger than one");
  Counter& not_compared =
      AddCounter(r, "sluice_store_comparisons_refused_total",
                 "Uses of a store put off, because the log was slow to be compared with it");
  prometheus::Family<Counter>& apart = CounterFamily(
      r, "sluice_store_set_apart_total", "Organisations that were set apart, by reason");
};

StoreMetrics::StoreMetrics(std::shared_ptr<Registry> registry)
    : impl_(std::make_unique<Impl>(RegistryOrNew(std::move(registry)))) {}
StoreMetrics::~StoreMetrics() = default;

void StoreMetrics::SetLimits(size_t open_stores_max, size_t cache_bytes_max,
                             size_t memtable_bytes_max) {
  impl_->open_max.Set(static_cast<double>(open_stores_max));
  impl_->cache_max.Set(static_cast<double>(cache_bytes_max));
  impl_->memtable_max.Set(static_cast<double>(memtable_bytes_max));
}

void StoreMetrics::Set(const Levels& levels) {
  impl_->open.Set(static_cast<double>(levels.open_stores));
  impl_->stores.Set(static_cast<double>(levels.stores));
  impl_->cache.Set(static_cast<double>(levels.cache_bytes));
  impl_->memtable.Set(static_cast<double>(levels.memtable_bytes));
  impl_->snapshots.Set(static_cast<double>(levels.snapshots_held));
}

void StoreMetrics::SetDiskBytes(double bytes) { impl_->disk.Set(bytes); }

void StoreMetrics::ObserveApply(std::chrono::nanoseconds duration, const FoldCounters& counters) {
  impl_->apply.Observe(Seconds(duration));
  impl_->events.Increment(static_cast<double>(counters.events));
  impl_->ops.Increment(static_cast<double>(counters.ops));
  impl_->duplicates.Increment(static_cast<double>(counters.duplicates));
  impl_->stale.Increment(static_cast<double>(counters.stale_versions));
  impl_->patches.Increment(static_cast<double>(counters.patches_of_nothing));
}

void StoreMetrics::ObserveFlush(std::chrono::nanoseconds duration) {
  impl_->flush.Observe(Seconds(duration));
}
void StoreMetrics::ObserveCheckpoint(std::chrono::nanoseconds duration) {
  impl_->checkpoint.Observe(Seconds(duration));
}
void StoreMetrics::CountError() { impl_->errors.Increment(); }
void StoreMetrics::CountEviction() { impl_->evictions.Increment(); }
void StoreMetrics::CountSwept(size_t removals) {
  impl_->swept.Increment(static_cast<double>(removals));
}
void StoreMetrics::ObserveStep(size_t held_bytes) {
  impl_->step.Observe(static_cast<double>(held_bytes));
}
void StoreMetrics::CountPart() { impl_->parts.Increment(); }
void StoreMetrics::CountApart(const std::string& reason) {
  impl_->apart.Add({{"reason", reason}}).Increment();
}
void StoreMetrics::CountNotCompared() { impl_->not_compared.Increment(); }

}  // namespace sluice::projectors

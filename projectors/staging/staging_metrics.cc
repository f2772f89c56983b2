#include "projectors/staging/staging_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <set>
#include <utility>

namespace sluice::projectors {
namespace {

using prometheus::Counter;
using prometheus::Family;
using prometheus::Gauge;
using prometheus::Histogram;

const Histogram::BucketBoundaries kSeconds = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                              0.1,    0.25,  0.5,    1,     2.5,  10};

prometheus::Labels LabelsOf(PartitionId partition) {
  return {{"partition", std::to_string(partition.value())}};
}

}  // namespace

struct StagingMetrics::Impl {
  explicit Impl(std::shared_ptr<prometheus::Registry> shared) : registry(std::move(shared)) {}

  // Before the metrics, which are made in it and are gone with it.
  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Registry& r = *registry;
  Counter& events = AddCounter(r, "sluice_staging_events_total", "Events folded.");
  Counter& ops = AddCounter(r, "sluice_staging_ops_total", "Operations of change sets folded.");
  Counter& rejected =
      AddCounter(r, "sluice_staging_rejected_total", "Events that could not be applied.");
  Counter& duplicates = AddCounter(r, "sluice_staging_duplicates_total",
                                   "Change sets skipped because their id was applied before.");
  Counter& stale = AddCounter(r, "sluice_staging_stale_versions_total",
                              "Operations skipped because their version is not newer.");
  Counter& patches = AddCounter(r, "sluice_staging_patches_of_nothing_total",
                                "Patches skipped because there is no row.");
  Counter& answered =
      AddCounter(r, "sluice_staging_answered_controls_total",
                 "Control events skipped because their request, or a later one, had been answered: "
                 "repeated after a crash, or written by a sequencer that was paused.");
  Counter& stale_steps =
      AddCounter(r, "sluice_staging_stale_steps_total",
                 "Change sets of sources skipped because another one has taken their place.");
  Counter& unchanged =
      AddCounter(r, "sluice_staging_unchanged_total", "Operations of sources that changed no row.");
  Counter& kept = AddCounter(r, "sluice_staging_kept_of_nothing_total",
                             "Upserts of sources that were to keep what no row has.");
  Counter& touches = AddCounter(r, "sluice_staging_touches_of_nothing_total",
                                "Rows that a source has and the store has not.");
  Counter& swept = AddCounter(r, "sluice_staging_swept_total",
                              "Rows deleted because their source has them no more.");
  Counter& dead_letters =
      AddCounter(r, "sluice_staging_dead_letters_total", "Events written to the dead letters.");
  Counter& retries =
      AddCounter(r, "sluice_staging_retries_total", "Steps that failed and are tried again.");
  Family<Gauge>& lag = GaugeFamily(r, "sluice_staging_lag_events",
                                   "Events in the log that are not folded yet, by partition.");
  Family<Gauge>& letters_held =
      GaugeFamily(r, "sluice_staging_dead_letters_held",
                  "Dead letters that the log has not taken yet, by partition; no checkpoint is "
                  "written meanwhile, and at 10,000 (or 8 MiB) the partition waits.");
  Family<Gauge>& apart =
      GaugeFamily(r, "sluice_staging_apart", "Organisations that are folded apart, by reason.");
  Family<Gauge>& apart_bytes =
      GaugeFamily(r, "sluice_staging_apart_bytes",
                  "Events held for organisations that are apart, by partition.");
  Histogram& steps = AddHistogram(r, "sluice_staging_apart_step_seconds",
                                  "Time of one step of an organisation that is apart.", kSeconds);
  Histogram& batches = AddHistogram(r, "sluice_staging_apply_batch_seconds",
                                    "Time to fold one batch of events into the stores.", kSeconds);
  // Reasons that were ever shown: those that are gone are shown as 0. Of one thread.
  std::set<std::string> reasons;
};

StagingMetrics::StagingMetrics(std::shared_ptr<prometheus::Registry> registry)
    : impl_(std::make_unique<Impl>(RegistryOrNew(std::move(registry)))) {}
StagingMetrics::~StagingMetrics() = default;

void StagingMetrics::Count(const FoldCounters& counters, size_t rejected) {
  impl_->events.Increment(static_cast<double>(counters.events));
  impl_->ops.Increment(static_cast<double>(counters.ops));
  impl_->rejected.Increment(static_cast<double>(rejected));
  impl_->duplicates.Increment(static_cast<double>(counters.duplicates));
  impl_->stale.Increment(static_cast<double>(counters.stale_versions));
  impl_->patches.Increment(static_cast<double>(counters.patches_of_nothing));
  impl_->answered.Increment(static_cast<double>(counters.answered_controls));
  impl_->stale_steps.Increment(static_cast<double>(counters.stale_steps));
  impl_->unchanged.Increment(static_cast<double>(counters.unchanged));
  impl_->kept.Increment(static_cast<double>(counters.kept_of_nothing));
  impl_->touches.Increment(static_cast<double>(counters.touches_of_nothing));
  impl_->swept.Increment(static_cast<double>(counters.swept));
}

void StagingMetrics::BatchApplied(const FoldCounters& counters, size_t rejected,
                                  std::chrono::steady_clock::duration took) {
  Count(counters, rejected);
  impl_->batches.Observe(std::chrono::duration<double>(took).count());
}

void StagingMetrics::StepApart(const FoldCounters& counters, size_t rejected,
                               std::chrono::steady_clock::duration took) {
  Count(counters, rejected);
  impl_->steps.Observe(std::chrono::duration<double>(took).count());
}

void StagingMetrics::ApartBytes(PartitionId partition, size_t bytes) {
  impl_->apart_bytes.Add(LabelsOf(partition)).Set(static_cast<double>(bytes));
}

void StagingMetrics::Apart(const std::map<std::string, size_t>& by_reason) {
  for (const auto& [reason, count] : by_reason) {
    impl_->reasons.insert(reason);
  }
  for (const std::string& reason : impl_->reasons) {
    const auto found = by_reason.find(reason);
    impl_->apart.Add({{"reason", reason}})
        .Set(found == by_reason.end() ? 0 : static_cast<double>(found->second));
  }
}

void StagingMetrics::DeadLettered(size_t events) {
  impl_->dead_letters.Increment(static_cast<double>(events));
}

void StagingMetrics::LettersHeld(PartitionId partition, size_t letters) {
  impl_->letters_held.Add(LabelsOf(partition)).Set(static_cast<double>(letters));
}

void StagingMetrics::Retried() { impl_->retries.Increment(); }

void StagingMetrics::Lag(PartitionId partition, int64_t events) {
  impl_->lag.Add(LabelsOf(partition)).Set(static_cast<double>(events));
}

// Another process shows them from now on: a sum over all would have the partition twice, and an
// alarm would go by what is told here last.
void StagingMetrics::Revoked(PartitionId partition) {
  impl_->lag.Remove(&impl_->lag.Add(LabelsOf(partition)));
  impl_->letters_held.Remove(&impl_->letters_held.Add(LabelsOf(partition)));
}

}  // namespace sluice::projectors

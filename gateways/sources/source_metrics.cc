#include "gateways/sources/source_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>

#include <utility>

#include "schemas/base/metrics.h"

namespace sluice::gateways {

SourceMetrics::SourceMetrics(std::shared_ptr<prometheus::Registry> the_registry)
    : registry(RegistryOrNew(std::move(the_registry))),
      runs(CounterFamily(*registry, "sluice_source_runs_total", "Runs of sources, by their end")),
      rejected(CounterFamily(*registry, "sluice_source_rejected_total",
                             "Rows of sources that went to deadletter, by code")),
      rows(AddCounter(*registry, "sluice_source_rows_total", "Operations that sources appended")),
      sets(AddCounter(*registry, "sluice_source_sets_total", "Change sets that sources appended")),
      resent(AddCounter(*registry, "sluice_source_sets_resent_total",
                        "Change sets of sources appended again, as the log did not answer")),
      scheduled(AddCounter(*registry, "sluice_source_items_total", "Work items appended")),
      malformed(AddCounter(*registry, "sluice_source_malformed_total",
                           "Events of the topic work that could not be read")),
      running(AddGauge(*registry, "sluice_source_running", "Runs of sources under way")),
      queued(AddGauge(*registry, "sluice_source_queued", "Runs of sources that wait for a place")),
      overdue(AddGauge(*registry, "sluice_source_overdue",
                       "Streams whose work item is open for longer than their interval")),
      partitions(AddGauge(*registry, "sluice_source_partitions",
                          "Partitions of which this process runs the sources")),
      not_ready(AddGauge(*registry, "sluice_source_partitions_not_ready",
                         "Of those partitions the ones whose runs have yet to begin")) {}

void SourceMetrics::CountRun(const std::string& end) const { runs.Add({{"end", end}}).Increment(); }

void SourceMetrics::CountRejected(const std::string& code) const {
  rejected.Add({{"code", code}}).Increment();
}

}  // namespace sluice::gateways

#include "gateways/debezium/debezium_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <utility>

#include "schemas/base/metrics.h"

namespace sluice::gateways {

DebeziumMetrics::DebeziumMetrics(std::shared_ptr<prometheus::Registry> given)
    : registry(RegistryOrNew(std::move(given))) {
  changes = &AddCounter(*registry, "sluice_debezium_changes_total",
                        "Changes of Debezium that were taken into sets");
  auto& odd =
      CounterFamily(*registry, "sluice_debezium_odd_total",
                    "Changes and transactions of Debezium that did not come as they should");
  stale = &odd.Add({{"what", "stale"}});
  repeated = &odd.Add({{"what", "repeated"}});
  late = &odd.Add({{"what", "late"}});
  left_over = &odd.Add({{"what", "left_over"}});
  incomplete = &odd.Add({{"what", "incomplete"}});
  split = &odd.Add({{"what", "split"}});
  skipped = &odd.Add({{"what", "skipped"}});
  held_bytes = &AddGauge(*registry, "sluice_debezium_held_bytes",
                         "Changes that wait for the end of their transaction, of all sources");
  held_limit = &AddGauge(*registry, "sluice_debezium_held_bytes_limit",
                         "Changes of one source that may wait before it is read no further");
  held_limit->Set(static_cast<double>(AssemblerLimits().held_bytes_max));
}

void DebeziumMetrics::Add(const TransactionAssembler::Counters& now,
                          TransactionAssembler::Counters* told) {
  const auto add = [](prometheus::Counter* counter, uint64_t value, uint64_t before) {
    counter->Increment(static_cast<double>(value - before));
  };
  add(repeated, now.repeated, told->repeated);
  add(late, now.late, told->late);
  add(left_over, now.left_over, told->left_over);
  add(incomplete, now.incomplete, told->incomplete);
  add(split, now.split, told->split);
  add(skipped, now.skipped, told->skipped);
  *told = now;
}

}  // namespace sluice::gateways

#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>

#include <string>

#include "schemas/base/metrics.h"

namespace sluice::gateways {

// What all runs of OData sources count. Thread-safe.
struct ODataMetrics {
  explicit ODataMetrics(prometheus::Registry& registry)
      : pages(AddCounter(registry, "sluice_odata_pages_total", "Whole pages read")),
        upserts(Rows(registry, "upsert")),
        deletes(Rows(registry, "delete")),
        keys(Rows(registry, "key")),
        rejected(Rows(registry, "rejected")),
        loads(CounterFamily(registry, "sluice_odata_loads_total",
                            "Loads of all rows of an entity, by why they began")) {}

  void CountLoad(const std::string& reason) { loads.Add({{"reason", reason}}).Increment(); }

  prometheus::Counter& pages;
  prometheus::Counter& upserts;
  prometheus::Counter& deletes;
  prometheus::Counter& keys;
  prometheus::Counter& rejected;
  prometheus::Family<prometheus::Counter>& loads;

 private:
  static prometheus::Counter& Rows(prometheus::Registry& registry, const std::string& result) {
    return AddCounter(registry, "sluice_odata_rows_total", "Rows of pages, by what came of them",
                      {{"result", result}});
  }
};

}  // namespace sluice::gateways

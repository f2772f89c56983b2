#pragma once

#include <memory>

#include "gateways/debezium/transaction_assembler.h"

namespace prometheus {
class Counter;
class Gauge;
class Registry;
}  // namespace prometheus

namespace sluice::gateways {

// What all runs of Debezium sources count together. Thread-safe.
struct DebeziumMetrics {
  explicit DebeziumMetrics(std::shared_ptr<prometheus::Registry> registry);

  // Adds what is more than in `told`, which becomes `now`.
  void Add(const TransactionAssembler::Counters& now, TransactionAssembler::Counters* told);

  std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter* changes;  // sluice_debezium_changes_total
  prometheus::Counter* stale;    // ... of transactions before a snapshot that was read since
  prometheus::Counter* repeated;
  prometheus::Counter* late;
  prometheus::Counter* left_over;
  prometheus::Counter* incomplete;
  prometheus::Counter* split;
  prometheus::Counter* skipped;
  prometheus::Gauge* held_bytes;  // of changes that wait for the end of their transaction
  prometheus::Gauge* held_limit;  // of one run
};

}  // namespace sluice::gateways

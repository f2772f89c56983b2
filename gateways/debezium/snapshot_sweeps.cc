#include "gateways/debezium/snapshot_sweeps.h"

#include <algorithm>
#include <chrono>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

// The snapshot's rows in other partitions may become visible a moment after its last one.
constexpr std::chrono::seconds kSweepDelay{1};

}  // namespace

absl::StatusOr<std::vector<SnapshotGenerations::Sweep>> SnapshotSweeps::Ready(
    const SnapshotGenerations& generations, const TopicPlan& plan,
    const TransactionAssembler& assembler) {
  std::vector<SnapshotGenerations::Sweep> ready;
  for (SnapshotGenerations::Sweep& due : generations.Due()) {
    Wait& wait = waits_[due.topic];
    if (wait.version != due.version) {
      wait = {due.version, clock_.SteadyNow() + kSweepDelay, {}};
    }
    if (clock_.SteadyNow() < wait.ask_at) {
      continue;
    }
    if (wait.ends.empty()) {
      for (size_t i = 0; i < plan.places().size(); ++i) {
        if (const auto& place = plan.places()[i]; place.topic == due.topic) {
          ASSIGN_OR_RETURN(const Offset end, source_.End(place.topic, place.partition));
          wait.ends.emplace_back(i, end);
        }
      }
    }
    // What is to be read again counts as unread.
    if (!wait.ends.empty() && std::ranges::all_of(wait.ends, [&](const auto& end) {
          return assembler.next(end.first) >= end.second;
        })) {
      ready.push_back(std::move(due));
    }
  }
  return ready;
}

}  // namespace sluice::gateways

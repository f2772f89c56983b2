#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/log.h"

namespace sluice::projectors {

// What Reconcile() did to one partition.
struct Reconciled {
  size_t outcomes = 0;  // definitions that `provisioning` had lost, told there again
  size_t controls = 0;  // definitions that `changes` had lost, put there again
  size_t closed = 0;    // organisations, as the caller said
  size_t refused = 0;   // requests that waited; their senders send them again
  int64_t skipped = 0;  // positions of `provisioning` that are not given a second time
  std::vector<std::string> unsettled;  // organisations whose definitions still differ

  bool nothing() const { return outcomes + controls + closed + refused == 0 && skipped == 0; }
};

// Makes `provisioning` and `changes` of a partition tell the same again after one of them, or each
// in another place, has lost its end. What either holds of what was accepted counts:
//
//   - A control event that no outcome tells of is told of in `provisioning` again.
//   - Requests without an outcome are then refused: their senders send them again.
//   - `provisioning` is filled beyond every request that a control event answers: the fold passes
//     over what answers an older request than one that it knows (OrgModel::Answered()).
//   - Where an organisation in `changes` is not what the directory says then, control events are
//     appended that make it so. The last of them answers a position newer than every request, so
//     that a sequencer that wakes with an old decision is passed over.
//
// Where both topics went on after the loss, what the directory was told of a definition since
// counts; one that only `changes` has is kept if it contradicts nothing. An attribute that counts
// no more, as who defined its entity last did not know of it, is removed as by somebody who did:
// its id is given to nobody, and nothing shows its values. Where one id was given to two entities
// or attributes of an organisation, or an entity has two keys, rows and change sets since cannot be
// told apart: nothing is written then, kDataLoss, code "log_diverged", names what contradicts,
// until the organisation is in `close`, which closes it in both topics with all its rows. The same
// before anything is written to `changes` that deletes what nobody asked to be deleted, or that the
// fold would refuse. Nothing is written where nothing is amiss, but for places of control events
// that were told twice.
//
// To be called while no process uses the log, before a new epoch is declared. Both topics are read
// whole; memory goes by the definitions, not by the rows. Killed in between, it is called again and
// goes on. `progress` is told the events read, and how many there are. Errors are the log's;
// kDataLoss, code "log_begins_late", where the beginning of `changes` was removed; kNotFound, code
// "org_not_found", where an organisation in `close` would be in this partition and neither topic
// names it, before anything is written.
[[nodiscard]] absl::StatusOr<Reconciled> Reconcile(
    eventlog::Log& log, const Clock& clock, PartitionId partition,
    const std::function<void(int64_t, int64_t)>& progress = {},
    const std::set<std::string>& close = {});

}  // namespace sluice::projectors

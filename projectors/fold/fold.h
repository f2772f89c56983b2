#pragma once

#include <chrono>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/event.h"
#include "projectors/fold/fold_view.h"
#include "projectors/model/org_model.h"

namespace sluice::projectors {

// Part of what makes two folds of one log equal, so the same on every replica of an organisation.
struct FoldOptions {
  // Both in events of the organisation, so that a busy neighbour in the partition shortens neither.
  int64_t dedup_window = 1'000'000;        // within which a change set's id is remembered
  int64_t tombstone_horizon = 10'000'000;  // for which removals are kept
  // How long removals are kept, by the organisation's clock; 0: as long as the horizon says.
  std::chrono::microseconds tombstone_age{0};
  // How much one batch takes on before a large event is cut; no part of the result. The bytes are
  // of rows that are read and of what is to be written, together: a batch holds about so many, half
  // as many more at most, and what its last row takes.
  size_t step_rows = 20'000;
  size_t step_bytes = size_t{64} << 20;
  // Of looking at rows: 64 for each rule that one is held against, or by which it gives another row
  // something, 4 for each reference, membership and support that is looked at, a sixteenth of
  // its bytes for each of the first and for each operation that changes it, and an eighth of those
  // of its buckets' names; some 14 ns each.
  size_t step_work = size_t{16} << 20;
  // Of rejections, each of which becomes a dead letter: a source's set that has more is cut.
  size_t step_rejected = 1'000;
  // A record with more memberships and support than this has them apart; no part of the result.
  size_t inline_max = 32;
  // A row with more of them that has to be looked at in all, and more work that can't be cut, is
  // not begun: Fold() fails with kAborted, code "large_event". No part of the result.
  size_t places_max = std::numeric_limits<size_t>::max();
  size_t work_max = std::numeric_limits<size_t>::max();
  // A row of which more buckets and references together give to other rows than before does so in
  // parts. No part of the result, but the same for all batches of an event.
  size_t turned_max = 4'096;
};

// Something of an event that can't be applied. The rest of the log goes on.
struct Rejected {
  Offset offset;
  uint32_t op_index = 0;
  std::string code;
  std::string reason;
  // Of a source's operation: the entity's name, where there is one, and the row's key.
  std::string entity = {};
  std::string key = {};
};

struct FoldCounters {
  uint64_t events = 0;
  uint64_t ops = 0;
  uint64_t duplicates = 0;      // change sets seen before, by id
  uint64_t stale_versions = 0;  // operations not newer than the row
  uint64_t patches_of_nothing = 0;
  uint64_t answered_controls = 0;  // control events of requests that have been answered
  // Of sources (docs/fold.md, "What a source writes").
  uint64_t stale_steps = 0;      // sets whose place another one has taken
  uint64_t unchanged = 0;        // upserts that changed no row
  uint64_t kept_of_nothing = 0;  // upserts that were to keep what no row has
  uint64_t touches_of_nothing = 0;
  uint64_t swept = 0;  // rows
};

struct FoldResult {
  FoldBatch batch;
  std::shared_ptr<const OrgModel> model;  // after the batch
  std::vector<Rejected> rejected;
  FoldCounters counters;
  bool closed = false;  // OrgClosed was the last event taken: the store is to be deleted
  size_t consumed = 0;  // events taken: fewer than given after OrgClosed, or when the batch is full
  // The batch ends within the event after those: batch.applied.partial says where. To be called
  // again with the same event; until it is complete readers must not see the store.
  bool partial = false;
  size_t held_bytes = 0;  // of rows that were read, and of what is to be written: step_bytes
};

// Folds `events` (one organisation's, in order, all after `applied.position`) onto `view`. Pure:
// rows, rules and events decide, never the clock, chance or the order of a hash table; so the same
// log gives the same store, whatever the batches are. `model` is the one after `applied.position`,
// also where an event has been applied in part. Reads `view` in a few MultiGets. An event at or
// below the applied position is skipped. An operation that can't be applied rejects its whole set
// (a set is atomic), or, of a source's set, is rejected by itself; kInternal or the view's error
// stops the fold with nothing to write.
[[nodiscard]] absl::StatusOr<FoldResult> Fold(const FoldOptions& options,
                                              const AppliedState& applied,
                                              std::shared_ptr<const OrgModel> model,
                                              std::span<const eventlog::StoredEvent> events,
                                              FoldView& view);

// The key under which a change set is remembered.
[[nodiscard]] std::string ChangeSetKey(std::string_view source, std::string_view id);

// AppliedState::history after an event at `offset` of which the organisation's history before was
// `before`: the first eight bytes of SHA-256 over the three numbers, 8 bytes big-endian each. Two
// logs that agree in it agree in the organisation's whole history up to there.
[[nodiscard]] uint64_t ChainHistory(uint64_t before, uint64_t event_hash, Offset offset);

// The checksum's term of one live row in a bucket.
[[nodiscard]] uint64_t RowChecksum(std::string_view entity, std::string_view key,
                                   Position position);

}  // namespace sluice::projectors

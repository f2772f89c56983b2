#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gateways/debezium/envelope.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::gateways {

// A row's version: the generation above the LSN.
inline constexpr int kGenerationShift = 54;
inline constexpr int64_t kVersionLsnMax = (int64_t{1} << kGenerationShift) - 1;
inline constexpr uint32_t kGenerationMax = 511;

// Where snapshots stand among changes. With the LSNs of commits a snapshot has a place in their
// order: what is committed by its LSN is in it, the rest is not. It opens a generation only where
// LSNs go back, as after a backup was restored, or where the LSN is the slot's old one. With the
// LSNs of events it always does, and its rows are the first in it: a transaction that is open while
// it reads has changes below its LSN. A partition enters a generation at its first row of it, since
// a key stays in its partition. gateways/docs/debezium.md. Pure; not thread-safe.
class SnapshotGenerations {
 public:
  // What is to be removed after a whole snapshot: rows of the topic's table that are not above
  // `version`. Those that were committed after the snapshot stay, also where their partition has no
  // row of it and was read before it was known.
  struct Sweep {
    std::string topic;
    uint32_t generation = 0;
    int64_t version = 0;
  };

  // `by_commit`: changes have the LSNs of their commits. `cursor`: where reading goes on; `former`:
  // of the epoch before, whose generations are gone.
  SnapshotGenerations(bool by_commit, const v1::DebeziumCursor& cursor,
                      const v1::DebeziumCursor& former);

  // A partition that is read; one that the cursor does not have begins with the greatest
  // generation, as rows of its keys may have lain in another.
  void Add(const std::string& topic, PartitionId partition);

  // A row of a snapshot (not an incremental one). `first`: nothing was read of the partition
  // before, and it does not begin at offset 0. The row's generation.
  uint32_t AddRow(const std::string& topic, PartitionId partition, Offset offset, SnapshotPart part,
                  int64_t lsn, bool first);
  // Whether a snapshot of a database that gives LSNs again was found since this was asked last.
  bool TakeWentBack() { return std::exchange(went_back_, false); }
  // A change that was streamed, in the order of its partition.
  void AddChange(const std::string& topic, PartitionId partition, Offset offset, int64_t lsn);
  // Of a change that lies at `offset`.
  uint32_t At(const std::string& topic, PartitionId partition, Offset offset) const;
  // The generation with which a change goes out that was at `generation` and is committed at `lsn`.
  // A partition in which a snapshot had no rows has not entered it: what is committed after it is
  // of it nevertheless.
  [[nodiscard]] uint32_t Of(const std::string& topic, PartitionId partition, uint32_t generation,
                            int64_t lsn) const;
  // Whether a whole snapshot was read that is newer: a row must not bring back what that has
  // removed.
  [[nodiscard]] bool IsStale(const std::string& topic, int64_t version) const;

  // Whole snapshots after which nothing was removed yet.
  std::vector<Sweep> Due() const;
  // Partitions enter the generation behind what has been read of them.
  void Swept(const Sweep& sweep, const std::function<Offset(PartitionId)>& next);

  // The table was emptied by a change of this version: rows of before that come late, in other
  // partitions, are stale.
  void Truncated(const std::string& topic, int64_t version);

  // Into `cursor`, whose partitions have their `next`; forgets what lies before it.
  void Save(v1::DebeziumCursor* cursor);

 private:
  struct Span {
    Offset from;
    uint32_t generation = 0;
    bool is_of_sweep = false;  // the snapshot has no row here
  };
  struct PartitionState {
    std::vector<Span> spans;                          // ascending
    std::deque<std::pair<Offset, int64_t>> greatest;  // LSNs: from this offset on, so far
  };
  struct TopicState {
    std::vector<v1::DebeziumCursor::Snapshot> snapshots;  // the newest last
    std::map<PartitionId, PartitionState> partitions;
    int64_t swept = -1;  // version
  };

  [[nodiscard]] uint32_t GreatestOf(const TopicState& state) const;
  [[nodiscard]] int64_t SweptBy(const v1::DebeziumCursor::Snapshot& snapshot) const;

  const bool by_commit_;
  std::map<std::string, TopicState, std::less<>> topics_;
  uint32_t floor_ = 0;
  bool went_back_ = false;
  std::set<int64_t> ended_;  // LSNs of snapshots whose last row of all was read
};

}  // namespace sluice::gateways

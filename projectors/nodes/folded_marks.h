#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "schemas/base/ids.h"

namespace sluice::v1 {
class NodeAnnouncement;
}

namespace sluice::projectors {

// An event of a partition of `changes` that some node has folded: as long as the log has its id, it
// must hold that event there.
struct FoldedMark {
  Offset at = kNoOffset;
  uint64_t event_hash = 0;  // eventlog::EventHash
  friend auto operator<=>(const FoldedMark&, const FoldedMark&) = default;
};

// What a node has compared with the log: all marks at or below its own place `at` that the
// announcements below `until` of `nodes` told of. That place is on top of them from then on.
struct ComparedMarks {
  Offset until;
  Offset at = kNoOffset;
};

// The newest marks that each node has told of, whatever became of the node, as `nodes` keeps them.
// One need not be looked at where the place of another one lies on top of it: its node has compared
// it when it knew of it. That a place is higher says nothing, for it may be of a history that has
// replaced a lost one. As who is on top of another spoke later, somebody is always left. Not
// thread-safe.
class FoldedMarks {
 public:
  // `self`: this process's node.
  explicit FoldedMarks(std::string self) : self_(std::move(self)) {}

  // The announcement at `offset` of `nodes`. What it tells of a partition counts in place of what
  // `node` told of it before: nobody tells of a place of his own before he has compared that.
  void Take(const std::string& node, Offset offset, const v1::NodeAnnouncement& announced);
  // All that there was when this process came has been taken: what its node tells from now on is
  // its own word.
  void SetKnown() { known_ = true; }
  // `nodes` was made anew: its offsets are given a second time.
  void BeginAnew();

  // Ascending, each once: what is neither below the place of another node that has compared it, nor
  // compared by this process.
  [[nodiscard]] std::vector<FoldedMark> Uncompared(PartitionId partition) const;
  // Those among them that this process's node told of before the process came. They are gone from
  // `nodes` where it does not tell them on.
  [[nodiscard]] std::vector<FoldedMark> OfFormer(PartitionId partition) const;

  // This process has compared Uncompared(), of all that was taken below `compared.until`, and what
  // it has itself applied.
  void NoteCompared(PartitionId partition, ComparedMarks compared);
  // nullopt: it has compared nothing yet, and must not tell of a place of its own.
  [[nodiscard]] std::optional<ComparedMarks> Compared(PartitionId partition) const;

 private:
  struct Told {
    FoldedMark mark;
    Offset offset;          // of the last announcement that tells of it
    bool compared = false;  // by this process, which has applied more
  };
  struct Node {
    std::vector<Told> told;
    ComparedMarks compared{Offset(0), kNoOffset};
  };
  std::vector<FoldedMark> Select(PartitionId partition, const std::string* node) const;

  const std::string self_;
  bool known_ = false;
  std::map<PartitionId, std::map<std::string, Node>> nodes_;
  std::map<PartitionId, ComparedMarks> own_;
};

}  // namespace sluice::projectors

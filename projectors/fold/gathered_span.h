#pragma once

#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "eventlog/event.h"
#include "google/protobuf/arena.h"
#include "projectors/fold/bucket_placer.h"
#include "projectors/fold/fold_overlay.h"
#include "projectors/fold/fold_view.h"

namespace sluice::projectors {

inline constexpr std::string_view kChangeSetType = "sluice.v1.ChangeSet";

// The change sets of a batch, parsed, with what the store has of what they refer to, so that they
// are then applied in memory. How much that is the sender decides: what does not fit is left to
// the next batch. Not thread-safe.
class GatheredSpan {
 public:
  struct Set {
    v1::ChangeSet* set = nullptr;  // nullptr: malformed
    size_t event = 0;              // of the span
    // The operations whose rows are there: the rest was done, or waits for another batch.
    size_t first_op = 0;
    size_t end_op = 0;
    size_t first_slot = 0;        // of these, in slots()
    std::optional<size_t> seen;   // in seen(); nullopt for a set without id, or with a step
    std::optional<size_t> chain;  // in chains(); nullopt for a set without a step
  };
  struct Seen {
    std::string key;
    std::optional<AppliedSet> applied;
    bool written = false;
  };
  // What was taken of a stream.
  struct Chain {
    SourceStream stream;
    v1::SourceState state;
    bool moved = false;
  };
  struct Limits {
    size_t bytes_max = 0;    // of rows that the sets name; a row more at most
    size_t related_max = 0;  // of bytes of the rows related to them, and of their number
    size_t related_rows_max = 0;
  };

  GatheredSpan(FoldView& view, FoldOverlay& overlay, BucketPlacer& placer)
      : view_(view), overlay_(overlay), placer_(placer) {}

  // Reads for the first of `events`, which must outlive it: all of them, unless they name too
  // much. A set is never read in part, but the first event's: that may be too large by itself.
  // `resumed`: how far an earlier batch has come with the first event.
  [[nodiscard]] absl::Status Gather(std::span<const eventlog::StoredEvent> events,
                                    const Limits& limits, bool related,
                                    const PartialEvent* resumed);

  size_t events() const { return events_; }  // that were gathered
  // The sets of the gathered events, in order.
  const std::vector<Set>& sets() const { return sets_; }
  FoldOverlay::RowSlot SlotOf(const Set& set, size_t op) const {
    return slots_[set.first_slot + op - set.first_op];
  }
  std::vector<Seen>& seen() { return seen_; }
  std::vector<Chain>& chains() { return chains_; }

 private:
  void Parse(const eventlog::StoredEvent& event, size_t index, const PartialEvent* resumed);
  // Gives up what has not been read of the sets from `first` on; true where that is anything.
  bool Cut(size_t first);
  absl::Status ReadRelated(const Limits& limits);
  absl::Status ReadSeen();
  absl::Status ReadChains();

  FoldView& view_;
  FoldOverlay& overlay_;
  BucketPlacer& placer_;
  google::protobuf::Arena arena_;
  size_t events_ = 0;
  std::vector<Set> sets_;
  std::vector<FoldOverlay::RowSlot> slots_;
  std::vector<Seen> seen_;
  absl::flat_hash_map<std::string, size_t> seen_index_;
  std::vector<Chain> chains_;
  std::map<SourceStream, size_t> chain_index_;
};

}  // namespace sluice::projectors

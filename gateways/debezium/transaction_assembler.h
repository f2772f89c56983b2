#pragma once

#include <absl/container/flat_hash_map.h>

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateways/debezium/envelope.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

// A change event with its place in its topic.
struct TableChange {
  Offset offset;
  ChangeEnvelope event;
  KeyEnvelope key;          // its JSON is empty where the record has no key
  std::string old_key;      // header "__debezium.oldkey": JSON of the key that the row had before
  size_t partition = 0;     // for who reads them, as the next
  uint32_t generation = 0;  // of its partition where it lies (SnapshotGenerations)
  size_t bytes = 0;         // of the record, for the limits
};

// Changes that go out together.
struct AssembledSet {
  std::vector<TableChange> changes;  // none where the parts before it held the last of them
  // Empty: of no transaction, each change stands by itself (a snapshot's rows).
  std::string transaction;
  // The version of all of its rows: the commit's LSN, which grows from transaction to transaction.
  std::optional<int64_t> lsn;
  // Whether positions may be kept with it: not while a transaction is out in part, as its end is
  // recognised by the number of its changes.
  bool settled = true;
  // Its transaction has gone out without it, for the first time.
  bool late = false;
};

struct AssemblerLimits {
  size_t held_bytes_max = 64 << 20;  // changes that wait for their transaction's end
  size_t set_bytes_max = 6 << 20;    // of one set; a larger transaction goes out in parts
  size_t set_changes_max = 50'000;
  size_t ends_max = 100'000;  // END messages that wait for their changes
  // After this, and a look at where the partitions end, a transaction goes out without the changes
  // that its END counted and that are nowhere.
  std::chrono::milliseconds missing_wait{30'000};
};

// Puts the transactions of a database together again from the topics of its tables, each with
// partitions of its own, and from the topic that says where a transaction ends and how many changes
// each table has of it. What goes out is whole transactions, in the order of their ENDs, each once:
// also where the connector was restarted and repeats itself, begins its counts anew or left half a
// transaction behind. gateways/docs/debezium.md tells why it is so. Pure: no I/O, no clock, no
// thread; not thread-safe.
//
// Whoever drives it reads records, hands them over in the order of their partition, calls Take()
// until there is nothing, then does what seeks(), IsPaused() and wants_ends() say, and reads on.
class TransactionAssembler {
 public:
  struct Partition {
    std::string collection;  // as END messages name it
    Offset next;             // first offset to be read
  };
  struct Counters {
    uint64_t repeated = 0;    // changes that had come before
    uint64_t late = 0;        // changes that came after their transaction had gone out
    uint64_t left_over = 0;   // changes of transactions that the connector never ended
    uint64_t incomplete = 0;  // transactions that went out without all that their END counted
    uint64_t split = 0;       // transactions that went out in parts
    uint64_t skipped = 0;     // changes that will be read again, for want of room
  };

  // `marks_next`: first offset to be read of the topic of transactions. `lsn_done`: lsn_done() as
  // it was with the positions that are gone on from.
  TransactionAssembler(AssemblerLimits limits, std::vector<Partition> partitions, Offset marks_next,
                       std::optional<int64_t> lsn_done = std::nullopt);

  // The next change of a partition; one below what was read already is passed over.
  void AddChange(size_t partition, TableChange change);
  // There is nothing to be held below `next`: tombstones, messages, gaps.
  void Pass(size_t partition, Offset next);
  // A database that was restored from a backup gives ids and LSNs again: what has gone out says
  // nothing of what comes.
  void Forget();
  // The next message of the topic of transactions, read at `now`.
  void AddMark(Offset offset, TransactionMark mark, SteadyTime now);

  // What can go out now; nullopt: nothing.
  [[nodiscard]] std::optional<AssembledSet> Take();

  // Whether somebody has to ask where the partitions end now, and tell it by SetEnds().
  [[nodiscard]] bool wants_ends(SteadyTime now) const;
  // Offset behind the last record of each partition, asked after `asked_at`.
  void SetEnds(std::vector<Offset> ends, SteadyTime asked_at);

  // Whether the partition is not to be read for now, for want of room.
  [[nodiscard]] bool IsPaused(size_t partition) const;
  [[nodiscard]] bool marks_paused() const { return ends_.size() >= limits_.ends_max; }
  // Partitions to be read again, and from where, in this order; each is told once. Until it is
  // asked for, what is read of such a partition is passed over, as it comes again.
  [[nodiscard]] std::vector<std::pair<size_t, Offset>> TakeSeeks();

  // Below this everything was taken in.
  [[nodiscard]] Offset next(size_t partition) const { return partitions_[partition].next; }
  // Where to read on after all that has gone out; may be kept with a settled set.
  [[nodiscard]] Offset position(size_t partition) const;
  [[nodiscard]] Offset marks_position() const { return marks_position_; }
  // The greatest LSN of an END that has gone out.
  [[nodiscard]] std::optional<int64_t> lsn_done() const { return lsn_done_; }

  size_t held_bytes() const { return held_bytes_; }
  const Counters& counters() const { return counters_; }

 private:
  // How far one partition has one transaction. Its changes come in the order of their LSNs, and
  // repeats begin below: so the greatest tells what is new, with the names of those that have it.
  struct Progress {
    int64_t order_max = INT64_MIN;
    std::vector<std::string> names;  // of the changes at order_max

    bool Has(int64_t order, std::string_view name) const;
    void Add(int64_t order, std::string name);
  };
  struct Share {
    Progress progress;
    uint64_t count = 0;       // distinct changes
    Offset last = kNoOffset;  // of the last of them
    std::vector<Offset> held;
    size_t held_bytes = 0;
  };
  struct PartitionState {
    std::string collection;
    Offset next;
    std::map<Offset, TableChange> held;
    absl::flat_hash_map<std::string, Share> shares;  // by transaction
    std::optional<Offset> skipped;                   // the first change that there was no room for
    bool is_to_seek = false;                         // and nobody has been told yet
  };
  struct End {
    Offset offset;
    TransactionMark mark;
    SteadyTime read_at;
    bool counts_restarted = false;  // it began twice: its counts are lower bounds
  };
  // A transaction that has gone out.
  struct Finished {
    std::optional<int64_t> lsn;
    std::vector<std::pair<size_t, Progress>> progress;  // by partition
    bool old = false;                                   // it was a repeat already
  };

  bool TakeFinished(size_t partition, TableChange& change);
  void AddLoose(TableChange change);
  void AdvanceHead();
  [[nodiscard]] bool IsRepeat(const End& end) const;
  [[nodiscard]] bool HasAllOf(const End& end, std::string_view collection, uint64_t count) const;
  [[nodiscard]] bool HasAll(const End& end) const;
  [[nodiscard]] bool IsNeeded(const End& end, size_t partition) const;
  [[nodiscard]] bool IsOld(const End& end) const;
  [[nodiscard]] SteadyTime AskEndsAt(const End& end) const;
  [[nodiscard]] bool IsDone(const End& end) const;
  [[nodiscard]] size_t HeldBytesOf(const std::string& transaction) const;
  void GoOut(const End& end);
  void Finish(const End& end);
  void DropLeftOver(PartitionState* state, Offset below);
  void Remember(const std::string& transaction, Finished finished);
  void PopEnd();
  void SeekBack();

  const AssemblerLimits limits_;
  std::vector<PartitionState> partitions_;
  Offset marks_next_;
  Offset marks_position_;
  absl::flat_hash_map<std::string, uint32_t> begun_;  // BEGINs without their END
  std::deque<End> ends_;                              // the first, the head, is the next to go out
  bool head_seen_ = false;                            // Take() has looked at it
  std::vector<Offset> partition_ends_;                // as told last
  std::optional<SteadyTime> ends_asked_at_;
  bool in_parts_ = false;  // some of the head has gone out

  std::deque<AssembledSet> ready_;
  size_t loose_bytes_ = 0;  // of the last of them, where it is of no transaction
  size_t held_bytes_ = 0;
  std::vector<std::pair<size_t, Offset>> seeks_;

  absl::flat_hash_map<std::string, Finished> finished_;
  std::deque<std::string> finished_order_;
  std::optional<int64_t> lsn_done_;
  Counters counters_;
};

}  // namespace sluice::gateways

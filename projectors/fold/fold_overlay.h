#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "projectors/fold/bucket_changes.h"
#include "projectors/fold/fold_view.h"

namespace sluice::projectors {

// The records that a batch touches: as the store has them, and as the batch leaves them. What is
// written follows from the two, so that only a record's last operation in a batch reaches the
// store, and splitting a history into other batches gives the same store. Not thread-safe.
class FoldOverlay {
 public:
  using RowSlot = uint32_t;
  // What the store has of memberships and support in rows of their own: of a row that many point at
  // only what a batch changes is read, unless all of it has to be looked at.
  struct Apart {
    struct OneMembership {
      std::optional<Membership> stored;
      std::optional<Membership> now;
    };
    bool complete = false;  // then Record has them all
    uint64_t memberships_stored = 0;
    uint64_t support_stored = 0;
    absl::btree_map<BucketKey, OneMembership> touched;
    // Of a complete one: what was stored, once that is not what Record has. Of very many a copy is
    // what the fold holds most of.
    std::optional<std::vector<Support>> support;
  };
  struct OneSupport {
    uint64_t before = 0;  // in the store, or in Record
    uint64_t now = 0;
  };
  struct Entry {
    RecordKey key;
    Record now;
    bool exists = false;  // `now` is a row, a tombstone, or the support of a row that is not there
    bool touched = false;
    bool existed = false;            // in the store
    bool was_live = false;           // a row in the store
    std::vector<Membership> before;  // in the store, of a touched record that is not here partly
    // Support that the batch touched, of which Record, where it has them all, does not know yet: a
    // row may get or lose very many, in any order, and each would move half of its list.
    absl::btree_map<std::pair<uint32_t, BucketKey>, OneSupport> touched_support;
    // Support that began or ended since the row was placed: rule and source.
    std::vector<std::pair<uint32_t, BucketKey>> stirred;
    std::unique_ptr<Apart> apart;  // of a record that the store has apart
    bool live() const { return exists && !now.deleted; }
    bool partly() const { return apart != nullptr && !apart->complete; }
  };

  // Makes room for about `count` records.
  void Reserve(size_t count);
  size_t size() const { return entries_.size(); }
  bool touched() const { return touched_; }  // has anything been changed?
  // How many have not been read yet.
  size_t unread() const { return entries_.size() - loaded_; }
  // Of the rows, memberships and support that are here, about.
  size_t bytes() const { return bytes_; }
  // The slot of a record, a new one for a record not seen yet, which Load() then reads. `key` must
  // outlive the overlay.
  RowSlot SlotOf(EntityId entity, std::string_view key);
  // The same with a copy of the key.
  RowSlot SlotOfCopy(EntityId entity, std::string_view key);
  bool Has(EntityId entity, std::string_view key) const {
    return slots_.contains(KeyView{entity, key});
  }
  // The slot of a record that has just been read from the store; one that the overlay has already
  // stays as it is.
  RowSlot Adopt(const RecordKey& key, Record record);
  // Reads the slots that were made since the last call, in order, until these have `bytes_max`
  // bytes together, and at least one. Those that are left are unmade: they are size() and above,
  // and mean nothing any more.
  [[nodiscard]] absl::Status Load(FoldView& view, size_t bytes_max = SIZE_MAX);

  // Lets go of the record of the last slot, which was only looked at, and of the slot.
  void UnmakeLast();

  // Reads all memberships and support of a record that has them apart. To be called before what
  // looks at all of them.
  [[nodiscard]] absl::Status Complete(RowSlot slot, FoldView& view);
  // All support of a complete record, ascending by rule and source: not in entry(), which may lack
  // what the batch has changed of it. Valid as long as nothing of the record is changed.
  const std::vector<Support>& AllSupport(RowSlot slot);

  // Valid until the next slot is made.
  const Entry& entry(RowSlot slot) const { return entries_[slot]; }

  // A row is written at `position`. nullopt keeps the version. Its buckets are Place()'s matter.
  void Write(RowSlot slot, Position position, std::optional<int64_t> version, std::string row);
  // A row is deleted, or a delete with a version is remembered; false where neither is so.
  bool Delete(RowSlot slot, Position position, std::optional<int64_t> version);
  // The row, or what is remembered of one, is as new as `version`; nothing else of it changes.
  void SetVersion(RowSlot slot, int64_t version);
  // A record of an entity that is gone: its version and support mean nothing any more.
  void Strip(RowSlot slot);

  // A bucket that the row is to be in.
  struct Target {
    BucketKey bucket;
    uint32_t rule = 0;
    uint32_t from = 0;  // the caller's: a Move has it
    friend auto operator<=>(const Target&, const Target&) = default;
  };
  // What Place() did: the buckets that the row has come into or left.
  struct Move {
    Target target;
    bool entered = false;
  };
  // How memberships move in one event.
  struct Placement {
    Position written;            // of a row that the event wrote; offset kNoOffset: of others
    bool by_definition = false;  // the event is one
    Offset horizon;              // removals and stays that end at or below it count as gone
    // Of an event that an earlier batch has begun, its offset: what that has moved of the row has
    // the position that the rest is to get. kNoOffset: of others.
    Offset resumed;
    size_t changes_max = 0;                      // the batch has no room for more
    absl::FunctionRef<bool(uint32_t)> concerns;  // the rules whose buckets are decided
    absl::FunctionRef<Position()> next;          // of what moves without having been written
  };
  struct Placed {
    size_t changes = 0;    // memberships that were moved or written
    bool complete = true;  // false: there are more than `changes_max`; the same call does the rest
  };
  // Brings the memberships of the concerned rules to `targets` (ascending): what the record leaves
  // keeps a removal, what it comes into, or is written in anew, gets a put. Appends to `moves`.
  [[nodiscard]] Placed Place(RowSlot slot, std::span<const Target> targets,
                             const Placement& placement, std::vector<Move>* moves);

  // A bucket that the row is to be in, or not to be in.
  struct Decision {
    Target target;
    bool member = false;
    friend auto operator<=>(const Decision&, const Decision&) = default;
  };
  // As Place(), of a row that the event has not written, for these buckets (ascending) alone.
  [[nodiscard]] absl::StatusOr<Placed> PlaceSome(RowSlot slot, std::span<const Decision> decisions,
                                                 const Placement& placement, FoldView& view,
                                                 std::vector<Move>* moves);
  // Takes Entry::stirred of the rules for which `take` holds.
  std::vector<std::pair<uint32_t, BucketKey>> TakeStirred(RowSlot slot,
                                                          absl::FunctionRef<bool(uint32_t)> take);
  [[nodiscard]] absl::StatusOr<uint64_t> SupportOf(RowSlot slot, uint32_t rule, BucketKey source,
                                                   FoldView& view);

  // One row more (or less) gives this record the bucket derived from `source` by `rule`. False
  // where none gives it that could stop.
  [[nodiscard]] absl::StatusOr<bool> AddSupport(RowSlot slot, uint32_t rule, BucketKey source,
                                                int delta, FoldView& view);
  // Support by rules that are gone.
  void DropSupport(RowSlot slot, absl::FunctionRef<bool(uint32_t)> keep);

  // Writes the records, the deltas and the change in the number of live rows to `batch`, and what
  // it means for the buckets to `buckets`. A record with more than `inline_max` memberships and
  // support gets them apart, and keeps them so until they are fewer than half. `entity_name` knows
  // every entity touched. Ends the use of the overlay.
  [[nodiscard]] absl::Status Emit(absl::FunctionRef<std::string_view(EntityId)> entity_name,
                                  BucketChanges* buckets, FoldView& view, size_t inline_max,
                                  FoldBatch* batch);

 private:
  struct KeyView {
    EntityId entity;
    std::string_view key;
    friend bool operator==(const KeyView&, const KeyView&) = default;
  };
  struct KeyHash {
    size_t operator()(const KeyView& key) const;
  };

  static std::pair<uint32_t, BucketKey> SupportOrder(const Support& support) {
    return {support.rule, support.source};
  }
  Entry& Touch(RowSlot slot);
  // Before Record's support changes.
  static void KeepSupport(Entry& entry);
  void SetStored(Entry& entry, std::optional<Record> record);
  void PopSlot();
  // The operations that a membership was, and is.
  static void EmitErased(const Membership& was, const Entry& entry, std::string_view entity_name,
                         BucketChanges* buckets, FoldBatch* batch);
  static void EmitWritten(const Membership& is, const Entry& entry, std::string_view entity_name,
                          BucketChanges* buckets, FoldBatch* batch);
  void EmitDeltas(const Entry& entry, std::string_view entity_name, BucketChanges* buckets,
                  FoldBatch* batch);
  void EmitPartly(Entry& entry, std::string_view entity_name, BucketChanges* buckets,
                  FoldBatch* batch);
  static void EmitApart(Entry& entry, FoldBatch* batch);
  absl::StatusOr<Apart::OneMembership*> TouchMembership(RowSlot slot, BucketKey bucket,
                                                        FoldView& view);
  absl::StatusOr<OneSupport*> TouchSupport(RowSlot slot, uint32_t rule, BucketKey source,
                                           FoldView& view);
  static void SettleSupport(Entry& entry);

  absl::flat_hash_map<KeyView, RowSlot, KeyHash> slots_;
  std::vector<Entry> entries_;
  size_t loaded_ = 0;  // entries before it have been read
  size_t bytes_ = 0;
  size_t changes_ = 0;  // as Placed, of all
  bool touched_ = false;
  std::deque<std::string> own_keys_;  // what slots_ refers to of SlotOfCopy's
  std::vector<Membership> scratch_;
};

}  // namespace sluice::projectors

#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "projectors/staging/bucket_changes.h"
#include "projectors/staging/fold_view.h"

namespace sluice::projectors {

// The records that a batch touches: as the store has them, and as the batch leaves them. What is
// written follows from the two, so that only a record's last operation in a batch reaches the
// store, and splitting a history into other batches gives the same store. Not thread-safe.
class FoldOverlay {
 public:
  using Slot = uint32_t;
  struct Entry {
    RecordKey key;
    Record now;
    bool exists = false;  // `now` is a row or a tombstone
    bool touched = false;
    bool existed = false;            // in the store
    bool was_live = false;           // a row in the store
    std::vector<Membership> before;  // in the store, of a touched record
    bool live() const { return exists && !now.deleted; }
  };

  // Makes room for about `count` records.
  void Reserve(size_t count);
  // The slot of a record, a new one for a record not seen yet, which Load() then reads. `key` must
  // outlive the overlay.
  Slot SlotOf(EntityId entity, std::string_view key);
  [[nodiscard]] absl::Status Load(FoldView& view);
  // Reads every record of `entity`. Their slots in key order, those the batch has made included.
  // Holds the entity in memory; see docs/fold.md for how that will be bounded.
  [[nodiscard]] absl::StatusOr<std::vector<Slot>> LoadEntity(EntityId entity, FoldView& view);

  // Valid until the next slot is made.
  const Entry& entry(Slot slot) const { return entries_[slot]; }

  // A row is written at `position` and is then in `buckets` (ascending). nullopt keeps the version.
  void Write(Slot slot, Position position, std::optional<int64_t> version, std::string row,
             std::span<const BucketKey> buckets);
  // A row is deleted, or a delete with a version is remembered. Takes a removal's position in every
  // bucket that the row leaves from `next`.
  void Delete(Slot slot, Position position, std::optional<int64_t> version,
              absl::FunctionRef<Position()> next);
  // The rules have changed: the row is in `buckets` from now on; what does not change stays where
  // it is, the rest takes its position from `next`.
  void Reassign(Slot slot, std::span<const BucketKey> buckets, absl::FunctionRef<Position()> next);
  // Forgets a tombstone whose entity is gone, unless buckets still hold its removal.
  void ForgetTombstone(Slot slot);

  // Writes the records, the deltas and the change in the number of live rows to `batch`, and what
  // it means for the buckets to `buckets`. `entity_name` knows every entity touched. Ends the use
  // of the overlay.
  void Emit(absl::FunctionRef<std::string_view(EntityId)> entity_name, BucketChanges* buckets,
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

  Entry& Touch(Slot slot);
  void Move(Entry& entry, std::span<const BucketKey> buckets, bool stay,
            absl::FunctionRef<Position()> next);
  static void SetStored(Entry& entry, std::optional<Record> record);
  void EmitDeltas(const Entry& entry, std::string_view entity_name, BucketChanges* buckets,
                  FoldBatch* batch);

  absl::flat_hash_map<KeyView, Slot, KeyHash> slots_;
  std::vector<Entry> entries_;
  size_t loaded_ = 0;                 // entries before it have been read
  std::deque<std::string> own_keys_;  // what slots_ refers to of LoadEntity's
  std::vector<Membership> scratch_;
};

}  // namespace sluice::projectors

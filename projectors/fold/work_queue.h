#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/statusor.h"
#include "projectors/fold/fold_view.h"

namespace sluice::projectors {

// What one event still has to look at, in rounds by the depth of rules: the work of a round comes
// from the rounds before it, so that it is complete, and can be done in order, when the round
// begins. It is kept in memory until an event turns out to be larger than one batch; then it is in
// the store, and each batch writes what it added and erases what it did. Not thread-safe.
class WorkQueue {
 public:
  enum class Kind : uint8_t {
    kGive = 0,      // support that a row is given, or that is taken from it: see Give
    kEntity = 1,    // every row of an entity
    kChildren = 2,  // the rows that point at a row
    kRow = 3,
    kTurn = 4,  // what a row gives to others than before, in round 0: see Turn
  };
  struct Item {
    Kind kind = Kind::kRow;
    EntityId entity;
    AttributeId attribute;  // kChildren: of the rows that point
    std::string
        key;  // kRow: of the row; kChildren: of the row that is pointed at; kGive, kTurn: the rest
  };
  // A change of a row's support for which an earlier batch, or round, had no room. What is given
  // comes before what is taken of the same, so that no count is ever less than nothing.
  struct Give {
    EntityId entity;  // of the row
    std::string target;
    uint32_t rule = 0;
    BucketKey source;
    bool taken = false;
    // By whom, so that no two of an event are the same item: the operation that made the giving row
    // point elsewhere, or kByMove where it has come into the bucket or left it.
    uint32_t op = 0;
    std::string giver;
  };
  static constexpr uint32_t kByMove = UINT32_MAX;
  // An operation has made a row in very many buckets point elsewhere: each of its buckets gives to
  // other rows. Nothing of it changes before rounds begin, so that this can be done then, in parts.
  struct Turn {
    struct Reference {
      AttributeId attribute;
      std::string before;
      std::string after;
    };
    EntityId entity;
    std::string key;
    uint32_t op = 0;
    std::vector<Reference> references;  // ascending
    // The same of a later operation on the row comes after it: what both come to.
    void Then(Turn later);
  };
  // Those of one row ascend by operation.
  [[nodiscard]] static Item ItemOf(const Turn& turn);
  // As Decode(), of an item of kind kTurn.
  [[nodiscard]] static absl::StatusOr<Turn> TurnOf(const Item& item);
  [[nodiscard]] static Item ItemOf(const Give& give);
  // As Decode(), of an item of kind kGive.
  [[nodiscard]] static absl::StatusOr<Give> GiveOf(const Item& item);
  [[nodiscard]] static std::string Encode(const Item& item);
  // kDataLoss, code "store_corrupt", for what Encode() cannot have written.
  [[nodiscard]] static absl::StatusOr<Item> Decode(std::string_view bytes);

  // `stored`: the queue is in the store, since an earlier batch of the same event.
  WorkQueue(FoldView& view, bool stored) : view_(view), stored_(stored) {}

  // Repeating an item is nothing.
  void Add(uint32_t round, const Item& item);

  // The round's next items from `from` on, in order, `max` at most; nothing may be added to the
  // round once it has begun.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> Next(uint32_t round, std::string_view from,
                                                              size_t max) const;
  void Done(uint32_t round, const std::string& item);
  // Has an earlier batch left gives to the round, which has not begun?
  [[nodiscard]] absl::StatusOr<bool> HasStoredGives(uint32_t round) const;

  // Of what this batch has added and done, about.
  size_t bytes() const { return bytes_; }

  // The queue is in the store: what this batch adds is found only by the next one, so that a round
  // cannot begin in the batch in which the round before it has ended.
  bool stored() const { return stored_; }

  // The event goes on in another batch: writes what that needs.
  void Spill(FoldBatch* batch);
  // The event is complete: erases what the store has of it.
  void Finish(FoldBatch* batch);

 private:
  FoldView& view_;
  const bool stored_;
  absl::btree_set<WorkItem> added_;
  std::vector<WorkItem> done_;
  size_t bytes_ = 0;
};

}  // namespace sluice::projectors

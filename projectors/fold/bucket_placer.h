#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "projectors/fold/bucket_changes.h"
#include "projectors/fold/fold_overlay.h"
#include "projectors/fold/fold_view.h"
#include "projectors/fold/link_index.h"
#include "projectors/fold/work_queue.h"
#include "projectors/model/rule_set.h"

namespace sluice::projectors {

// Brings rows into the buckets that the rules give them after an event, and everything that follows
// from it: the rows related to them, the rows related to those.
//
// It goes in rounds by the depth of rules. What a rule of depth d gives a row depends on the row
// alone (depth 1), or on the buckets of depth d - 1 of rows that it is related to; so when round d
// begins, all that it needs is final, and each row moves at most once in each bucket. docs/fold.md
// has an example. Not thread-safe.
class BucketPlacer {
 public:
  // How much one batch may take on before a large event is cut.
  struct Limits {
    size_t rows_max = 0;
    size_t bytes_max = 0;   // as FoldOptions::step_bytes
    size_t work_max = 0;    // as FoldOptions::step_work
    size_t places_min = 1;  // a row in so many buckets or fewer is never cut
    size_t places_max = 0;  // one that has more of them is not read as a whole
    size_t once_max = 0;    // of work that can't be cut
    size_t turned_max = 0;  // as FoldOptions::turned_max
  };
  struct Parts {
    FoldView& view;
    FoldOverlay& overlay;
    LinkIndex& links;
    BucketChanges& buckets;
  };

  BucketPlacer(const Parts& parts, const Limits& limits);

  // The rules from now on.
  void UseRules(const RuleSet& rules) { rules_ = &rules; }

  // Begins an event, or goes on with one that an earlier batch has begun: with `resumed`.
  // Positions that no operation has run from `next_index` on.
  void Begin(Offset offset, Offset horizon, uint32_t next_index, const PartialEvent* resumed);

  // What a row says of others, taken before it is written or deleted and given to Written() after.
  struct References {
    std::vector<std::string> ups;    // of Entity::ups, in order; "" where null
    std::vector<std::string> links;  // of Entity::links, in order
  };
  [[nodiscard]] References ReferencesOf(FoldOverlay::RowSlot slot);
  // The event has written or deleted the row.
  [[nodiscard]] absl::Status Written(FoldOverlay::RowSlot slot, const References& before);
  // The event has looked at so many bytes of a row, or written them to it, and it stays where it
  // is; or has to tell of so many.
  void Passed(size_t bytes) {
    work_ += kRuleWork + bytes / kBytesPerWork;
    bytes_ += kChangeBytes + bytes;
  }
  // Deletes every row of `entity` with a key after `*after` that has no version, or one not above
  // `version`, which they get; counts them. False where the batch is full before the end: `*after`
  // is then the last key that was looked at, and the next batch goes on there.
  [[nodiscard]] absl::StatusOr<bool> Sweep(EntityId entity, int64_t version, std::string* after,
                                           uint64_t* swept);
  // Makes slots for the rows that a row may have to do with, to be read by Load().
  void Prefetch(EntityId entity, std::string_view row);

  // The event has replaced the rules `before` by the ones in use: what has to be looked at.
  void RulesReplaced(const RuleSet& before);
  // References by which nobody looks for children any more.
  const std::vector<std::pair<EntityId, AttributeId>>& unlinked() const { return unlinked_; }

  // Has the batch taken on so much of the event that it should end within it?
  bool Full() const;
  // The event's operations go on in another batch: what has been written so far is placed when all
  // of them are done.
  void PutOffWritten();

  // Does all that follows. False where the batch is full before the end: then Spill() and commit,
  // and go on in another batch with the same event.
  [[nodiscard]] absl::StatusOr<bool> Run();
  // How far it came.
  PartialEvent Progress() const;
  // About how much the batch's events have to write, and have taken on, so far.
  size_t bytes() const { return bytes_before_ + bytes_; }
  size_t work() const { return work_before_ + work_; }
  // Of rows that the event reads beside those that it names, and of what it is to write.
  size_t Held() const;
  void Spill(FoldBatch* batch) { queue_->Spill(batch); }
  void Finish(FoldBatch* batch) { queue_->Finish(batch); }

 private:
  using RowSlot = FoldOverlay::RowSlot;
  using Item = WorkQueue::Item;

  // Rows that are read together.
  static constexpr size_t kChunkMax = 512;
  static constexpr size_t kRelatedMax = 4'096;
  // About what a change of one bucket takes beside the row.
  static constexpr size_t kChangeBytes = 128;
  // What it takes to hold a row against a rule, or to give another row what follows from one,
  // beside the row's bytes; to look at one attribute, membership or support; and how many bytes of
  // a row, or of the name of a bucket of its, take as much as a unit of work: see
  // FoldOptions::step_work.
  static constexpr size_t kRuleWork = 64;
  static constexpr size_t kLookWork = 4;
  static constexpr size_t kBytesPerWork = 16;
  // Of a value in which something is looked for that it nearly has everywhere: 1.2 ns a byte.
  static constexpr size_t kSearchedBytesPerWork = 8;
  static constexpr size_t kNameBytesPerWork = 8;

  // As far as it does not depend on how many rows were read.
  bool FullBesideRows() const;
  // Since it was made, has so much been taken on as a batch may, whatever was held before?
  class Beside {
   public:
    explicit Beside(const BucketPlacer& placer)
        : placer_(placer), held_(placer.Held()), work_(placer.work_) {}
    bool Full() const {
      const size_t held = placer_.Held();
      return (held > held_ && held - held_ >= placer_.limits_.bytes_max) ||
             placer_.work_ - work_ >= placer_.limits_.work_max;
    }

   private:
    const BucketPlacer& placer_;
    const size_t held_;
    const size_t work_;
  };
  // Has it more than it should, amid a row? Then what the row has to do with is not kept, or waits.
  bool Crowded() const;
  // kAborted, code "large_event", for more than is begun at once.
  absl::Status CheckOnce(size_t work) const;
  // Counts what can't be cut either, of a row that has taken so much: `once` has the sum.
  absl::Status CountOnce(size_t work, size_t* once);
  size_t Chunk() const;
  // How many bytes of rows to read at once.
  size_t Room() const;
  // How many buckets of the row may change in this batch.
  size_t ChangesMax(RowSlot slot) const;
  void CountChanges(RowSlot slot, size_t changes);
  bool IsNew(const SyncRule& rule) const;
  // Does this round decide who is in the rule's buckets?
  bool Concerns(uint32_t rule) const;

  // These answer false where the batch is full before the end.
  absl::StatusOr<bool> RunRound();
  absl::StatusOr<bool> RunEntity(const Item& item);
  // In row_, between the row of an entity that is under way and the bucket up to which it is done:
  // in no row's key, nor in a text that points at one, as it is no UTF-8.
  static constexpr std::string_view kAmid{"\0\xff", 2};
  absl::StatusOr<bool> RunEntityRow(RowSlot slot, bool gone);
  absl::StatusOr<bool> RunChildren(const Item& item);
  absl::StatusOr<bool> RunTurn(const WorkQueue::Turn& turn);
  absl::StatusOr<bool> PlaceWritten();
  absl::StatusOr<bool> Place(RowSlot slot, bool by_support);
  absl::StatusOr<bool> PlaceStirred(RowSlot slot);
  absl::StatusOr<bool> Forget(RowSlot slot);
  // These how many they have placed: all, unless the batch is full.
  absl::StatusOr<size_t> PlaceRows(std::span<const std::string> items);
  absl::StatusOr<size_t> RunGives(std::span<const std::string> items);
  // How many items of the row of the one at `first` it has done: all, or none. Reads those that
  // `items` lacks.
  absl::StatusOr<size_t> RunTurns(size_t first, std::vector<std::string>* items);
  // `by_support`: of a row that the event has not written, nothing but support can have changed.
  absl::StatusOr<size_t> PlaceAll(std::span<const RecordKey> keys, bool by_support);
  // The slots of the first of them, read: one at least.
  absl::StatusOr<std::vector<RowSlot>> Read(std::span<const RecordKey> keys);
  // Is there room in the batch for the next of these rows? There is for the first. Reads the rows
  // that it has to do with in this round, together with those of the rows after it: `fetched` says
  // how far. Each row may have to do with a thousand, so that they are not read for all at once.
  absl::StatusOr<bool> HasRoom(std::span<const RowSlot> slots, size_t next, size_t* fetched);
  // As Prefetch(), of one round, or of all where it is 0.
  void Fetch(const RuleSet::Entity& rules, std::string_view row, uint32_t round);
  // What the row gives moves to where it points now; how its own buckets change comes later.
  absl::Status MoveSupport(RowSlot slot, const RuleSet::Entity& rules, const References& before,
                           const References& after);
  // What one of its buckets gives.
  absl::Status TurnBucket(const WorkQueue::Turn& turn, const RuleSet::Entity& rules, uint32_t rule,
                          BucketKey bucket);
  std::vector<std::pair<BucketKey, uint32_t>> SourcesOf(RowSlot slot) const;
  // Reads the memberships and support of a record that has them apart.
  absl::Status ReadAll(RowSlot slot);
  absl::Status FindTargets(RowSlot slot);
  absl::Status FindTargetsByParents(RowSlot slot, const RuleSet::Entity& rules, size_t* once);
  absl::Status AddTargetsOf(const RuleSet::Reference& reference, const std::string& parent,
                            EntityId entity, size_t* once);
  absl::Status FindTargetsBySupport(RowSlot slot, size_t* once);
  void AddTarget(const SyncRule& rule, BucketKey bucket, size_t from);
  [[nodiscard]] bool Move(RowSlot slot, absl::FunctionRef<bool(uint32_t)> concerns);
  // Names the buckets that the row has come into by Move().
  void NameEntered(RowSlot slot);
  // The row has come into buckets, or left them: so do the rows that are related to it.
  absl::Status PassOn(RowSlot slot, const std::vector<FoldOverlay::Move>& moves);
  // By `giver`, with `op` as WorkQueue::Give has it.
  absl::Status Support(const SyncRule& rule, const std::string& target, BucketKey source, int delta,
                       std::string_view giver, uint32_t op);
  absl::Status AddSupport(RowSlot slot, const SyncRule& rule, BucketKey source, int delta);
  absl::StatusOr<bool> GivesWait();
  absl::StatusOr<bool> SupportAnew(RowSlot slot);
  absl::Status LinkAnew(RowSlot slot);

  const Parts parts_;
  const Limits limits_;
  const RuleSet* rules_ = nullptr;
  const RuleSet* before_ = nullptr;  // of an event that replaced them

  // Of the event:
  std::optional<WorkQueue> queue_;
  Offset offset_;
  Offset horizon_;
  uint32_t next_index_ = 0;
  uint32_t round_ = 0;
  std::string item_;  // under way, or the next
  std::string row_;   // the last one done of it
  bool resumed_ = false;
  std::optional<bool> gives_wait_;  // as far as it is known
  std::vector<RowSlot> written_;
  std::vector<std::pair<EntityId, AttributeId>> unlinked_;
  size_t bytes_ = 0;  // to be written
  size_t work_ = 0;
  size_t bytes_before_ = 0;  // of the batch's earlier events
  size_t work_before_ = 0;
  size_t rows_at_begin_ = 0;
  size_t held_at_begin_ = 0;

  // Of a row: the buckets that it is to be in. It may be in millions, which are named where it
  // comes into them. Target::from is the place in the row's support of what gives it the bucket; in
  // sources_ of the parent's bucket; or in names_ of the name, by rules that are not related.
  std::vector<FoldOverlay::Target> targets_;
  std::vector<BucketKey> sources_;
  std::vector<std::string> names_;
  std::vector<FoldOverlay::Decision> decisions_;
  std::vector<FoldOverlay::Move> moves_;
};

}  // namespace sluice::projectors

#include "projectors/staging/fold.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "fmt/format.h"
#include "google/protobuf/arena.h"
#include "projectors/staging/bucket_changes.h"
#include "projectors/staging/bucket_placer.h"
#include "projectors/staging/fold_overlay.h"
#include "projectors/staging/link_index.h"
#include "projectors/staging/operation_check.h"
#include "schemas/row_codec.h"
#include "schemas/sha256.h"
#include "schemas/status.h"
#include "xxhash.h"

namespace sluice::projectors {
namespace {

constexpr std::string_view kChangeSet = "sluice.v1.ChangeSet";
constexpr std::string_view kOrgClosed = "sluice.v1.OrgClosed";

// Marks over the tombstones' horizon, and over their age: removals outlive either by the distance
// of two marks at most.
constexpr int64_t kMarks = 16;
// The clock takes that many events at least over the tombstones' age.
constexpr int64_t kClockSteps = 64;

// One call of Fold.
class Folder {
 public:
  Folder(const FoldOptions& options, const AppliedState& applied,
         std::shared_ptr<const OrgModel> model, FoldView& view)
      : options_(options),
        view_(view),
        model_(std::move(model)),
        links_(view),
        placer_({view, overlay_, links_, buckets_},
                {options.step_rows, options.step_bytes, options.step_work, options.inline_max,
                 options.places_max, options.work_max}) {
    result_.batch.applied = applied;
    UseModel();
  }

  absl::StatusOr<FoldResult> Run(std::span<const eventlog::StoredEvent> events);

 private:
  using Slot = FoldOverlay::Slot;

  // A change set of the span, parsed, with what it refers to.
  struct ParsedSet {
    v1::ChangeSet* set = nullptr;  // nullptr: malformed
    size_t first_slot = 0;         // of its operations, in op_slots_
    std::optional<size_t> seen;    // in seen_; nullopt for a set without id
  };
  struct Seen {
    std::string key;
    std::optional<AppliedSet> applied;
    bool written = false;
  };
  enum class Outcome { kDone, kPartial, kNotNow };

  absl::Status Gather(std::span<const eventlog::StoredEvent> events);
  void GatherSet(const eventlog::StoredEvent& event);
  void PrefetchRelated();
  absl::StatusOr<Outcome> ApplyEvent(const eventlog::StoredEvent& event);
  absl::StatusOr<Outcome> ApplySet(Offset offset, const ParsedSet& parsed);
  absl::StatusOr<bool> ApplyOps(Offset offset, const ParsedSet& parsed);
  absl::Status ApplyOp(Position position, const v1::Operation& op, Slot slot);
  absl::StatusOr<Outcome> ApplyControl(const eventlog::StoredEvent& event);
  absl::StatusOr<Outcome> Place();
  void Count(const eventlog::StoredEvent& event);
  void AdvanceClock(const eventlog::StoredEvent& event);
  void Complete(const eventlog::StoredEvent& event);
  absl::StatusOr<FoldResult> Emit(Outcome outcome);
  bool Full() const;

  void UseModel();
  const EntitySchema* FindEntity(uint32_t id) const {
    const auto found = entities_.find(id);
    return found == entities_.end() ? nullptr : found->second;
  }
  const PartialEvent* Resumed(Offset offset) const {
    return resumed_.has_value() && resumed_->offset == offset ? &*resumed_ : nullptr;
  }
  void Reject(Offset offset, uint32_t op_index, std::string_view code, std::string_view reason) {
    result_.rejected.push_back({offset, op_index, std::string(code), std::string(reason)});
  }

  const FoldOptions& options_;
  FoldView& view_;
  std::shared_ptr<const OrgModel> model_;
  std::shared_ptr<const OrgModel> model_before_;  // the event that is being applied
  bool model_changed_ = false;
  FoldResult result_;
  std::optional<PartialEvent> resumed_;  // what an earlier batch has begun
  uint64_t partial_hash_ = 0;            // of the event that this batch ends within

  google::protobuf::Arena arena_;
  FoldOverlay overlay_;
  size_t rows_at_start_ = 0;  // of overlay_, read for the span
  BucketChanges buckets_;
  LinkIndex links_;
  BucketPlacer placer_;
  std::vector<ParsedSet> sets_;  // the change sets of the span, in order
  size_t next_set_ = 0;
  std::vector<Slot> op_slots_;
  std::vector<Seen> seen_;
  absl::flat_hash_map<std::string, size_t> seen_index_;
  std::map<uint32_t, const EntitySchema*> entities_;  // of model_
  std::map<EntityId, std::string> names_;  // of entities that any model of this batch had
};

void Folder::UseModel() {
  entities_.clear();
  for (const auto& [name, schema] : model_->entities()) {
    entities_.emplace(schema->id().value(), schema.get());
    names_.try_emplace(schema->id(), name);
  }
  placer_.UseRules(model_->rules());
}

void Folder::GatherSet(const eventlog::StoredEvent& event) {
  ParsedSet& parsed = sets_.emplace_back();
  auto* set = google::protobuf::Arena::CreateMessage<v1::ChangeSet>(&arena_);
  if (!set->ParseFromString(event.event.value)) {
    return;
  }
  parsed.set = set;
  parsed.first_slot = op_slots_.size();
  for (const v1::Operation& op : set->ops()) {
    op_slots_.push_back(overlay_.SlotOf(EntityId(op.entity_id()), op.key()));
  }
  if (!set->id().empty()) {
    std::string key = ChangeSetKey(set->source(), set->id());
    const auto [found, inserted] = seen_index_.try_emplace(key, seen_.size());
    if (inserted) {
      seen_.push_back({std::move(key), std::nullopt, false});
    }
    parsed.seen = found->second;
  }
}

// The rows that the sets' rows may have to do with, as they are and as they will be.
void Folder::PrefetchRelated() {
  size_t next = 0;
  for (const ParsedSet& parsed : sets_) {
    for (int i = 0; parsed.set != nullptr && i < parsed.set->ops_size(); ++i) {
      const v1::Operation& op = parsed.set->ops(i);
      placer_.Prefetch(EntityId(op.entity_id()), op.row());
      const std::string before = overlay_.entry(op_slots_[next++]).now.row;
      placer_.Prefetch(EntityId(op.entity_id()), before);
    }
  }
}

// Reads all that the span refers to, so that the events are then applied in memory.
absl::Status Folder::Gather(std::span<const eventlog::StoredEvent> events) {
  sets_.reserve(events.size());
  op_slots_.reserve(events.size());
  seen_.reserve(events.size());
  seen_index_.reserve(events.size());
  overlay_.Reserve(events.size());
  for (const eventlog::StoredEvent& event : events) {
    if (event.event.type == kChangeSet && event.offset > result_.batch.applied.position) {
      GatherSet(event);
    }
  }
  RETURN_IF_ERROR(overlay_.Load(view_));
  if (model_->rules().depth_max() > 1) {
    PrefetchRelated();
    RETURN_IF_ERROR(overlay_.Load(view_));
  }
  if (seen_.empty()) {
    return absl::OkStatus();
  }
  std::vector<std::string> keys;
  keys.reserve(seen_.size());
  for (Seen& seen : seen_) {
    keys.push_back(std::move(seen.key));
  }
  ASSIGN_OR_RETURN(const std::vector<std::optional<AppliedSet>> applied, view_.GetChangeSets(keys));
  for (size_t i = 0; i < keys.size(); ++i) {
    seen_[i].key = std::move(keys[i]);
    seen_[i].applied = applied[i];
  }
  return absl::OkStatus();
}

absl::Status Folder::ApplyOp(Position position, const v1::Operation& op, Slot slot) {
  ++result_.counters.ops;
  const FoldOverlay::Entry& entry = overlay_.entry(slot);
  std::optional<int64_t> version;
  if (op.has_version()) {
    version = op.version();
    if (entry.exists && entry.now.version.has_value() && *version <= *entry.now.version) {
      ++result_.counters.stale_versions;
      return absl::OkStatus();
    }
  }
  const BucketPlacer::References before = placer_.ReferencesOf(slot);
  if (op.kind() == v1::Operation::KIND_DELETE) {
    return overlay_.Delete(slot, position, version) ? placer_.Written(slot, before)
                                                    : absl::OkStatus();
  }
  std::string row;
  if (op.kind() == v1::Operation::KIND_UPSERT) {
    row = op.row();
  } else if (!entry.live()) {
    ++result_.counters.patches_of_nothing;
    return absl::OkStatus();
  } else {
    std::vector<AttributeId> cleared(op.cleared().begin(), op.cleared().end());
    std::sort(cleared.begin(), cleared.end());
    ASSIGN_OR_RETURN(row, schemas::PatchRow(entry.now.row, op.row(), cleared));
  }
  overlay_.Write(slot, position, version, std::move(row));
  return placer_.Written(slot, before);
}

// False where the set is a duplicate, or does not fit: then nothing of it is applied.
absl::StatusOr<bool> Folder::ApplyOps(Offset offset, const ParsedSet& parsed) {
  if (parsed.set == nullptr) {
    Reject(offset, 0, "malformed_event", "the payload is not a sluice.v1.ChangeSet");
    return false;
  }
  const uint32_t incarnation = parsed.set->incarnation();
  if (incarnation != 0 && incarnation != model_->incarnation()) {
    Reject(
        offset, 0, "other_incarnation",
        fmt::format("the set was checked against incarnation {} of the organisation, which is in "
                    "incarnation {} here: send it again",
                    incarnation, model_->incarnation()));
    return false;
  }
  const uint64_t ordinal = result_.batch.applied.events;
  Seen* seen = parsed.seen.has_value() ? &seen_[*parsed.seen] : nullptr;
  if (seen != nullptr && seen->applied.has_value() &&
      ordinal - seen->applied->ordinal <= static_cast<uint64_t>(options_.dedup_window)) {
    ++result_.counters.duplicates;
    return false;
  }
  const v1::ChangeSet& set = *parsed.set;
  for (int i = 0; i < set.ops_size(); ++i) {
    const absl::Status check = CheckOperation(FindEntity(set.ops(i).entity_id()), set.ops(i));
    if (!check.ok()) {
      Reject(offset, static_cast<uint32_t>(i), ErrorCode(check), Message(check));
      return false;
    }
  }
  for (int i = 0; i < set.ops_size(); ++i) {
    RETURN_IF_ERROR(ApplyOp(Position{offset, static_cast<uint32_t>(i)}, set.ops(i),
                            op_slots_[parsed.first_slot + static_cast<size_t>(i)]));
  }
  if (seen != nullptr) {
    seen->applied = AppliedSet{offset, ordinal};
    seen->written = true;
  }
  return true;
}

absl::StatusOr<Folder::Outcome> Folder::ApplySet(Offset offset, const ParsedSet& parsed) {
  const PartialEvent* resumed = Resumed(offset);
  const auto ops = static_cast<uint32_t>(parsed.set == nullptr ? 0 : parsed.set->ops_size());
  placer_.Begin(offset, result_.batch.applied.horizon, ops, resumed);
  if (resumed == nullptr) {
    ASSIGN_OR_RETURN(const bool applied, ApplyOps(offset, parsed));
    if (!applied) {
      return Outcome::kDone;
    }
  }
  return Place();
}

absl::StatusOr<Folder::Outcome> Folder::Place() {
  ASSIGN_OR_RETURN(const bool complete, placer_.Run());
  if (complete) {
    placer_.Finish(&result_.batch);
  }
  return complete ? Outcome::kDone : Outcome::kPartial;
}

absl::StatusOr<Folder::Outcome> Folder::ApplyControl(const eventlog::StoredEvent& event) {
  absl::StatusOr<std::shared_ptr<const OrgModel>> applied =
      model_->Apply(event.event, event.offset);
  if (!applied.ok()) {
    if (model_->open()) {
      Count(event);
    }
    Reject(event.offset, 0, ErrorCode(applied.status()), Message(applied.status()));
    return Outcome::kDone;
  }
  if (event.event.type == kOrgClosed) {
    model_ = *std::move(applied);
    model_changed_ = true;
    result_.closed = true;
    return Outcome::kDone;
  }
  // What an event before it has left in memory, a look at all rows in the store would miss.
  if ((overlay_.touched() || !links_.empty()) && !model_->rules().SameAs((*applied)->rules())) {
    return Outcome::kNotNow;
  }
  Count(event);
  model_before_ = std::exchange(model_, *std::move(applied));
  model_changed_ = true;
  UseModel();
  placer_.Begin(event.offset, result_.batch.applied.horizon, 0, Resumed(event.offset));
  placer_.RulesReplaced(model_before_->rules());
  result_.batch.unlinked.insert(result_.batch.unlinked.end(), placer_.unlinked().begin(),
                                placer_.unlinked().end());
  return Place();
}

// One event more of the organisation's, so that older removals are forgotten: by number and, where
// one is set, by age. Called before the event is applied, and only for one that will be: not again
// where an earlier batch has begun it, nor where it has to wait for another batch.
void Folder::Count(const eventlog::StoredEvent& event) {
  if (Resumed(event.offset) != nullptr) {
    return;
  }
  AppliedState& applied = result_.batch.applied;
  ++applied.events;
  AdvanceClock(event);
  const int64_t age = options_.tombstone_age.count();
  const auto horizon = static_cast<uint64_t>(options_.tombstone_horizon);
  std::vector<Mark>& marks = applied.marks;
  const auto apart = [](int64_t whole) { return std::max<int64_t>(1, whole / kMarks); };
  if (marks.empty() ||
      applied.events - marks.back().ordinal >=
          static_cast<uint64_t>(apart(options_.tombstone_horizon)) ||
      (age > 0 && applied.clock_us - marks.back().time_us >= apart(age))) {
    marks.push_back({event.offset, applied.events, applied.clock_us});
  }
  const auto young = std::ranges::find_if(marks, [&](const Mark& mark) {
    return applied.events - mark.ordinal < horizon &&
           (age <= 0 || applied.clock_us - mark.time_us < age);
  });
  if (young != marks.begin()) {
    applied.horizon = std::max(applied.horizon, std::prev(young)->offset);
    marks.erase(marks.begin(), young);
  }
}

// The clock goes by the differences of what events say of their time, never back, and never far by
// one: events with a time far ahead must not end the life of every removal. What a quiet time was
// longer is lost to the clock, not made up for by the events after it.
void Folder::AdvanceClock(const eventlog::StoredEvent& event) {
  AppliedState& applied = result_.batch.applied;
  const int64_t age = options_.tombstone_age.count();
  if (age <= 0) {
    return;
  }
  const int64_t time =
      std::chrono::duration_cast<std::chrono::microseconds>(event.event.time.time_since_epoch())
          .count();
  if (applied.clock_us == 0) {
    applied.clock_us = applied.time_us = time;
    for (Mark& mark : applied.marks) {
      mark.time_us = time;  // of events without a known time: as if they were now
    }
    return;
  }
  const int64_t step = std::max<int64_t>(1, age / kClockSteps);
  // Times may be anything that somebody wrote: no difference of two that overflows.
  if (time > applied.time_us) {
    const auto ahead = static_cast<uint64_t>(time) - static_cast<uint64_t>(applied.time_us);
    applied.clock_us += static_cast<int64_t>(std::min(ahead, static_cast<uint64_t>(step)));
  }
  applied.time_us = time;
}

// The event has been applied whole.
void Folder::Complete(const eventlog::StoredEvent& event) {
  FoldBatch& batch = result_.batch;
  batch.applied.position = event.offset;
  batch.applied.event_hash = eventlog::EventHash(event.event);
  if (model_->open()) {
    batch.applied.history =
        ChainHistory(batch.applied.history, batch.applied.event_hash, event.offset);
    batch.history.emplace_back(event.offset, batch.applied.history);
  }
}

absl::StatusOr<Folder::Outcome> Folder::ApplyEvent(const eventlog::StoredEvent& event) {
  const std::string& type = event.event.type;
  if (OrgModel::IsControlEvent(type)) {
    if (model_->Answered(event.event)) {
      ++result_.counters.answered_controls;
      return Outcome::kDone;
    }
    // Closing what is closed is what a sequencer repeats after a crash.
    return type == kOrgClosed && !model_->open() ? Outcome::kDone : ApplyControl(event);
  }
  if (model_->open()) {
    Count(event);
  }
  if (type != kChangeSet) {
    Reject(event.offset, 0, "unknown_event_type",
           fmt::format("events of type \"{}\" are not known in `changes`", type.substr(0, 128)));
    return Outcome::kDone;
  }
  const ParsedSet& parsed = sets_[next_set_++];
  if (!model_->open()) {
    Reject(event.offset, 0, "org_not_open", "the organisation is not open at this position");
    return Outcome::kDone;
  }
  return ApplySet(event.offset, parsed);
}

absl::StatusOr<FoldResult> Folder::Emit(Outcome outcome) {
  FoldBatch& batch = result_.batch;
  result_.partial = outcome == Outcome::kPartial;
  RETURN_IF_ERROR(
      overlay_.Emit([&](EntityId id) -> std::string_view { return names_.find(id)->second; },
                    &buckets_, view_, options_.inline_max, &batch));
  RETURN_IF_ERROR(buckets_.Emit(view_, &batch));
  links_.Emit(&batch);
  for (Seen& seen : seen_) {
    if (seen.written) {
      batch.change_sets.emplace_back(std::move(seen.key), *seen.applied);
    }
  }
  if (result_.partial) {
    placer_.Spill(&batch);
    batch.applied.partial = placer_.Progress();
    batch.applied.partial->event_hash = partial_hash_;
    result_.model = model_before_ != nullptr ? std::move(model_before_) : std::move(model_);
    return std::move(result_);
  }
  batch.applied.partial.reset();
  if (model_changed_) {
    batch.model = model_->Serialize();
  }
  result_.model = std::move(model_);
  return std::move(result_);
}

// Room for another event beside those that the batch has taken?
bool Folder::Full() const {
  return overlay_.size() - rows_at_start_ >= options_.step_rows ||
         placer_.bytes() >= options_.step_bytes || placer_.work() >= options_.step_work;
}

absl::StatusOr<FoldResult> Folder::Run(std::span<const eventlog::StoredEvent> events) {
  const AppliedState start = result_.batch.applied;
  const std::shared_ptr<const OrgModel> model = model_;
  resumed_ = start.partial;
  RETURN_IF_ERROR(Gather(events));
  rows_at_start_ = overlay_.size();
  const eventlog::StoredEvent* last = nullptr;
  Outcome outcome = Outcome::kDone;
  for (const eventlog::StoredEvent& event : events) {
    if (event.offset <= start.position) {
      ++result_.consumed;
      continue;
    }
    if (last == nullptr && resumed_.has_value() && resumed_->offset != event.offset) {
      return Error(absl::StatusCode::kDataLoss, "store_corrupt",
                   fmt::format("the event at {} has been applied in part, the next one given is "
                               "at {}",
                               resumed_->offset.value(), event.offset.value()));
    }
    if (result_.closed || (last != nullptr && Full())) {
      break;
    }
    ASSIGN_OR_RETURN(outcome, ApplyEvent(event));
    if (outcome == Outcome::kPartial && last != nullptr) {
      // Too large to share a batch: what comes before it is folded alone.
      return Folder(options_, start, model, view_).Run(events.first(result_.consumed));
    }
    if (outcome == Outcome::kPartial) {
      // Once for all its parts: it may be large.
      partial_hash_ = resumed_.has_value() && resumed_->event_hash != 0
                          ? resumed_->event_hash
                          : eventlog::EventHash(event.event);
    }
    if (outcome != Outcome::kDone) {
      break;
    }
    ++result_.counters.events;
    ++result_.consumed;
    Complete(event);
    last = &event;
  }
  return Emit(outcome);
}

}  // namespace

absl::StatusOr<FoldResult> Fold(const FoldOptions& options, const AppliedState& applied,
                                std::shared_ptr<const OrgModel> model,
                                std::span<const eventlog::StoredEvent> events, FoldView& view) {
  return Folder(options, applied, std::move(model), view).Run(events);
}

std::string ChangeSetKey(std::string_view source, std::string_view id) {
  std::string key;
  key.reserve(source.size() + 1 + id.size());
  key.append(source).push_back('\0');
  key.append(id);
  return key;
}

uint64_t ChainHistory(uint64_t before, uint64_t event_hash, Offset offset) {
  char bytes[24];
  const uint64_t numbers[] = {before, event_hash, static_cast<uint64_t>(offset.value())};
  for (size_t i = 0; i < sizeof(bytes); ++i) {
    bytes[i] = static_cast<char>(numbers[i / 8] >> (56 - i % 8 * 8));
  }
  return DigestWord(Sha256({bytes, sizeof(bytes)}), 0);
}

uint64_t RowChecksum(std::string_view entity, std::string_view key, Position position) {
  // entity name, 0x00, key, 0x00, and at most 20 + 1 + 10 bytes of position.
  constexpr size_t kPositionMax = 32;
  char local[768];
  std::string large;
  const size_t size_max = entity.size() + key.size() + 2 + kPositionMax;
  char* const begin = size_max <= sizeof(local) ? local : (large.resize(size_max), large.data());
  char* end = begin;
  std::memcpy(end, entity.data(), entity.size());
  end += entity.size();
  *end++ = '\0';
  std::memcpy(end, key.data(), key.size());
  end += key.size();
  *end++ = '\0';
  end = std::to_chars(end, begin + size_max, position.offset.value()).ptr;
  *end++ = '.';
  end = std::to_chars(end, begin + size_max, position.index).ptr;
  return XXH64(begin, static_cast<size_t>(end - begin), 0);
}

}  // namespace sluice::projectors

#include "projectors/fold/fold.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <utility>

#include "fmt/format.h"
#include "projectors/fold/bucket_changes.h"
#include "projectors/fold/bucket_placer.h"
#include "projectors/fold/fold_overlay.h"
#include "projectors/fold/gathered_span.h"
#include "projectors/fold/link_index.h"
#include "projectors/fold/operation_check.h"
#include "projectors/fold/source_rows.h"
#include "schemas/base/sha256.h"
#include "schemas/base/status.h"
#include "schemas/row_codec.h"
#include "xxhash.h"

namespace sluice::projectors {
namespace {

constexpr std::string_view kOrgClosed = "sluice.v1.OrgClosed";

// One that is alone: another one is refused by itself.
bool IsSweep(const v1::ChangeSet& set) {
  return set.only_changes() && set.ops_size() == 1 &&
         set.ops(0).kind() == v1::Operation::KIND_SWEEP;
}

// Marks over the tombstones' horizon, and over their age: removals outlive either by the distance
// of two marks at most.
constexpr int64_t kMarks = 16;
// The clock takes that many events at least over the tombstones' age.
constexpr int64_t kClockSteps = 64;

// One call of Fold.
class FoldRun {
 public:
  FoldRun(const FoldOptions& options, const AppliedState& applied,
          std::shared_ptr<const OrgModel> model, FoldView& view)
      : options_(options),
        view_(view),
        model_(std::move(model)),
        links_(view),
        placer_({view, overlay_, links_, buckets_},
                {options.step_rows, options.step_bytes, options.step_work, options.inline_max,
                 options.places_max, options.work_max, options.turned_max}),
        source_rows_({view, overlay_, placer_, result_.counters}),
        span_(view, overlay_, placer_) {
    result_.batch.applied = applied;
    UseModel();
  }

  absl::StatusOr<FoldResult> Run(std::span<const eventlog::StoredEvent> all);

 private:
  using RowSlot = FoldOverlay::RowSlot;

  using ParsedSet = GatheredSpan::Set;
  enum class Outcome { kDone, kPartial, kNotNow };

  absl::Status Gather(std::span<const eventlog::StoredEvent> events);
  absl::StatusOr<Outcome> ApplyEvent(const eventlog::StoredEvent& event);
  absl::StatusOr<Outcome> ApplySet(Offset offset, const ParsedSet& parsed);
  bool Takes(Offset offset, const ParsedSet& parsed);
  bool TakesStep(Offset offset, const ParsedSet& parsed);
  bool TakesOps(Offset offset, const v1::ChangeSet& set);
  absl::StatusOr<bool> ApplyOps(Offset offset, const ParsedSet& parsed);
  absl::StatusOr<bool> Sweep(Offset offset, const v1::Operation& op);
  bool IsApplicable(Offset offset, const v1::ChangeSet& set, size_t op);
  absl::Status ApplyOp(Position position, const v1::Operation& op, RowSlot slot);
  absl::StatusOr<Outcome> ApplyControl(const eventlog::StoredEvent& event);
  absl::StatusOr<Outcome> Place();
  void Count(const eventlog::StoredEvent& event);
  void AdvanceClock(const eventlog::StoredEvent& event);
  void Complete(const eventlog::StoredEvent& event);
  absl::StatusOr<FoldResult> Emit(Outcome outcome);
  bool Full() const;
  bool TooManyRejected() const { return result_.rejected.size() >= options_.step_rejected; }
  size_t Held() const;

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

  // Of that event: PartialEvent::op, and ::row of one that sweeps.
  uint32_t next_op_ = 0;
  std::string swept_until_;

  FoldOverlay overlay_;
  size_t rows_at_start_ = 0;  // of overlay_, read for the span
  BucketChanges buckets_;
  LinkIndex links_;
  BucketPlacer placer_;
  SourceRows source_rows_;
  GatheredSpan span_;
  size_t next_set_ = 0;                               // in span_
  std::map<uint32_t, const EntitySchema*> entities_;  // of model_
  std::map<EntityId, std::string> names_;  // of entities that any model of this batch had
};

void FoldRun::UseModel() {
  entities_.clear();
  for (const auto& [name, schema] : model_->entities()) {
    entities_.emplace(schema->id().value(), schema.get());
    names_.try_emplace(schema->id(), name);
  }
  placer_.UseRules(model_->rules());
}

absl::Status FoldRun::ApplyOp(Position position, const v1::Operation& op, RowSlot slot) {
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
  // What the row points at is noted before it is written: what it gives to other rows moves from
  // there, and once it is written nobody could tell from where.
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

// A source's set that comes after it has lost its place is no error of anybody's: another worker
// has gone on, or the source or its organisation was made anew.
bool FoldRun::TakesStep(Offset offset, const ParsedSet& parsed) {
  if (!parsed.chain.has_value()) {
    return true;
  }
  GatheredSpan::Chain& chain = span_.chains()[*parsed.chain];
  const v1::SourceBinding* const binding = model_->FindSource(chain.stream.source);
  if (TakeStep(binding, *parsed.set, offset, &chain.state) == StepVerdict::kStale) {
    ++result_.counters.stale_steps;
    return false;
  }
  chain.moved = true;
  return true;
}

// False where the set is a duplicate, or does not fit: then nothing of it is applied.
bool FoldRun::Takes(Offset offset, const ParsedSet& parsed) {
  if (parsed.set == nullptr) {
    Reject(offset, 0, "malformed_event", "the payload is not a sluice.v1.ChangeSet");
    return false;
  }
  const uint32_t incarnation = parsed.set->incarnation();
  if (incarnation != 0 && incarnation != model_->incarnation()) {
    if (parsed.chain.has_value()) {
      ++result_.counters.stale_steps;
      return false;
    }
    Reject(
        offset, 0, "other_incarnation",
        fmt::format("the set was checked against incarnation {} of the organisation, which is in "
                    "incarnation {} here: send it again",
                    incarnation, model_->incarnation()));
    return false;
  }
  // Before the look at its id, and whatever becomes of the set: the chain is the log's alone, and
  // who follows it without the rows must come to the same.
  if (!TakesStep(offset, parsed)) {
    return false;
  }
  // Where there is a step it alone decides, and Parse() has left the id out: a set that was taken
  // and passed over for its id would be lost.
  const uint64_t ordinal = result_.batch.applied.events;
  GatheredSpan::Seen* seen = parsed.seen.has_value() ? &span_.seen()[*parsed.seen] : nullptr;
  if (seen != nullptr && seen->applied.has_value() &&
      ordinal - seen->applied->ordinal <= static_cast<uint64_t>(options_.dedup_window)) {
    ++result_.counters.duplicates;
    return false;
  }
  if (!TakesOps(offset, *parsed.set)) {
    return false;
  }
  if (seen != nullptr) {
    seen->applied = AppliedSet{offset, ordinal};
    seen->written = true;
  }
  return true;
}

// All operations are checked before the first is applied, since what is applied in memory is not
// undone; and after the look at the set's id, since a set that was applied stays so whatever the
// definitions are by now. Those of a source are passed over one by one: IsApplicable().
bool FoldRun::TakesOps(Offset offset, const v1::ChangeSet& set) {
  for (int i = 0; i < set.ops_size() && !set.only_changes(); ++i) {
    const absl::Status check = CheckOperation(FindEntity(set.ops(i).entity_id()), set.ops(i));
    if (!check.ok()) {
      Reject(offset, static_cast<uint32_t>(i), ErrorCode(check), Message(check));
      return false;
    }
  }
  return true;
}

// Of a source's set.
bool FoldRun::IsApplicable(Offset offset, const v1::ChangeSet& set, size_t op) {
  const v1::Operation& checked = set.ops(static_cast<int>(op));
  const absl::Status check = CheckSourceOperation(FindEntity(checked.entity_id()), checked,
                                                  /*alone=*/set.ops_size() == 1);
  if (!check.ok()) {
    Reject(offset, static_cast<uint32_t>(op), ErrorCode(check), Message(check));
    Rejected& rejected = result_.rejected.back();
    if (const EntitySchema* schema = FindEntity(checked.entity_id()); schema != nullptr) {
      rejected.entity = schema->name();
    }
    if (schemas::ValidateKey(checked.key()).ok()) {  // it becomes a text of the letter
      rejected.key = checked.key();
    }
    placer_.Passed(rejected.reason.size() + rejected.key.size());
  }
  return check.ok();
}

// As ApplyOps(), of the one operation of a set that sweeps.
absl::StatusOr<bool> FoldRun::Sweep(Offset offset, const v1::Operation& op) {
  const PartialEvent* const resumed = Resumed(offset);
  swept_until_ = resumed == nullptr ? "" : resumed->row;
  ASSIGN_OR_RETURN(const bool complete, placer_.Sweep(EntityId(op.entity_id()), op.version(),
                                                      &swept_until_, &result_.counters.swept));
  next_op_ = complete ? 0 : 1;
  return complete;
}

// False where there are more of them than the batch has room for: the next one goes on.
absl::StatusOr<bool> FoldRun::ApplyOps(Offset offset, const ParsedSet& parsed) {
  const auto ops = static_cast<size_t>(parsed.set->ops_size());
  for (size_t i = parsed.first_op; i < parsed.end_op; ++i) {
    next_op_ = static_cast<uint32_t>(i);
    if (i > parsed.first_op && (placer_.Full() || TooManyRejected())) {
      return false;
    }
    const v1::Operation& op = parsed.set->ops(static_cast<int>(i));
    const Position position{offset, next_op_};
    if (!parsed.set->only_changes()) {
      RETURN_IF_ERROR(ApplyOp(position, op, span_.SlotOf(parsed, i)));
    } else if (IsApplicable(offset, *parsed.set, i)) {
      RETURN_IF_ERROR(
          source_rows_.Apply(position, op, *FindEntity(op.entity_id()), span_.SlotOf(parsed, i)));
    }
  }
  next_op_ = parsed.end_op < ops ? static_cast<uint32_t>(parsed.end_op) : 0;
  return next_op_ == 0;
}

absl::StatusOr<FoldRun::Outcome> FoldRun::ApplySet(Offset offset, const ParsedSet& parsed) {
  const PartialEvent* resumed = Resumed(offset);
  const auto ops = static_cast<uint32_t>(parsed.set == nullptr ? 0 : parsed.set->ops_size());
  placer_.Begin(offset, result_.batch.applied.horizon, ops, resumed);
  // Of a set that an earlier batch has begun the id is in the store already, with that batch: asked
  // once more, the set would be a duplicate of itself and never be completed.
  if (resumed == nullptr && !Takes(offset, parsed)) {
    return Outcome::kDone;
  }
  if (resumed != nullptr && resumed->op == 0) {
    return Place();
  }
  if (resumed == nullptr && IsSweep(*parsed.set) && !IsApplicable(offset, *parsed.set, 0)) {
    return Outcome::kDone;
  }
  ASSIGN_OR_RETURN(const bool complete, IsSweep(*parsed.set) ? Sweep(offset, parsed.set->ops(0))
                                                             : ApplyOps(offset, parsed));
  if (!complete || resumed != nullptr) {
    // Nothing is placed before all is written: a row may be written again, or related to such.
    placer_.PutOffWritten();
    return Outcome::kPartial;
  }
  return Place();
}

absl::StatusOr<FoldRun::Outcome> FoldRun::Place() {
  ASSIGN_OR_RETURN(const bool complete, placer_.Run());
  if (complete) {
    placer_.Finish(&result_.batch);
  }
  return complete ? Outcome::kDone : Outcome::kPartial;
}

absl::StatusOr<FoldRun::Outcome> FoldRun::ApplyControl(const eventlog::StoredEvent& event) {
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
void FoldRun::Count(const eventlog::StoredEvent& event) {
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
void FoldRun::AdvanceClock(const eventlog::StoredEvent& event) {
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

// The event is done, whatever came of it: the chain is over what the log holds, so that two logs
// that differ in a rejected event differ in their chains.
void FoldRun::Complete(const eventlog::StoredEvent& event) {
  FoldBatch& batch = result_.batch;
  batch.applied.position = event.offset;
  batch.applied.event_hash = eventlog::EventHash(event.event);
  if (model_->open()) {
    batch.applied.history =
        ChainHistory(batch.applied.history, batch.applied.event_hash, event.offset);
    batch.history.emplace_back(event.offset, batch.applied.history);
  }
}

absl::StatusOr<FoldRun::Outcome> FoldRun::ApplyEvent(const eventlog::StoredEvent& event) {
  const std::string& type = event.event.type;
  if (OrgModel::IsControlEvent(type)) {
    if (model_->Answered(event.event)) {
      ++result_.counters.answered_controls;
      return Outcome::kDone;
    }
    // Closing what is closed is what a sequencer repeats after a crash.
    return type == kOrgClosed && !model_->open() ? Outcome::kDone : ApplyControl(event);
  }
  // What an event before it has left in memory, a look at all rows in the store would miss.
  if (type == kChangeSetType && overlay_.touched() && span_.sets()[next_set_].set != nullptr &&
      IsSweep(*span_.sets()[next_set_].set)) {
    return Outcome::kNotNow;
  }
  if (model_->open()) {
    Count(event);
  }
  if (type != kChangeSetType) {
    Reject(event.offset, 0, "unknown_event_type",
           fmt::format("events of type \"{}\" are not known in `changes`", type.substr(0, 128)));
    return Outcome::kDone;
  }
  const ParsedSet& parsed = span_.sets()[next_set_++];
  if (!model_->open()) {
    if (parsed.chain.has_value()) {
      ++result_.counters.stale_steps;
    } else {
      Reject(event.offset, 0, "org_not_open", "the organisation is not open at this position");
    }
    return Outcome::kDone;
  }
  return ApplySet(event.offset, parsed);
}

absl::StatusOr<FoldResult> FoldRun::Emit(Outcome outcome) {
  FoldBatch& batch = result_.batch;
  result_.held_bytes = Held();
  result_.partial = outcome == Outcome::kPartial;
  // In this order: the operations that the overlay erases and writes are what buckets are counted
  // by.
  RETURN_IF_ERROR(
      overlay_.Emit([&](EntityId id) -> std::string_view { return names_.find(id)->second; },
                    &buckets_, view_, options_.inline_max, &batch));
  RETURN_IF_ERROR(buckets_.Emit(view_, &batch));
  links_.Emit(&batch);
  for (GatheredSpan::Seen& seen : span_.seen()) {
    if (seen.written) {
      batch.change_sets.emplace_back(std::move(seen.key), *seen.applied);
    }
  }
  for (GatheredSpan::Chain& chain : span_.chains()) {
    if (chain.moved) {
      batch.sources.emplace_back(std::move(chain.stream), std::move(chain.state));
    }
  }
  if (result_.partial) {
    // The event has not happened yet: position and model stay those of before, and the batch that
    // goes on applies a definition to the same model again.
    placer_.Spill(&batch);
    batch.applied.partial = placer_.Progress();
    batch.applied.partial->event_hash = partial_hash_;
    batch.applied.partial->op = next_op_;
    if (next_op_ > 0) {
      batch.applied.partial->row = std::move(swept_until_);
    }
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
bool FoldRun::Full() const {
  return overlay_.size() - rows_at_start_ >= options_.step_rows || Held() >= options_.step_bytes ||
         placer_.work() >= options_.step_work || TooManyRejected();
}

size_t FoldRun::Held() const { return overlay_.bytes() + links_.bytes() + placer_.bytes(); }

// Leaves half of the room to what the events make, and to what they bring with them.
absl::Status FoldRun::Gather(std::span<const eventlog::StoredEvent> events) {
  const GatheredSpan::Limits limits{.bytes_max = options_.step_bytes / 4,
                                    .related_max = options_.step_bytes / 4,
                                    .related_rows_max = options_.step_rows};
  return span_.Gather(events, limits, model_->rules().depth_max() > 1,
                      resumed_.has_value() ? &*resumed_ : nullptr);
}

absl::StatusOr<FoldResult> FoldRun::Run(std::span<const eventlog::StoredEvent> all) {
  const AppliedState start = result_.batch.applied;
  const std::shared_ptr<const OrgModel> model = model_;
  resumed_ = start.partial;
  const auto next = std::ranges::find_if(
      all, [&](const eventlog::StoredEvent& event) { return event.offset > start.position; });
  result_.consumed = static_cast<size_t>(next - all.begin());
  std::span<const eventlog::StoredEvent> events = all.subspan(result_.consumed);
  if (resumed_.has_value() && !events.empty()) {
    if (resumed_->offset != events.front().offset) {
      return Error(StatusCode::kDataLoss, "store_corrupt",
                   "the event at {} has been applied in part, the next one given is at {}",
                   resumed_->offset.value(), events.front().offset.value());
    }
    events = events.first(1);
  }
  RETURN_IF_ERROR(Gather(events));
  rows_at_start_ = overlay_.size();
  const eventlog::StoredEvent* last = nullptr;
  Outcome outcome = Outcome::kDone;
  for (const eventlog::StoredEvent& event : events.first(span_.events())) {
    if (result_.closed || (last != nullptr && Full())) {
      break;
    }
    ASSIGN_OR_RETURN(outcome, ApplyEvent(event));
    if (outcome == Outcome::kPartial && last != nullptr) {
      // Too large to share a batch: what comes before it is folded alone.
      return FoldRun(options_, start, model, view_).Run(all.first(result_.consumed));
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
  return FoldRun(options, applied, std::move(model), view).Run(events);
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

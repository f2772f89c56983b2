#include "gateways/sync/delta_selection.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using projectors::DeltaView;
using projectors::Membership;
using projectors::Record;
using projectors::RecordKey;
using projectors::Stay;

constexpr Offset kForEver{INT64_MAX};

}  // namespace

absl::Status DeltaSelection::Open() {
  for (uint32_t g = 0; g < plan_.groups.size(); ++g) {
    const PlanGroup& group = plan_.groups[g];
    sending_groups_ += group.state.lost ? 0 : 1;
    lost_at_base_ = lost_at_base_ || (group.state.lost && group.state.at_base);
    for (const PlanBucket& bucket : group.buckets) {
      if (bucket.current != nullptr) {
        group_of_.insert_or_assign(bucket.key, Place{&group, &bucket});
      } else {
        group_of_.emplace(bucket.key, Place{&group, &bucket});
      }
      buckets_.push_back(bucket.key);
      if (bucket.current != nullptr) {
        EntityInfo& entity = entities_[bucket.current->entity->schema->name()];
        entity.id = bucket.current->entity->schema->id();
        ++entity.buckets;
      }
      Source source{.it = snapshot_.Scan(bucket.key, group.state.position),
                    .bucket = &bucket,
                    .group = g,
                    .lost = group.state.lost ? &plan_.lost_entities[bucket.lost_entity] : nullptr};
      RETURN_IF_ERROR(source.it->status());
      if (source.it->Valid()) {
        heap_.push_back(std::move(source));
      }
    }
  }
  std::sort(buckets_.begin(), buckets_.end());
  buckets_.erase(std::unique(buckets_.begin(), buckets_.end()), buckets_.end());
  std::make_heap(heap_.begin(), heap_.end(), Later);
  return absl::OkStatus();
}

// Of its entity there is no other bucket, so no row can be held through one, and no time away to
// tell of: Choose() then looks at nothing but what KnownRows says, and at rows that have returned.
bool DeltaSelection::SameForAll(const Source& source) const {
  const PlanGroup& group = plan_.groups[source.group];
  return source.lost == nullptr && group.state.away_until == kNoOffset && !lost_at_base_ &&
         entities_.at(source.bucket->current->entity->schema->name()).buckets == 1 &&
         (!group.Loading() || (sending_groups_ == 1 && plan_.base == kNoOffset));
}

absl::StatusOr<std::optional<Piece>> DeltaSelection::NextPiece(PieceKey key, size_t passed_max,
                                                               PieceReader& pieces) {
  if (!may_go_by_pieces_ || heap_.size() > 1) {
    return std::nullopt;
  }
  Source& source = heap_.front();
  const PlanBucket& bucket = *source.bucket;
  const CursorGroupState& state = plan_.groups[source.group].state;
  if (!changed_.has_value()) {
    may_go_by_pieces_ = SameForAll(source);
    if (!may_go_by_pieces_) {
      return std::nullopt;
    }
    ASSIGN_OR_RETURN(const projectors::BucketState found, snapshot_.Bucket(bucket.key));
    changed_ = ContentOf(found, snapshot_.applied());
    // Cursors of different positions come to the same operation.
    reached_ = Before(source.it->op().position);
    pieces.GoOn(std::move(source.it), bucket.key, reached_);
  }
  key.bucket = bucket.key;
  key.from = reached_;
  key.changed = *changed_;
  key.known_rows =
      KnownRows{.removed_after = state.removed_after, .entered_until = kForEver}.Within(reached_,
                                                                                        *changed_);
  key.model = snapshot_.model();
  key.schema = bucket.current->entity->schema.get();
  key.denied = bucket.current->entity->denied;
  ASSIGN_OR_RETURN(Piece piece, pieces.Read(snapshot_, key, passed_max));
  const bool loads = plan_.groups[source.group].Loading() && *changed_ <= state.removed_after;
  if (piece.returned && !loads) {
    may_go_by_pieces_ = false;  // the holder may have them: each is looked up
    source.it = snapshot_.Scan(bucket.key, reached_);
    RETURN_IF_ERROR(source.it->status());
    return std::nullopt;
  }
  scanned_ += piece.count + piece.passed;
  reached_ = piece.reached;
  if (piece.last) {
    heap_.clear();
  }
  return piece;
}

absl::Status DeltaSelection::Next(Send send) {
  const Position position = heap_.front().it->op().position;
  sent_here_.clear();
  while (!heap_.empty() && heap_.front().it->op().position == position) {
    std::pop_heap(heap_.begin(), heap_.end(), Later);
    Source& source = heap_.back();
    RETURN_IF_ERROR(Choose(source, source.it->op(), send));
    source.it->Next();
    RETURN_IF_ERROR(source.it->status());
    if (source.it->Valid()) {
      std::push_heap(heap_.begin(), heap_.end(), Later);
    } else {
      heap_.pop_back();
    }
  }
  reached_ = position;
  return absl::OkStatus();
}

absl::Status DeltaSelection::Choose(const Source& source, const DeltaView& op, Send send) {
  ++scanned_;
  if (op.old) {
    return absl::OkStatus();
  }
  const CursorGroupState& state = plan_.groups[source.group].state;
  if (source.lost != nullptr || !op.put) {
    return ChooseRemoval(source, state, op, send);
  }
  if (SentHere(op)) {
    return absl::OkStatus();
  }
  if (MayBeHeld(source, op)) {
    ASSIGN_OR_RETURN(const bool held, HolderHas(source, op));
    if (held) {
      return absl::OkStatus();
    }
  }
  const projectors::CallerEntity& entity = *source.bucket->current->entity;
  Note(op);
  return send({.put = true,
               .entity = entity.schema->name(),
               .key = op.key,
               .position = op.position,
               .schema = entity.schema.get(),
               .denied = entity.denied,
               .row = op.row});
}

// In a lost bucket a put stands for a removal, too.
//
// In a bucket that stayed the caller's every removal goes out, also of rows that entered after
// the group's position: the holder may have them from pages after its cursor, which it need not
// have kept, or through another bucket whose removal was left out because this one had the row.
absl::Status DeltaSelection::ChooseRemoval(const Source& source, const CursorGroupState& state,
                                           const DeltaView& op, Send send) {
  const bool lost = source.lost != nullptr;
  if (!op.put && op.position.offset <= state.removed_after) {
    return absl::OkStatus();  // sent before, or gone before the holder could have it
  }
  ASSIGN_OR_RETURN(const bool known, MayBeKnown(source, state, op));
  if (!known) {
    return absl::OkStatus();
  }
  const std::string& entity =
      lost ? source.lost->name : source.bucket->current->entity->schema->name();
  if (lost || entities_.at(entity).buckets > 1) {
    ASSIGN_OR_RETURN(const bool held, IsMember(entity, op.key));
    if (held) {
      return absl::OkStatus();
    }
  }
  if (SentHere(op) || (lost && !removed_.emplace(entity, op.key).second)) {
    return absl::OkStatus();
  }
  Note(op);
  return send({.put = false, .entity = entity, .key = op.key, .position = op.position});
}

// The holder may know the row from a stay in the bucket, [from, until), if
// 1. it ended after `removed_after`: of what had left by then the holder knows nothing;
// 2. where the bucket is lost, it began by `lost_at`, the last page before the loss;
// 3. it was not all within the time away: that it began by `away_from` or goes on past
// `away_until`. A row that has returned to the bucket has several stays. The last one stands for
// all where the bucket is the caller's and that stay goes on past `away_until`: 3 holds then, and
// the others ended earlier, so that 1 holds for none of them unless for this one.
absl::StatusOr<bool> DeltaSelection::MayBeKnown(const Source& source, const CursorGroupState& state,
                                                const DeltaView& op) const {
  const auto may_be_known = [&](Offset from, Offset until) {
    const bool late_enough = until > state.removed_after;                       // 1
    const bool before_loss = !state.lost || from <= state.lost_at;              // 2
    const bool not_away = from <= state.away_from || until > state.away_until;  // 3
    return late_enough && before_loss && not_away;
  };
  const Offset until = op.put ? kForEver : op.position.offset;
  if (!op.returned || (!state.lost && until > state.away_until)) {
    return may_be_known(op.entered, until);
  }
  ASSIGN_OR_RETURN(
      const std::optional<Record> record,
      snapshot_.GetRecordIn({op.entity, std::string(op.key)}, {&source.bucket->key, 1}));
  const auto membership =
      record.has_value()
          ? std::ranges::find(record->memberships, source.bucket->key, &Membership::bucket)
          : std::vector<Membership>::const_iterator();
  if (!record.has_value() || membership == record->memberships.end()) {
    return Error(absl::StatusCode::kDataLoss, "store_corrupt",
                 fmt::format("bucket {} names a row at {} whose record does not name it",
                             source.bucket->key.ToHex(), op.position.ToString()));
  }
  return may_be_known(membership->entered, until) ||
         std::ranges::any_of(membership->earlier,
                             [&](const Stay& stay) { return may_be_known(stay.from, stay.until); });
}

bool DeltaSelection::SentHere(const DeltaView& op) const {
  return std::ranges::any_of(sent_here_, [&op](const RecordKey& sent) {
    return sent.entity == op.entity && sent.key == op.key;
  });
}

void DeltaSelection::Note(const DeltaView& op) {
  if (heap_.size() > 1) {
    sent_here_.push_back({op.entity, std::string(op.key)});
  }
}

absl::StatusOr<bool> DeltaSelection::IsMember(std::string_view entity, std::string_view key) const {
  const auto it = entities_.find(entity);
  if (it == entities_.end()) {
    return false;
  }
  ASSIGN_OR_RETURN(const std::optional<Record> record,
                   snapshot_.GetRecordIn({it->second.id, std::string(key)}, buckets_));
  return record.has_value() &&
         std::ranges::any_of(record->memberships, [this](const Membership& membership) {
           return membership.member && IsCurrent(membership.bucket);
         });
}

bool DeltaSelection::IsCurrent(BucketKey bucket) const {
  const auto it = group_of_.find(bucket);
  return it != group_of_.end() && !it->second.group->state.lost;
}

bool DeltaSelection::MayBeHeld(const Source& source, const DeltaView& op) const {
  const PlanGroup& group = plan_.groups[source.group];
  const bool loading = group.Loading() && op.position.offset <= std::max(group.state.removed_after,
                                                                         group.state.away_until);
  if (loading) {
    return sending_groups_ > 1 || plan_.base != kNoOffset;
  }
  return op.returned ||
         (op.entered == op.position.offset &&
          (lost_at_base_ ||
           entities_.at(source.bucket->current->entity->schema->name()).buckets > 1));
}

absl::StatusOr<bool> DeltaSelection::HolderHas(const Source& source, const DeltaView& op) const {
  ASSIGN_OR_RETURN(const std::optional<Record> record,
                   snapshot_.GetRecordIn({op.entity, std::string(op.key)}, buckets_));
  if (!record.has_value()) {
    return false;
  }
  return std::ranges::any_of(
             record->memberships,
             [&](const Membership& membership) { return HasFromCurrent(membership, op); }) ||
         HadAtBase(source, *record, op);
}

// Another bucket of the caller's has the row at a position that was read: on an earlier page, or
// on this one, which reads all buckets in the order of positions. A row moves to a later position
// whenever it is written, so what was read there is what it is now.
bool DeltaSelection::HasFromCurrent(const Membership& membership, const DeltaView& op) const {
  const auto place = group_of_.find(membership.bucket);
  if (place == group_of_.end()) {
    return false;
  }
  const CursorGroupState& state = place->second.group->state;
  return !state.lost && membership.member &&
         (membership.position <= state.position || membership.position < op.position);
}

// The holder's rows were the caller's at `base`. It had this very row then, and still has it, if
// 1. the row has not been written since: what the holder had is what the row is now;
// 2. `op`'s bucket has been the caller's on every page since, and has had the row since before the
//    first of them looked: a page removes no row that is in a bucket of the caller's;
// 3. at `base` the row was in a bucket that was the caller's then, with the same columns;
// 4. from there to `op` it was never out of all such buckets, not even for one event, unless it was
//    a definition that took it out.
// 4 is for a holder that comes with this cursor once more and with newer rows, after pages that are
// not counted here, before rules or claims changed: those have not removed the row either. Where a
// definition took it out the caller's rules did change, and no such pages count.
bool DeltaSelection::HadAtBase(const Source& source, const Record& record,
                               const DeltaView& op) const {
  const Offset base = plan_.base;
  const bool unwritten = record.last.offset <= base;                     // 1
  const bool kept = plan_.groups[source.group].state.kept_since_base &&  // 2
                    op.position.offset <= plan_.first;
  if (base == kNoOffset || !unwritten || !kept) {
    return false;
  }
  std::vector<Stay> stays;  // in buckets as of 3
  for (const Membership& membership : record.memberships) {
    if (WasAtBase(source, membership.bucket)) {
      const size_t vague =
          membership.vague ? 1 : 0;  // the first is two stays as one: not looked at
      stays.insert(stays.end(), membership.earlier.begin() + static_cast<ptrdiff_t>(vague),
                   membership.earlier.end());
      stays.push_back({membership.entered,
                       membership.member ? kForEver : membership.position.offset,
                       membership.by_definition});
    }
  }
  std::ranges::sort(stays, {}, &Stay::from);
  Offset until = kNoOffset;  // 3 and 4 hold from `base` up to this
  for (const Stay& stay : stays) {
    if (stay.from <= std::max(base, until) && stay.until > base) {
      until = std::max(until, stay.by_definition ? kForEver : stay.until);
    }
  }
  return until >= op.position.offset;
}

bool DeltaSelection::WasAtBase(const Source& source, BucketKey bucket) const {
  const auto found = group_of_.find(bucket);
  if (found == group_of_.end()) {
    return false;
  }
  const Place& place = found->second;
  return place.group->state.at_base &&
         (!place.group->state.lost || plan_.lost_entities[place.bucket->lost_entity].columns ==
                                          source.bucket->current->columns);
}

}  // namespace sluice::gateways

#include "projectors/staging/bucket_placer.h"

#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "schemas/status.h"

namespace sluice::projectors {
BucketPlacer::BucketPlacer(const Parts& parts, const Limits& limits)
    : parts_(parts), limits_(limits) {}

void BucketPlacer::Begin(Offset offset, Offset horizon, uint32_t next_index,
                         const PartialEvent* resumed) {
  queue_.emplace(parts_.view, resumed != nullptr);
  before_ = nullptr;
  unlinked_.clear();
  offset_ = offset;
  horizon_ = horizon;
  resumed_ = resumed != nullptr;
  next_index_ = resumed_ ? resumed->next_index : next_index;
  round_ = resumed_ ? resumed->round : 1;
  item_ = resumed_ ? resumed->item : std::string();
  row_ = resumed_ ? resumed->row : std::string();
  written_.clear();
  bytes_before_ += bytes_;
  bytes_ = 0;
  work_before_ += work_;
  work_ = 0;
  read_bytes_ = 0;
  rows_at_begin_ = parts_.overlay.size();
}

PartialEvent BucketPlacer::Progress() const { return {offset_, round_, item_, row_, next_index_}; }

bool BucketPlacer::Full() const {
  return parts_.overlay.size() - rows_at_begin_ >= limits_.rows_max || FullBesideRows();
}

bool BucketPlacer::FullBesideRows() const {
  return bytes_ >= limits_.bytes_max || read_bytes_ >= limits_.bytes_max ||
         work_ >= limits_.work_max;
}

absl::Status BucketPlacer::CheckOnce(size_t work) const {
  if (work <= limits_.once_max) {
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kAborted, "large_event",
      fmt::format("rows and rules take {} units of work that can't be cut, and {} are done "
                  "in one step",
                  work, limits_.once_max));
}

absl::Status BucketPlacer::CountOnce(size_t work, size_t* once) {
  *once += work;
  work_ += work;
  return CheckOnce(*once);
}

// What was read counts elsewhere: a row whose memberships alone fill a batch has to get on too.
size_t BucketPlacer::ChangesMax(Slot slot) const {
  const size_t each = kChangeBytes + parts_.overlay.entry(slot).now.row.size();
  const size_t left = limits_.bytes_max - std::min(bytes_, limits_.bytes_max);
  return std::max({left / each, limits_.places_min, size_t{1}});
}

void BucketPlacer::CountChanges(Slot slot, size_t changes) {
  bytes_ += changes * (kChangeBytes + parts_.overlay.entry(slot).now.row.size());
}

absl::Status BucketPlacer::ReadAll(Slot slot) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  if (entry.partly()) {
    const size_t places = entry.now.memberships_apart + entry.now.support_apart;
    if (places > limits_.places_max) {
      return Error(absl::StatusCode::kAborted, "large_event",
                   fmt::format("a row has {} memberships, and {} are looked at in one step", places,
                               limits_.places_max));
    }
    read_bytes_ += places * kPlaceBytes;
  }
  return parts_.overlay.Complete(slot, parts_.view);
}

size_t BucketPlacer::Chunk() const { return std::clamp<size_t>(limits_.rows_max, 1, kChunkMax); }

bool BucketPlacer::IsNew(const SyncRule& rule) const {
  return before_ != nullptr && before_->FindRule(rule.number) == nullptr;
}

bool BucketPlacer::Concerns(uint32_t number) const {
  const SyncRule* rule = rules_->FindRule(number);
  if (rule == nullptr && before_ != nullptr) {
    rule = before_->FindRule(number);
  }
  return rule == nullptr ? round_ == 1 : rule->depth == round_;
}

absl::StatusOr<bool> BucketPlacer::Run() {
  const uint32_t last =
      std::max(rules_->depth_max(), before_ == nullptr ? 0 : before_->depth_max());
  while (true) {
    ASSIGN_OR_RETURN(const bool complete, RunRound());
    if (!complete) {
      return false;
    }
    if (round_ >= last) {
      return true;
    }
    ++round_;
    item_.clear();
    row_.clear();
    if (queue_->stored()) {
      return false;  // its work has to be in the store when a round begins
    }
  }
}

absl::StatusOr<bool> BucketPlacer::RunRound() {
  if (round_ == 1 && !written_.empty()) {
    ASSIGN_OR_RETURN(const bool complete, PlaceWritten());
    if (!complete) {
      return false;
    }
  }
  while (true) {
    ASSIGN_OR_RETURN(const std::vector<std::string> items, queue_->Next(round_, item_, Chunk()));
    if (items.empty()) {
      return true;
    }
    for (size_t i = 0; i < items.size();) {
      ASSIGN_OR_RETURN(const Item item, WorkQueue::Decode(items[i]));
      size_t done = 1;
      if (item.kind == WorkQueue::Kind::kRow) {
        done = items.size() - i;  // rows come last
        ASSIGN_OR_RETURN(const size_t placed, PlaceRows({items.data() + i, done}));
        if (placed < done) {
          for (const size_t end = i + placed; i < end; ++i) {
            queue_->Done(round_, items[i]);
          }
          item_ = items[i];
          row_.clear();
          return false;
        }
      } else {
        item_ = items[i];
        ASSIGN_OR_RETURN(const bool complete, item.kind == WorkQueue::Kind::kEntity
                                                  ? RunEntity(item)
                                                  : RunChildren(item));
        if (!complete) {
          return false;
        }
      }
      for (const size_t end = i + done; i < end; ++i) {
        queue_->Done(round_, items[i]);
      }
      item_ = items[i - 1] + '\0';
      row_.clear();
      if (Full()) {
        return false;
      }
    }
  }
}

// Those that the batch has no room for wait with what else the round has to do.
absl::StatusOr<bool> BucketPlacer::PlaceWritten() {
  std::vector<Slot> written = std::exchange(written_, {});
  // However often the event has written a row, it is placed as it is in the end.
  absl::flat_hash_set<Slot> once;
  std::erase_if(written, [&once](Slot slot) { return !once.insert(slot).second; });
  size_t fetched = 0;
  for (size_t i = 0; i < written.size(); ++i) {
    ASSIGN_OR_RETURN(const bool room, HasRoom(written, i, &fetched));
    if (room) {
      ASSIGN_OR_RETURN(const bool complete, Place(written[i], false));
      if (complete) {
        continue;
      }
    }
    for (; i < written.size(); ++i) {
      const RecordKey& key = parts_.overlay.entry(written[i]).key;
      queue_->Add(round_, {WorkQueue::Kind::kRow, key.entity, AttributeId(), key.key});
    }
    return false;
  }
  return true;
}

absl::StatusOr<size_t> BucketPlacer::PlaceRows(std::span<const std::string> items) {
  std::vector<Slot> slots;
  slots.reserve(items.size());
  for (const std::string& bytes : items) {
    ASSIGN_OR_RETURN(const Item item, WorkQueue::Decode(bytes));
    slots.push_back(parts_.overlay.SlotOfCopy(item.entity, item.key));
  }
  // Items are there for rows that were written and for rows whose support has changed. What an
  // earlier batch of the event did to a row is not known here, nor what a definition means for it.
  return PlaceAll(slots, !resumed_ && before_ == nullptr);
}

absl::StatusOr<bool> BucketPlacer::RunChildren(const Item& item) {
  while (true) {
    ASSIGN_OR_RETURN(LinkIndex::Page page,
                     parts_.links.Children(item.entity, item.attribute, item.key, row_, Chunk()));
    std::vector<Slot> slots;
    slots.reserve(page.children.size());
    for (const std::string& child : page.children) {
      slots.push_back(parts_.overlay.SlotOfCopy(item.entity, child));
    }
    ASSIGN_OR_RETURN(const size_t placed, PlaceAll(slots));
    if (placed < slots.size()) {
      row_ = placed > 0 ? page.children[placed - 1] : row_;
      return false;
    }
    row_ = std::move(page.last);
    if (page.end || Full()) {
      return page.end;
    }
  }
}

absl::StatusOr<size_t> BucketPlacer::PlaceAll(const std::vector<Slot>& slots, bool by_support) {
  size_t fetched = 0;
  for (size_t i = 0; i < slots.size(); ++i) {
    ASSIGN_OR_RETURN(const bool room, HasRoom(slots, i, &fetched));
    if (!room) {
      return i;
    }
    ASSIGN_OR_RETURN(const bool complete, Place(slots[i], by_support));
    if (!complete) {
      return i;
    }
  }
  return slots.size();
}

absl::StatusOr<bool> BucketPlacer::Place(Slot slot, bool by_support) {
  bool complete = true;
  if (by_support && parts_.overlay.entry(slot).now.last.offset != offset_) {
    ASSIGN_OR_RETURN(complete, PlaceStirred(slot));
  } else {
    RETURN_IF_ERROR(ReadAll(slot));
    targets_.clear();
    if (parts_.overlay.entry(slot).live()) {
      RETURN_IF_ERROR(FindTargets(slot));
    }
    std::sort(targets_.begin(), targets_.end());
    targets_.erase(std::unique(targets_.begin(), targets_.end()), targets_.end());
    (void)parts_.overlay.TakeStirred(slot, [this](uint32_t rule) { return Concerns(rule); });
    complete = Move(slot, [this](uint32_t rule) { return Concerns(rule); });
  }
  RETURN_IF_ERROR(PassOn(slot, std::exchange(moves_, {})));
  return complete;
}

// Of a row that many rows point at, each of them changes one bucket: what the others give it stays
// as it is and is not looked at.
absl::StatusOr<bool> BucketPlacer::PlaceStirred(Slot slot) {
  const auto concerns = [this](uint32_t rule) { return Concerns(rule); };
  decisions_.clear();
  for (const auto& [number, source] : parts_.overlay.TakeStirred(slot, concerns)) {
    const BucketName bucket = DerivedBucket(*rules_->FindRule(number), source);
    ASSIGN_OR_RETURN(const uint64_t support,
                     parts_.overlay.SupportOf(slot, number, source, parts_.view));
    const bool member = parts_.overlay.entry(slot).live() && support > 0;
    if (member) {
      parts_.buckets.Name(bucket);
    }
    decisions_.push_back({{bucket.key, number}, member});
  }
  std::sort(decisions_.begin(), decisions_.end());
  moves_.clear();
  const auto next = [this] { return Position{offset_, next_index_++}; };
  ASSIGN_OR_RETURN(const FoldOverlay::Placed placed,
                   parts_.overlay.PlaceSome(slot, decisions_,
                                            {.written = Position(),
                                             .by_definition = false,
                                             .horizon = horizon_,
                                             .resumed = kNoOffset,
                                             .changes_max = ChangesMax(slot),
                                             .concerns = concerns,
                                             .next = next},
                                            parts_.view, &moves_));
  CountChanges(slot, placed.changes);
  return placed.complete;
}

bool BucketPlacer::Move(Slot slot, absl::FunctionRef<bool(uint32_t)> concerns) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  const bool written = entry.exists && entry.now.last.offset == offset_;
  const auto next = [this] { return Position{offset_, next_index_++}; };
  moves_.clear();
  const FoldOverlay::Placed placed =
      parts_.overlay.Place(slot, targets_,
                           {.written = written ? entry.now.last : Position(),
                            .by_definition = before_ != nullptr,
                            .horizon = horizon_,
                            .resumed = resumed_ ? offset_ : kNoOffset,
                            .changes_max = ChangesMax(slot),
                            .concerns = concerns,
                            .next = next},
                           &moves_);
  CountChanges(slot, placed.changes);
  return placed.complete;
}

absl::Status BucketPlacer::FindTargets(Slot slot) {
  const EntityId entity = parts_.overlay.entry(slot).key.entity;
  const RuleSet::Entity* rules = rules_->Find(entity);
  if (rules == nullptr) {
    return absl::OkStatus();
  }
  size_t once = 0;
  RETURN_IF_ERROR(
      CountOnce(rules->At(round_).size() *
                    (kRuleWork + parts_.overlay.entry(slot).now.row.size() / kBytesPerWork),
                &once));
  bool by_parents = false;
  bool by_support = false;
  for (const SyncRule* rule : rules->At(round_)) {
    if (rule->kind == v1::RULE_KIND_RELATED) {
      (rule->down ? by_parents : by_support) = true;
      continue;
    }
    ASSIGN_OR_RETURN(std::optional<BucketName> bucket,
                     BucketOfRow(*rule, *rules->schema, parts_.overlay.entry(slot).now.row));
    if (bucket.has_value()) {
      AddTarget(*rule, *bucket);
    }
  }
  if (by_parents) {
    RETURN_IF_ERROR(FindTargetsByParents(slot, *rules, &once));
  }
  return by_support ? FindTargetsBySupport(slot, &once) : absl::OkStatus();
}

// The parents' buckets, and for each the rules that go out from it: both may be many.
absl::Status BucketPlacer::FindTargetsByParents(Slot slot, const RuleSet::Entity& rules,
                                                size_t* once) {
  const EntityId entity = parts_.overlay.entry(slot).key.entity;
  for (const RuleSet::Reference& reference : rules.references) {
    if (!reference.down || reference.round != round_) {
      continue;
    }
    const std::string parent =
        ReferencedKey(*rules.schema, reference.attribute, parts_.overlay.entry(slot).now.row);
    const RuleSet::Entity* of_parent = rules_->Find(reference.entity);
    if (parent.empty() || of_parent == nullptr) {
      continue;
    }
    const Slot of = parts_.overlay.SlotOfCopy(reference.entity, parent);
    RETURN_IF_ERROR(parts_.overlay.Load(parts_.view));
    RETURN_IF_ERROR(ReadAll(of));
    const std::vector<Membership>& memberships = parts_.overlay.entry(of).now.memberships;
    RETURN_IF_ERROR(CountOnce(memberships.size() * kLookWork, once));
    for (const Membership& m : memberships) {
      if (!m.member) {
        continue;
      }
      const auto feeds = of_parent->FeedsOf(m.rule);
      RETURN_IF_ERROR(CountOnce(feeds.size(), once));
      for (const SyncRule* feed : feeds) {
        if (feed->down && feed->depth == round_ && feed->entity == entity &&
            feed->attribute == reference.attribute) {
          AddTarget(*feed, DerivedBucket(*feed, m.bucket));
        }
      }
    }
  }
  return absl::OkStatus();
}

absl::Status BucketPlacer::FindTargetsBySupport(Slot slot, size_t* once) {
  const std::vector<sluice::projectors::Support>& support = parts_.overlay.entry(slot).now.support;
  RETURN_IF_ERROR(CountOnce(support.size() * kLookWork, once));
  for (const sluice::projectors::Support& s : support) {
    const SyncRule* rule = rules_->FindRule(s.rule);
    if (rule != nullptr && rule->depth == round_) {
      AddTarget(*rule, DerivedBucket(*rule, s.source));
    }
  }
  return absl::OkStatus();
}

void BucketPlacer::AddTarget(const SyncRule& rule, const BucketName& bucket) {
  targets_.push_back({bucket.key, rule.number});
  parts_.buckets.Name(bucket);
}

}  // namespace sluice::projectors

#include "projectors/fold/bucket_placer.h"

#include <algorithm>

#include "schemas/base/status.h"

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
  // Before the last operation no round has begun, whatever a program without round 0 has noted.
  round_ = resumed_ && resumed->op == 0 ? resumed->round : 0;
  item_ = resumed_ ? resumed->item : std::string();
  row_ = resumed_ && resumed->op == 0 ? resumed->row : std::string();
  gives_wait_.reset();
  written_.clear();
  bytes_before_ += bytes_;
  bytes_ = 0;
  work_before_ += work_;
  work_ = 0;
  rows_at_begin_ = parts_.overlay.size();
  held_at_begin_ = parts_.overlay.bytes() + parts_.links.bytes();
}

PartialEvent BucketPlacer::Progress() const { return {offset_, round_, item_, row_, next_index_}; }

bool BucketPlacer::Full() const {
  return parts_.overlay.size() - rows_at_begin_ >= limits_.rows_max || FullBesideRows();
}

bool BucketPlacer::FullBesideRows() const {
  return Held() >= limits_.bytes_max || work_ >= limits_.work_max;
}

// A row more is begun where the batch is not full, and may be read with what there is room for.
bool BucketPlacer::Crowded() const {
  const size_t held = Held();
  return held > limits_.bytes_max && held - limits_.bytes_max >= limits_.bytes_max / 4;
}

size_t BucketPlacer::Held() const {
  const size_t read = parts_.overlay.bytes() + parts_.links.bytes();
  // Rows that the event deletes are gone from it, too.
  return bytes_ + queue_->bytes() + (read > held_at_begin_ ? read - held_at_begin_ : 0);
}

// Half of what is left, since rows that are read are written, too; and never so little that a batch
// ends with many small reads.
size_t BucketPlacer::Room() const {
  const size_t left = limits_.bytes_max - std::min(Held(), limits_.bytes_max);
  return std::max(left / 2, limits_.bytes_max / 16);
}

absl::Status BucketPlacer::CheckOnce(size_t work) const {
  if (work <= limits_.once_max) {
    return absl::OkStatus();
  }
  return Error(
      StatusCode::kAborted, "large_event",
      "rows and rules take {} units of work that can't be cut, and {} are done in one step", work,
      limits_.once_max);
}

absl::Status BucketPlacer::CountOnce(size_t work, size_t* once) {
  *once += work;
  work_ += work;
  return CheckOnce(*once);
}

// What was read counts elsewhere: a row whose memberships alone fill a batch has to get on too. A
// change is passed on by each reference that goes up.
size_t BucketPlacer::ChangesMax(RowSlot slot) const {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  const RuleSet::Entity* rules = rules_->Find(entry.key.entity);
  const size_t ups = rules == nullptr ? 0 : rules->ups.size();
  const size_t each = kChangeBytes * (1 + ups) + entry.now.row.size();
  const size_t left = limits_.bytes_max - std::min(bytes_, limits_.bytes_max);
  return std::max({left / each, limits_.places_min, size_t{1}});
}

void BucketPlacer::CountChanges(RowSlot slot, size_t changes) {
  bytes_ += changes * (kChangeBytes + parts_.overlay.entry(slot).now.row.size());
}

absl::Status BucketPlacer::ReadAll(RowSlot slot) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  if (entry.partly()) {
    const size_t places = entry.now.memberships_apart + entry.now.support_apart;
    if (places > limits_.places_max) {
      return Error(StatusCode::kAborted, "large_event",
                   "a row has {} memberships, and {} are looked at in one step", places,
                   limits_.places_max);
    }
  }
  return parts_.overlay.Complete(slot, parts_.view);
}

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

absl::StatusOr<bool> BucketPlacer::Place(RowSlot slot, bool by_support) {
  bool complete = true;
  if (by_support && parts_.overlay.entry(slot).now.last.offset != offset_) {
    ASSIGN_OR_RETURN(complete, PlaceStirred(slot));
  } else {
    RETURN_IF_ERROR(ReadAll(slot));
    targets_.clear();
    sources_.clear();
    names_.clear();
    if (parts_.overlay.entry(slot).live()) {
      RETURN_IF_ERROR(FindTargets(slot));
    }
    std::sort(targets_.begin(), targets_.end());
    const auto same = [](const FoldOverlay::Target& a, const FoldOverlay::Target& b) {
      return a.bucket == b.bucket && a.rule == b.rule;
    };
    targets_.erase(std::unique(targets_.begin(), targets_.end(), same), targets_.end());
    // The look at the whole row decides what its support has stirred, too.
    (void)parts_.overlay.TakeStirred(slot, [this](uint32_t rule) { return Concerns(rule); });
    complete = Move(slot, [this](uint32_t rule) { return Concerns(rule); });
  }
  // Also of a row that was cut: what it has entered and left so far is written with this batch, and
  // the next one finds these buckets as they are to be, and nothing to pass on.
  RETURN_IF_ERROR(PassOn(slot, std::exchange(moves_, {})));
  return complete;
}

// Of a row that many rows point at, each of them changes one bucket: what the others give it stays
// as it is and is not looked at.
absl::StatusOr<bool> BucketPlacer::PlaceStirred(RowSlot slot) {
  const auto concerns = [this](uint32_t rule) { return Concerns(rule); };
  decisions_.clear();
  const auto stirred = parts_.overlay.TakeStirred(slot, concerns);
  for (size_t i = 0; i < stirred.size(); ++i) {
    const auto& [number, source] = stirred[i];
    const BucketKey bucket = DerivedBucket(*rules_->FindRule(number), source).key;
    ASSIGN_OR_RETURN(const uint64_t support,
                     parts_.overlay.SupportOf(slot, number, source, parts_.view));
    const bool member = parts_.overlay.entry(slot).live() && support > 0;
    decisions_.push_back({{bucket, number, static_cast<uint32_t>(i)}, member});
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
  for (const FoldOverlay::Move& move : moves_) {
    if (move.entered) {
      const auto& [number, source] = stirred[move.target.from];
      parts_.buckets.Name(move.target.bucket, DerivedName(*rules_->FindRule(number), source));
    }
  }
  return placed.complete;
}

bool BucketPlacer::Move(RowSlot slot, absl::FunctionRef<bool(uint32_t)> concerns) {
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
  NameEntered(slot);
  return placed.complete;
}

void BucketPlacer::NameEntered(RowSlot slot) {
  const std::vector<sluice::projectors::Support>& support = parts_.overlay.AllSupport(slot);
  for (const auto& [target, entered] : moves_) {
    if (!entered) {
      continue;
    }
    const SyncRule& rule = *rules_->FindRule(target.rule);
    if (rule.kind != v1::RULE_KIND_RELATED) {
      parts_.buckets.Name(target.bucket, std::move(names_[target.from]));
    } else {
      const BucketKey source = rule.down ? sources_[target.from] : support[target.from].source;
      parts_.buckets.Name(target.bucket, DerivedName(rule, source));
    }
  }
}

absl::Status BucketPlacer::FindTargets(RowSlot slot) {
  const EntityId entity = parts_.overlay.entry(slot).key.entity;
  const RuleSet::Entity* rules = rules_->Find(entity);
  if (rules == nullptr) {
    return absl::OkStatus();
  }
  size_t once = 0;
  const size_t row_bytes = parts_.overlay.entry(slot).now.row.size();
  RETURN_IF_ERROR(CountOnce(rules->ComparisonsAt(round_) * kLookWork +
                                rules->At(round_).size() * (kRuleWork + row_bytes / kBytesPerWork) +
                                rules->SearchesAt(round_) * (row_bytes / kSearchedBytesPerWork),
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
      RETURN_IF_ERROR(CountOnce(bucket->name.size() / kNameBytesPerWork, &once));
      AddTarget(*rule, bucket->key, names_.size());
      names_.push_back(KeptName(bucket->key, std::move(bucket->name)));
    }
  }
  if (by_parents) {
    RETURN_IF_ERROR(FindTargetsByParents(slot, *rules, &once));
  }
  return by_support ? FindTargetsBySupport(slot, &once) : absl::OkStatus();
}

// The parents' buckets, and for each the rules that go out from it: both may be many.
absl::Status BucketPlacer::FindTargetsByParents(RowSlot slot, const RuleSet::Entity& rules,
                                                size_t* once) {
  const EntityId entity = parts_.overlay.entry(slot).key.entity;
  for (const RuleSet::Reference& reference : rules.references) {
    if (!reference.down || reference.round != round_) {
      continue;
    }
    const std::string parent =
        ReferencedKey(*rules.schema, reference.attribute, parts_.overlay.entry(slot).now.row);
    if (!parent.empty()) {
      RETURN_IF_ERROR(AddTargetsOf(reference, parent, entity, once));
    }
  }
  return absl::OkStatus();
}

// A row may have many parents, and these be large: those for which there is no room are looked at
// one after the other.
absl::Status BucketPlacer::AddTargetsOf(const RuleSet::Reference& reference,
                                        const std::string& parent, EntityId entity, size_t* once) {
  const RuleSet::Entity* of_parent = rules_->Find(reference.entity);
  if (of_parent == nullptr) {
    return absl::OkStatus();
  }
  const size_t slots = parts_.overlay.size();
  const RowSlot of = parts_.overlay.SlotOfCopy(reference.entity, parent);
  RETURN_IF_ERROR(parts_.overlay.Load(parts_.view));
  RETURN_IF_ERROR(ReadAll(of));
  const Record& record = parts_.overlay.entry(of).now;
  const bool was_read = of >= slots;
  RETURN_IF_ERROR(CountOnce(
      record.memberships.size() * kLookWork + (was_read ? record.row.size() / kBytesPerWork : 0),
      once));
  for (const Membership& m : record.memberships) {
    if (!m.member) {
      continue;
    }
    const auto feeds = of_parent->FeedsOf(m.rule);
    RETURN_IF_ERROR(CountOnce(feeds.size(), once));
    for (const SyncRule* feed : feeds) {
      if (feed->down && feed->depth == round_ && feed->entity == entity &&
          feed->attribute == reference.attribute) {
        AddTarget(*feed, DerivedBucket(*feed, m.bucket).key, sources_.size());
        sources_.push_back(m.bucket);
      }
    }
  }
  if (was_read && Crowded()) {
    parts_.overlay.UnmakeLast();
  }
  return absl::OkStatus();
}

absl::Status BucketPlacer::FindTargetsBySupport(RowSlot slot, size_t* once) {
  const std::vector<sluice::projectors::Support>& support = parts_.overlay.AllSupport(slot);
  RETURN_IF_ERROR(CountOnce(support.size() * kLookWork, once));
  targets_.reserve(targets_.size() + support.size());
  for (size_t i = 0; i < support.size(); ++i) {
    const SyncRule* rule = rules_->FindRule(support[i].rule);
    if (rule != nullptr && rule->depth == round_) {
      AddTarget(*rule, DerivedBucket(*rule, support[i].source).key, i);
    }
  }
  return absl::OkStatus();
}

void BucketPlacer::AddTarget(const SyncRule& rule, BucketKey bucket, size_t from) {
  targets_.push_back({bucket, rule.number, static_cast<uint32_t>(from)});
}

}  // namespace sluice::projectors

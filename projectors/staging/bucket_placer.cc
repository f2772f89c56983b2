#include "projectors/staging/bucket_placer.h"

#include <algorithm>
#include <utility>

#include "fmt/format.h"
#include "schemas/status.h"

namespace sluice::projectors {
namespace {

// About what a change of one bucket takes beside the row.
constexpr size_t kChangeBytes = 128;

// What it takes to hold a row against a rule, beside the row's bytes, and how many of those take as
// much as a unit of work: see FoldOptions::step_work.
constexpr size_t kRuleWork = 64;
constexpr size_t kBytesPerWork = 16;

}  // namespace

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
      absl::StatusCode::kAborted, "large_event",
      fmt::format("rows and rules take {} units of work that can't be cut, and {} are done "
                  "in one step",
                  work, limits_.once_max));
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

BucketPlacer::References BucketPlacer::ReferencesOf(Slot slot) const {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  const RuleSet::Entity* rules = rules_->Find(entry.key.entity);
  References references;
  if (rules == nullptr) {
    return references;
  }
  const auto text = [&](AttributeId attribute) {
    return entry.live() ? ReferencedKey(*rules->schema, attribute, entry.now.row) : std::string();
  };
  for (const SyncRule* feed : rules->feeds) {
    references.up.push_back(feed->down ? std::string() : text(feed->attribute));
  }
  for (const AttributeId attribute : rules->links) {
    references.links.push_back(text(attribute));
  }
  return references;
}

absl::Status BucketPlacer::Written(Slot slot, const References& before) {
  written_.push_back(slot);
  // An event's operations are done together, however often they change one large row.
  work_ += parts_.overlay.entry(slot).now.row.size() / kBytesPerWork;
  RETURN_IF_ERROR(CheckOnce(work_));
  const RecordKey key = parts_.overlay.entry(slot).key;
  const RuleSet::Entity* rules = rules_->Find(key.entity);
  if (rules == nullptr) {
    return absl::OkStatus();
  }
  uint32_t depth = 1;
  for (const SyncRule* rule : rules->rules) {
    if (rule->depth > depth) {
      depth = rule->depth;
      queue_->Add(depth, {WorkQueue::Kind::kRow, key.entity, AttributeId(), key.key});
    }
  }
  if (rules->feeds.empty() && rules->links.empty()) {
    return absl::OkStatus();
  }
  const References after = ReferencesOf(slot);
  for (size_t i = 0; i < rules->links.size(); ++i) {
    if (before.links[i] != after.links[i]) {
      if (!before.links[i].empty()) {
        parts_.links.Erase({key.entity, rules->links[i], before.links[i], key.key});
      }
      if (!after.links[i].empty()) {
        parts_.links.Put({key.entity, rules->links[i], after.links[i], key.key});
      }
    }
  }
  // What the row gives moves to where it points now; how its own buckets change comes later.
  if (before.up == after.up) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ReadAll(slot));
  const std::vector<Membership> memberships = parts_.overlay.entry(slot).now.memberships;
  for (size_t i = 0; i < rules->feeds.size(); ++i) {
    if (before.up[i] == after.up[i]) {
      continue;
    }
    for (const Membership& m : memberships) {
      if (m.member && m.rule == rules->feeds[i]->source) {
        RETURN_IF_ERROR(Support(*rules->feeds[i], before.up[i], m.bucket, -1));
        RETURN_IF_ERROR(Support(*rules->feeds[i], after.up[i], m.bucket, 1));
      }
    }
  }
  return absl::OkStatus();
}

void BucketPlacer::Prefetch(EntityId entity, std::string_view row) {
  const RuleSet::Entity* rules = rules_->Find(entity);
  if (rules == nullptr || row.empty()) {
    return;
  }
  const auto fetch = [&](EntityId of, AttributeId attribute) {
    const std::string text = ReferencedKey(*rules->schema, attribute, row);
    if (!text.empty()) {
      parts_.overlay.SlotOfCopy(of, text);
    }
  };
  for (const SyncRule* rule : rules->rules) {
    if (rule->down) {
      fetch(rule->source_entity, rule->attribute);
    }
  }
  for (const SyncRule* feed : rules->feeds) {
    if (!feed->down) {
      fetch(feed->entity, feed->attribute);
    }
  }
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
  for (const FoldOverlay::Move& move : std::exchange(moves_, {})) {
    RETURN_IF_ERROR(PassOn(slot, move));
  }
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
  const size_t work = rules->At(round_).size() *
                      (kRuleWork + parts_.overlay.entry(slot).now.row.size() / kBytesPerWork);
  RETURN_IF_ERROR(CheckOnce(work));
  work_ += work;
  for (const SyncRule* rule : rules->At(round_)) {
    if (rule->kind != v1::RULE_KIND_RELATED) {
      ASSIGN_OR_RETURN(std::optional<BucketName> bucket,
                       BucketOfRow(*rule, *rules->schema, parts_.overlay.entry(slot).now.row));
      if (bucket.has_value()) {
        AddTarget(*rule, *bucket);
      }
    } else if (rule->down) {
      const std::string parent =
          ReferencedKey(*rules->schema, rule->attribute, parts_.overlay.entry(slot).now.row);
      if (parent.empty()) {
        continue;
      }
      const Slot of = parts_.overlay.SlotOfCopy(rule->source_entity, parent);
      RETURN_IF_ERROR(parts_.overlay.Load(parts_.view));
      RETURN_IF_ERROR(ReadAll(of));
      for (const Membership& m : parts_.overlay.entry(of).now.memberships) {
        if (m.member && m.rule == rule->source) {
          AddTarget(*rule, DerivedBucket(*rule, m.bucket));
        }
      }
    } else {
      for (const sluice::projectors::Support& s : parts_.overlay.entry(slot).now.support) {
        if (s.rule == rule->number) {
          AddTarget(*rule, DerivedBucket(*rule, s.source));
        }
      }
    }
  }
  return absl::OkStatus();
}

void BucketPlacer::AddTarget(const SyncRule& rule, const BucketName& bucket) {
  targets_.push_back({bucket.key, rule.number});
  parts_.buckets.Name(bucket);
}

// The row has come into a bucket, or left it: so do the rows that are related to it.
absl::Status BucketPlacer::PassOn(Slot slot, const FoldOverlay::Move& move) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  const RuleSet::Entity* rules = rules_->Find(entry.key.entity);
  if (rules == nullptr || rules->feeds.empty()) {
    return absl::OkStatus();
  }
  const RecordKey key = entry.key;
  const bool live = entry.live();
  for (const SyncRule* feed : rules->feeds) {
    // Whatever a new rule brings is looked at by entity: see RulesReplaced().
    if (feed->source != move.target.rule || IsNew(*feed)) {
      continue;
    }
    if (feed->down) {
      queue_->Add(feed->depth,
                  {WorkQueue::Kind::kChildren, feed->entity, feed->attribute, key.key});
    } else if (live) {  // a deleted row points nowhere: Written() has taken back what it gave
      const std::string target =
          ReferencedKey(*rules->schema, feed->attribute, parts_.overlay.entry(slot).now.row);
      RETURN_IF_ERROR(Support(*feed, target, move.target.bucket, move.entered ? 1 : -1));
    }
  }
  return absl::OkStatus();
}

absl::Status BucketPlacer::Support(const SyncRule& rule, const std::string& target,
                                   BucketKey source, int delta) {
  if (target.empty()) {
    return absl::OkStatus();
  }
  const Slot slot = parts_.overlay.SlotOfCopy(rule.entity, target);
  RETURN_IF_ERROR(parts_.overlay.Load(parts_.view));
  ASSIGN_OR_RETURN(const bool counted,
                   parts_.overlay.AddSupport(slot, rule.number, source, delta, parts_.view));
  if (!counted) {
    return Error(absl::StatusCode::kDataLoss, "store_corrupt",
                 fmt::format("entity {} \"{}\" loses support by rule {} that it does not have",
                             rule.entity.value(), target, rule.id));
  }
  if (!IsNew(rule)) {
    queue_->Add(rule.depth, {WorkQueue::Kind::kRow, rule.entity, AttributeId(), target});
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors

#include <algorithm>
#include <iterator>
#include <utility>

#include "projectors/fold/bucket_placer.h"
#include "schemas/base/status.h"

// The part of BucketPlacer that goes from a row to those that it points at, and that point at it.
// Of one profile's filters and references the product becomes rules: nothing here walks over all of
// them for a row.
namespace sluice::projectors {
namespace {

// Where `attribute`, which is among them, stands in `ascending`.
size_t PlaceIn(const std::vector<AttributeId>& ascending, AttributeId attribute) {
  return static_cast<size_t>(std::ranges::lower_bound(ascending, attribute) - ascending.begin());
}

}  // namespace

BucketPlacer::References BucketPlacer::ReferencesOf(RowSlot slot) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  const RuleSet::Entity* rules = rules_->Find(entry.key.entity);
  if (rules == nullptr || (rules->ups.empty() && rules->links.empty())) {
    return {};
  }
  const std::string_view row = entry.live() ? std::string_view(entry.now.row) : "";
  work_ += (rules->ups.size() + rules->links.size()) * kLookWork + 2 * row.size() / kBytesPerWork;
  return {ReferencedKeys(*rules->schema, rules->ups, row),
          ReferencedKeys(*rules->schema, rules->links, row)};
}

absl::Status BucketPlacer::Written(RowSlot slot, const References& before) {
  written_.push_back(slot);
  // An event's operations are done together, however often they change one large row.
  work_ += parts_.overlay.entry(slot).now.row.size() / kBytesPerWork;
  RETURN_IF_ERROR(CheckOnce(work_));
  const RecordKey key = parts_.overlay.entry(slot).key;
  const RuleSet::Entity* rules = rules_->Find(key.entity);
  if (rules == nullptr) {
    return absl::OkStatus();
  }
  for (uint32_t depth = 2; depth <= rules_->depth_max(); ++depth) {
    if (!rules->At(depth).empty()) {
      queue_->Add(depth, {WorkQueue::Kind::kRow, key.entity, AttributeId(), key.key});
    }
  }
  if (rules->ups.empty() && rules->links.empty()) {
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
  return before.ups == after.ups ? absl::OkStatus() : MoveSupport(slot, *rules, before, after);
}

absl::Status BucketPlacer::MoveSupport(RowSlot slot, const RuleSet::Entity& rules,
                                       const References& before, const References& after) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  WorkQueue::Turn turn{entry.key.entity, entry.key.key, entry.now.last.index, {}};
  for (size_t i = 0; i < rules.ups.size(); ++i) {
    if (before.ups[i] != after.ups[i]) {
      turn.references.push_back({rules.ups[i], before.ups[i], after.ups[i]});
    }
  }
  const size_t memberships =
      entry.partly() ? entry.now.memberships_apart : entry.now.memberships.size();
  // By what is the same for all operations of the event on the row, so that none overtakes another.
  if (memberships * rules.ups.size() > limits_.turned_max) {
    queue_->Add(0, WorkQueue::ItemOf(turn));
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ReadAll(slot));
  work_ += kLookWork * memberships;
  for (const auto& [bucket, rule] : SourcesOf(slot)) {
    RETURN_IF_ERROR(TurnBucket(turn, rules, rule, bucket));
    RETURN_IF_ERROR(CheckOnce(work_));
  }
  return absl::OkStatus();
}

// The row's buckets, with their rules, ascending.
std::vector<std::pair<BucketKey, uint32_t>> BucketPlacer::SourcesOf(RowSlot slot) const {
  std::vector<std::pair<BucketKey, uint32_t>> sources;
  for (const Membership& m : parts_.overlay.entry(slot).now.memberships) {
    if (m.member) {
      sources.emplace_back(m.bucket, m.rule);
    }
  }
  std::ranges::sort(sources);
  return sources;
}

absl::Status BucketPlacer::TurnBucket(const WorkQueue::Turn& turn, const RuleSet::Entity& rules,
                                      uint32_t rule, BucketKey bucket) {
  for (const SyncRule* feed : rules.FeedsOf(rule)) {
    work_ += kLookWork;
    const auto moved = std::ranges::lower_bound(turn.references, feed->attribute, {},
                                                &WorkQueue::Turn::Reference::attribute);
    if (feed->down || moved == turn.references.end() || moved->attribute != feed->attribute) {
      continue;
    }
    work_ += 2 * kRuleWork;
    RETURN_IF_ERROR(Support(*feed, moved->before, bucket, -1, turn.key, turn.op));
    RETURN_IF_ERROR(Support(*feed, moved->after, bucket, 1, turn.key, turn.op));
  }
  return absl::OkStatus();
}

// However often the event has written a row, what it gives moves once: nothing of the row's buckets
// changes before rounds begin, so that its operations come to what it pointed at before the first
// and points at after the last. They are as many as the event has operations, and always all of
// them: the next batch has to find the same ones, whatever its limits are.
absl::StatusOr<size_t> BucketPlacer::RunTurns(size_t first, std::vector<std::string>* items) {
  std::optional<WorkQueue::Turn> whole;
  size_t end = first;
  for (;; ++end) {
    if (end == items->size()) {
      ASSIGN_OR_RETURN(std::vector<std::string> more,
                       queue_->Next(round_, items->back() + '\0', Chunk()));
      std::ranges::move(more, std::back_inserter(*items));
    }
    if (end == items->size()) {
      break;
    }
    ASSIGN_OR_RETURN(const Item item, WorkQueue::Decode((*items)[end]));
    if (item.kind != WorkQueue::Kind::kTurn) {
      break;
    }
    ASSIGN_OR_RETURN(WorkQueue::Turn turn, WorkQueue::TurnOf(item));
    if (!whole.has_value()) {
      whole = std::move(turn);
    } else if (turn.entity == whole->entity && turn.key == whole->key) {
      whole->Then(std::move(turn));
    } else {
      break;
    }
  }
  std::erase_if(whole->references, [](const auto& moved) { return moved.before == moved.after; });
  ASSIGN_OR_RETURN(const bool complete, RunTurn(*whole));
  return complete ? end - first : 0;
}

// The row itself may fill a batch: what comes of it has as much room beside it.
absl::StatusOr<bool> BucketPlacer::RunTurn(const WorkQueue::Turn& turn) {
  const RuleSet::Entity* rules = rules_->Find(turn.entity);
  if (rules == nullptr || turn.references.empty()) {
    return true;
  }
  const RowSlot slot = parts_.overlay.SlotOfCopy(turn.entity, turn.key);
  RETURN_IF_ERROR(parts_.overlay.Load(parts_.view));
  RETURN_IF_ERROR(ReadAll(slot));
  const std::vector<std::pair<BucketKey, uint32_t>> sources = SourcesOf(slot);
  work_ += kLookWork * sources.size();
  const Beside beside(*this);
  for (size_t i = 0; i < sources.size(); ++i) {
    const std::string place = sources[i].first.ToHex();
    if (place <= row_) {
      continue;
    }
    RETURN_IF_ERROR(TurnBucket(turn, *rules, sources[i].second, sources[i].first));
    row_ = place;
    if (beside.Full() && i + 1 < sources.size()) {
      return false;
    }
  }
  return true;
}

void BucketPlacer::Prefetch(EntityId entity, std::string_view row) {
  const RuleSet::Entity* rules = rules_->Find(entity);
  if (rules != nullptr && !row.empty()) {
    Fetch(*rules, row, 0);
  }
}

void BucketPlacer::Fetch(const RuleSet::Entity& rules, std::string_view row, uint32_t round) {
  if (rules.references.empty()) {
    return;
  }
  // Taken before the first slot is made: that moves the entry that the row may be of.
  const std::vector<std::string> texts = ReferencedKeys(*rules.schema, rules.referenced, row);
  size_t at = 0;
  for (const RuleSet::Reference& reference : rules.references) {
    while (rules.referenced[at] != reference.attribute) {
      ++at;
    }
    if (!texts[at].empty() && (round == 0 || reference.round == round)) {
      parts_.overlay.SlotOfCopy(reference.entity, texts[at]);
    }
  }
}

absl::StatusOr<bool> BucketPlacer::HasRoom(std::span<const RowSlot> slots, size_t next,
                                           size_t* fetched) {
  if (next > 0 && (FullBesideRows() || (next == *fetched && Full()))) {
    return false;
  }
  if (next < *fetched) {
    return true;
  }
  for (size_t related = 0; *fetched < slots.size() && related < kRelatedMax; ++*fetched) {
    const FoldOverlay::Entry& entry = parts_.overlay.entry(slots[*fetched]);
    const RuleSet::Entity* rules = rules_->Find(entry.key.entity);
    if (rules != nullptr && entry.live() && !rules->references.empty()) {
      related += rules->references.size();
      work_ += rules->references.size() * kLookWork + entry.now.row.size() / kBytesPerWork;
      Fetch(*rules, entry.now.row, round_);
    }
  }
  // Those for which there is no room are read one by one, where they are looked at.
  RETURN_IF_ERROR(parts_.overlay.Load(parts_.view, Room()));
  return true;
}

absl::Status BucketPlacer::PassOn(RowSlot slot, const std::vector<FoldOverlay::Move>& moves) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  const RuleSet::Entity* rules = rules_->Find(entry.key.entity);
  if (moves.empty() || rules == nullptr || rules->feeds.empty()) {
    return absl::OkStatus();
  }
  size_t feeds = 0;
  for (const FoldOverlay::Move& move : moves) {
    feeds += rules->FeedsOf(move.target.rule).size();
  }
  size_t once = 0;
  RETURN_IF_ERROR(CountOnce(feeds * kRuleWork, &once));
  const RecordKey key = entry.key;
  const bool live = entry.live();
  const std::vector<std::string> ups =
      ReferencedKeys(*rules->schema, rules->ups, live ? std::string_view(entry.now.row) : "");
  for (const FoldOverlay::Move& move : moves) {
    for (const SyncRule* feed : rules->FeedsOf(move.target.rule)) {
      if (IsNew(*feed)) {
        continue;  // whatever a new rule brings is looked at by entity: see RulesReplaced()
      }
      if (feed->down) {
        queue_->Add(feed->depth,
                    {WorkQueue::Kind::kChildren, feed->entity, feed->attribute, key.key});
      } else if (live) {  // a deleted row points nowhere: Written() has taken back what it gave
        const std::string& target = ups[PlaceIn(rules->ups, feed->attribute)];
        RETURN_IF_ERROR(Support(*feed, target, move.target.bucket, move.entered ? 1 : -1, key.key,
                                WorkQueue::kByMove));
      }
    }
  }
  return absl::OkStatus();
}

// A row may point at a thousand, and each of these be large: those for which there is no room get
// their support at the beginning of the round that looks at it, where a batch can be cut.
absl::Status BucketPlacer::Support(const SyncRule& rule, const std::string& target,
                                   BucketKey source, int delta, std::string_view giver,
                                   uint32_t op) {
  if (target.empty()) {
    return absl::OkStatus();
  }
  if (!IsNew(rule)) {
    queue_->Add(rule.depth, {WorkQueue::Kind::kRow, rule.entity, AttributeId(), target});
  }
  bool waits = Crowded() && !parts_.overlay.Has(rule.entity, target);
  if (!waits && delta < 0) {
    ASSIGN_OR_RETURN(waits, GivesWait());
  }
  if (waits) {
    gives_wait_ = true;
    queue_->Add(rule.depth, WorkQueue::ItemOf({.entity = rule.entity,
                                               .target = target,
                                               .rule = rule.number,
                                               .source = source,
                                               .taken = delta < 0,
                                               .op = op,
                                               .giver = std::string(giver)}));
    return absl::OkStatus();
  }
  const RowSlot slot = parts_.overlay.SlotOfCopy(rule.entity, target);
  RETURN_IF_ERROR(parts_.overlay.Load(parts_.view));
  return AddSupport(slot, rule, source, delta);
}

// Then nothing is taken before it, since what is taken may be what waits to be given.
absl::StatusOr<bool> BucketPlacer::GivesWait() {
  for (uint32_t round = round_ + 1; !gives_wait_.has_value() && round <= rules_->depth_max();
       ++round) {
    ASSIGN_OR_RETURN(const bool stored, queue_->HasStoredGives(round));
    if (stored) {
      gives_wait_ = true;
    }
  }
  gives_wait_ = gives_wait_.value_or(false);
  return *gives_wait_;
}

absl::Status BucketPlacer::AddSupport(RowSlot slot, const SyncRule& rule, BucketKey source,
                                      int delta) {
  ASSIGN_OR_RETURN(const bool counted,
                   parts_.overlay.AddSupport(slot, rule.number, source, delta, parts_.view));
  if (counted) {
    return absl::OkStatus();
  }
  return Error(StatusCode::kDataLoss, "store_corrupt",
               "entity {} \"{}\" loses support by rule {} that it does not have",
               rule.entity.value(), parts_.overlay.entry(slot).key.key, rule.id);
}

absl::StatusOr<size_t> BucketPlacer::RunGives(std::span<const std::string> items) {
  std::vector<WorkQueue::Give> gives;
  std::vector<RecordKey> targets;
  for (const std::string& bytes : items) {
    ASSIGN_OR_RETURN(const Item item, WorkQueue::Decode(bytes));
    ASSIGN_OR_RETURN(WorkQueue::Give give, WorkQueue::GiveOf(item));
    targets.push_back({give.entity, give.target});
    gives.push_back(std::move(give));
  }
  size_t done = 0;
  while (done < gives.size() && (done == 0 || !Full())) {
    ASSIGN_OR_RETURN(const std::vector<RowSlot> slots, Read(std::span(targets).subspan(done)));
    for (const RowSlot slot : slots) {
      const WorkQueue::Give& give = gives[done++];
      const SyncRule* rule = rules_->FindRule(give.rule);
      if (rule == nullptr) {
        return Error(StatusCode::kDataLoss, "store_corrupt",
                     "a large event's work names rule {}, which there is not", give.rule);
      }
      work_ += kRuleWork;
      RETURN_IF_ERROR(AddSupport(slot, *rule, give.source, give.taken ? -1 : 1));
    }
  }
  return done;
}

// What the row gives by rules that are new and go out from its buckets of this round. False where
// there is more than the batch has room for: row_ then says, behind the row's key, up to which
// bucket it is done.
absl::StatusOr<bool> BucketPlacer::SupportAnew(RowSlot slot) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  const RuleSet::Entity* rules = rules_->Find(entry.key.entity);
  if (rules == nullptr || rules->ups.empty() || !entry.live()) {
    return true;
  }
  size_t once = 0;
  RETURN_IF_ERROR(CountOnce(entry.now.memberships.size() * kLookWork, &once));
  const std::vector<std::string> ups = ReferencedKeys(*rules->schema, rules->ups, entry.now.row);
  const std::string key = entry.key.key;
  const size_t amid = row_.rfind(kAmid);
  const std::string after = amid == std::string::npos ? "" : row_.substr(amid + kAmid.size());
  const Beside beside(*this);
  for (const auto& [source, rule] : SourcesOf(slot)) {
    const std::string place = source.ToHex();
    if (place <= after) {
      continue;
    }
    if (beside.Full()) {
      return false;
    }
    for (const SyncRule* feed : rules->FeedsOf(rule)) {
      if (!feed->down && feed->depth == round_ + 1 && IsNew(*feed)) {
        work_ += kRuleWork;
        RETURN_IF_ERROR(Support(*feed, ups[PlaceIn(rules->ups, feed->attribute)], source, 1, key,
                                WorkQueue::kByMove));
      }
    }
    row_ = key;
    row_.append(kAmid).append(place);
  }
  return true;
}

}  // namespace sluice::projectors

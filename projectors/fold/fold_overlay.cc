#include "projectors/fold/fold_overlay.h"

#include <absl/hash/hash.h>

#include <algorithm>
#include <random>

#include "projectors/fold/fold.h"
#include "schemas/base/status.h"
#include "schemas/release.h"

namespace sluice::projectors {
namespace {

// About what a membership or support takes.
constexpr size_t kPlaceBytes = 128;

size_t BytesOf(const Record& record) {
  return record.row.size() + kPlaceBytes * (record.memberships.size() + record.support.size());
}

// A membership that ended begins anew with the event `entered`.
void Return(Offset entered, Offset horizon, Membership* membership) {
  membership->earlier.push_back(
      {membership->entered, membership->position.offset, membership->by_definition});
  membership->member = true;
  membership->entered = entered;  // before the stays are looked at, as the one after the last
  membership->by_definition = false;
  ForgetStays(horizon, membership);
  std::vector<Stay>& earlier = membership->earlier;
  const size_t old = !earlier.empty() && earlier.front().until <= horizon ? 1 : 0;
  if (earlier.size() - old > kStaysMax) {
    earlier[1].from = earlier[0].from;
    earlier.erase(earlier.begin());
    membership->vague = true;
  }
}

bool Expired(const Membership& membership, Offset horizon) {
  return !membership.member && membership.position.offset <= horizon;
}

// Of the bucket, among the first `known`, which ascend; nullptr where there is none.
Membership* FindIn(std::vector<Membership>& memberships, size_t known, BucketKey bucket) {
  const std::span<Membership> all = std::span(memberships).first(known);
  const auto at = std::ranges::lower_bound(all, bucket, {}, &Membership::bucket);
  return at != all.end() && at->bucket == bucket ? &*at : nullptr;
}

// Those behind the first `known` ascend too, and are of other buckets: they may be many, and each
// would move half of the list where it was put into its place by itself.
void MergeFrom(size_t known, std::vector<Membership>* memberships) {
  const auto added = memberships->begin() + static_cast<std::ptrdiff_t>(known);
  std::ranges::inplace_merge(*memberships, added, {}, &Membership::bucket);
}

// The row leaves the bucket at `position`.
void Leave(Position position, bool by_definition, Offset horizon, Membership* membership) {
  membership->member = false;
  membership->position = position;
  membership->by_definition = by_definition;
  ForgetStays(horizon, membership);
}

// The row comes into the bucket, or is written in it anew.
void Enter(Position position, uint32_t rule, Offset horizon, Membership* membership) {
  if (membership->entered == kNoOffset || Expired(*membership, horizon)) {
    *membership = Membership{membership->bucket, {}};
    membership->entered = position.offset;
  } else if (membership->member) {
    ForgetStays(horizon, membership);
  } else {
    Return(position.offset, horizon, membership);
  }
  membership->rule = rule;
  membership->position = position;
}

// One position for all buckets of one row: where the event wrote it, or, of one that it has not
// written, the one that an earlier batch of the event has given it, or the next.
Position PositionOf(const FoldOverlay::Placement& placement,
                    const std::vector<Membership>& memberships) {
  if (placement.written.offset != kNoOffset) {
    return placement.written;
  }
  if (placement.resumed != kNoOffset) {
    const auto moved = std::ranges::find_if(memberships, [&](const Membership& m) {
      return m.position.offset == placement.resumed && placement.concerns(m.rule);
    });
    if (moved != memberships.end()) {
      return moved->position;
    }
  }
  return placement.next();
}

// Senders choose keys: were the hash known to them, they could make all of them meet in one place
// of the table, and each step of the fold as long as the table.
uint64_t Salt() {
  static const uint64_t salt = [] {
    std::random_device device;
    return (uint64_t{device()} << 32) | device();
  }();
  return salt;
}

}  // namespace

size_t FoldOverlay::KeyHash::operator()(const KeyView& key) const {
  return absl::HashOf(Salt(), key.entity.value(), key.key);
}

void FoldOverlay::Reserve(size_t count) {
  slots_.reserve(count);
  entries_.reserve(count);
}

FoldOverlay::RowSlot FoldOverlay::SlotOf(EntityId entity, std::string_view key) {
  const auto [found, inserted] =
      slots_.try_emplace(KeyView{entity, key}, static_cast<RowSlot>(entries_.size()));
  if (inserted) {
    entries_.emplace_back().key = RecordKey{entity, std::string(key)};
  }
  return found->second;
}

void FoldOverlay::SetStored(Entry& entry, std::optional<Record> record) {
  entry.exists = entry.existed = record.has_value();
  if (record.has_value()) {
    entry.now = *std::move(record);
    bytes_ += BytesOf(entry.now);
    entry.was_live = !entry.now.deleted;
    if (entry.now.apart) {
      entry.apart = std::make_unique<Apart>();
      entry.apart->memberships_stored = entry.now.memberships_apart;
      entry.apart->support_stored = entry.now.support_apart;
    }
  }
}

absl::Status FoldOverlay::Load(FoldView& view, size_t bytes_max) {
  if (loaded_ == entries_.size()) {
    return absl::OkStatus();
  }
  std::vector<RecordKey> keys;
  keys.reserve(entries_.size() - loaded_);
  for (size_t i = loaded_; i < entries_.size(); ++i) {
    keys.push_back(std::move(entries_[i].key));
  }
  ASSIGN_OR_RETURN(std::vector<std::optional<Record>> records, view.GetRecords(keys, bytes_max));
  for (size_t i = 0; i < keys.size(); ++i) {
    entries_[loaded_ + i].key = std::move(keys[i]);
  }
  // In memory memberships are larger than in the store, so there may be less room than it thought.
  const size_t before = bytes_;
  for (size_t i = 0; i < records.size() && (i == 0 || bytes_ - before < bytes_max); ++i) {
    SetStored(entries_[loaded_++], std::move(records[i]));
  }
  // Those for which there was no room are given up again: an entry without its record looks like a
  // row that does not exist, and what the store has of it would be overwritten.
  while (entries_.size() > loaded_) {
    PopSlot();
  }
  return absl::OkStatus();
}

void FoldOverlay::PopSlot() {
  const RecordKey& key = entries_.back().key;
  const auto slot = slots_.find(KeyView{key.entity, key.key});
  const bool own = !own_keys_.empty() && slot->first.key.data() == own_keys_.back().data();
  // In this order: the index holds a view of the key's text, which is in own_keys_ or the caller's.
  slots_.erase(slot);
  entries_.pop_back();
  if (own) {
    own_keys_.pop_back();
  }
}

void FoldOverlay::UnmakeLast() {
  bytes_ -= BytesOf(entries_.back().now);
  PopSlot();
  loaded_ = entries_.size();
}

absl::Status FoldOverlay::Complete(RowSlot slot, FoldView& view) {
  Entry& entry = entries_[slot];
  if (!entry.partly()) {
    return absl::OkStatus();
  }
  Record stored;
  stored.apart = true;
  stored.memberships_apart = entry.apart->memberships_stored;
  stored.support_apart = entry.apart->support_stored;
  RETURN_IF_ERROR(view.Complete(entry.key, &stored));
  Record& now = entry.now;
  now.apart = false;
  now.memberships_apart = now.support_apart = 0;
  bytes_ += kPlaceBytes * (stored.memberships.size() + stored.support.size());
  // Before what was touched is put in: the operations to be erased are those that the store has.
  if (entry.touched) {
    entry.before = stored.memberships;
  }
  now.memberships = std::move(stored.memberships);
  now.support = std::move(stored.support);
  const size_t known = now.memberships.size();
  now.memberships.reserve(known + entry.apart->touched.size());
  for (auto& [bucket, one] : entry.apart->touched) {
    Membership* const membership = FindIn(now.memberships, known, bucket);
    if (membership != nullptr) {
      *membership = *std::move(one.now);
    } else if (one.now.has_value()) {
      now.memberships.push_back(*std::move(one.now));
    }
  }
  MergeFrom(known, &now.memberships);
  entry.apart->touched.clear();
  entry.apart->complete = true;
  return absl::OkStatus();
}

// At once, since one by one each would move half of the list. What was touched ascends, too.
void FoldOverlay::SettleSupport(Entry& entry) {
  if (entry.partly() || entry.touched_support.empty()) {
    return;
  }
  std::vector<Support> settled;
  const std::vector<Support>& support = entry.now.support;
  settled.reserve(support.size() + entry.touched_support.size());
  auto at = support.begin();
  for (const auto& [key, one] : entry.touched_support) {
    for (; at != support.end() && SupportOrder(*at) < key; ++at) {
      settled.push_back(*at);
    }
    at += at != support.end() && SupportOrder(*at) == key ? 1 : 0;
    if (one.now > 0) {
      settled.push_back({key.first, key.second, one.now});
    }
  }
  settled.insert(settled.end(), at, support.end());
  if (entry.apart != nullptr && !entry.apart->support.has_value()) {
    entry.apart->support = std::move(entry.now.support);
  }
  entry.now.support = std::move(settled);
  entry.touched_support.clear();
}

const std::vector<Support>& FoldOverlay::AllSupport(RowSlot slot) {
  SettleSupport(entries_[slot]);
  return entries_[slot].now.support;
}

absl::StatusOr<FoldOverlay::Apart::OneMembership*> FoldOverlay::TouchMembership(RowSlot slot,
                                                                                BucketKey bucket,
                                                                                FoldView& view) {
  Entry& entry = entries_[slot];
  const auto [at, added] = entry.apart->touched.try_emplace(bucket);
  if (added) {
    ASSIGN_OR_RETURN(at->second.stored, view.GetMembership(entry.key, bucket));
    bytes_ += kPlaceBytes;
    at->second.now = at->second.stored;
  }
  return &at->second;
}

absl::StatusOr<FoldOverlay::OneSupport*> FoldOverlay::TouchSupport(RowSlot slot, uint32_t rule,
                                                                   BucketKey source,
                                                                   FoldView& view) {
  Entry& entry = entries_[slot];
  const auto [at, added] = entry.touched_support.try_emplace(std::pair(rule, source));
  if (added) {
    OneSupport& one = at->second;
    if (entry.partly()) {
      ASSIGN_OR_RETURN(one.before, view.GetSupport(entry.key, rule, source));
    } else {
      const std::vector<Support>& support = entry.now.support;
      const auto known = std::ranges::lower_bound(support, at->first, {}, SupportOrder);
      one.before = known == support.end() || SupportOrder(*known) != at->first ? 0 : known->count;
    }
    one.now = one.before;
    // What the record has with it has been counted.
    bytes_ += entry.partly() || one.before == 0 ? kPlaceBytes : 0;
  }
  return &at->second;
}

FoldOverlay::RowSlot FoldOverlay::SlotOfCopy(EntityId entity, std::string_view key) {
  const auto found = slots_.find(KeyView{entity, key});
  return found != slots_.end() ? found->second : SlotOf(entity, own_keys_.emplace_back(key));
}

FoldOverlay::RowSlot FoldOverlay::Adopt(const RecordKey& key, Record record) {
  const size_t before = entries_.size();
  const RowSlot slot = SlotOfCopy(key.entity, key.key);
  if (entries_.size() > before && loaded_ == before) {
    SetStored(entries_[slot], std::move(record));
    loaded_ = entries_.size();
  }
  return slot;
}

FoldOverlay::Entry& FoldOverlay::Touch(RowSlot slot) {
  Entry& entry = entries_[slot];
  if (!entry.touched) {
    touched_ = entry.touched = true;
    if (!entry.partly()) {
      entry.before = entry.now.memberships;
    }
  }
  return entry;
}

void FoldOverlay::KeepSupport(Entry& entry) {
  if (entry.apart != nullptr && entry.apart->complete && !entry.apart->support.has_value()) {
    entry.apart->support = entry.now.support;
  }
}

void FoldOverlay::Write(RowSlot slot, Position position, std::optional<int64_t> version,
                        std::string row) {
  Entry& entry = Touch(slot);
  entry.exists = true;
  entry.now.deleted = false;
  entry.now.last = position;
  bytes_ = bytes_ - entry.now.row.size() + row.size();
  entry.now.row = std::move(row);
  if (version.has_value()) {
    entry.now.version = version;
  }
}

bool FoldOverlay::Delete(RowSlot slot, Position position, std::optional<int64_t> version) {
  if (!entries_[slot].live() && !version.has_value()) {
    return false;  // nothing is there and there is nothing to remember
  }
  Entry& entry = Touch(slot);
  entry.exists = true;
  entry.now.deleted = true;
  entry.now.last = position;
  bytes_ -= entry.now.row.size();
  Release(&entry.now.row);
  if (version.has_value()) {
    entry.now.version = version;
  }
  return true;
}

void FoldOverlay::SetVersion(RowSlot slot, int64_t version) {
  if (entries_[slot].now.version != version) {
    Touch(slot).now.version = version;
  }
}

void FoldOverlay::Strip(RowSlot slot) {
  const bool supported = !AllSupport(slot).empty();  // with what was touched, which goes too
  if (supported || entries_[slot].now.version.has_value()) {
    Entry& entry = Touch(slot);
    entry.now.version.reset();
    KeepSupport(entry);
    entry.now.support.clear();
  }
}

FoldOverlay::Placed FoldOverlay::Place(RowSlot slot, std::span<const Target> targets,
                                       const Placement& placement, std::vector<Move>* moves) {
  const bool written = placement.written.offset != kNoOffset;
  const std::vector<Membership>& old = entries_[slot].now.memberships;
  std::optional<Position> moved;
  const auto position = [&] {
    if (!moved.has_value()) {
      moved = PositionOf(placement, old);
    }
    return *moved;
  };
  Placed placed;
  // Is there room for one change more?
  const auto change = [&] {
    placed.complete = placed.complete && placed.changes < placement.changes_max;
    placed.changes += placed.complete ? 1 : 0;
    return placed.complete;
  };
  scratch_.clear();
  if (old.size() > scratch_.capacity()) {
    scratch_.reserve(old.size() + std::min(targets.size(), placement.changes_max));
  }
  size_t i = 0;
  size_t j = 0;
  while (i < old.size() || j < targets.size()) {
    if (j == targets.size() || (i < old.size() && old[i].bucket < targets[j].bucket)) {
      const Membership& was = old[i++];
      if (was.member && placement.concerns(was.rule) && change()) {
        Leave(position(), placement.by_definition, placement.horizon, &scratch_.emplace_back(was));
        moves->push_back({{was.bucket, was.rule}, false});
      } else if (!Expired(was, placement.horizon)) {
        scratch_.push_back(was);
      }
      continue;
    }
    const Target& target = targets[j++];
    const bool known = i < old.size() && old[i].bucket == target.bucket;
    // A place at the position of the event has been given by it already, as by an earlier batch
    // that had no room for the rest. So the next batch goes on where that one ended, without a note
    // of how far it came.
    if (known && old[i].member && (!written || old[i].position == placement.written)) {
      scratch_.push_back(old[i++]);
      continue;
    }
    if (!change()) {
      if (known) {
        scratch_.push_back(old[i++]);
      }
      continue;
    }
    Enter(position(), target.rule, placement.horizon,
          &scratch_.emplace_back(known ? old[i] : Membership{target.bucket, {}}));
    if (!known || !old[i].member) {
      moves->push_back({target, true});
    }
    i += known ? 1 : 0;
  }
  changes_ += placed.changes;
  if (placed.changes > 0) {
    Entry& entry = entries_[slot];
    if (!entry.touched) {
      touched_ = entry.touched = true;
      entry.before.swap(entry.now.memberships);  // as Touch(), without a copy
    }
    entry.now.memberships.swap(scratch_);
  }
  return placed;
}

absl::StatusOr<FoldOverlay::Placed> FoldOverlay::PlaceSome(RowSlot slot,
                                                           std::span<const Decision> decisions,
                                                           const Placement& placement,
                                                           FoldView& view,
                                                           std::vector<Move>* moves) {
  Placed placed;
  // Behind these come those that it gets, until the end.
  const size_t known = entries_[slot].now.memberships.size();
  std::optional<Position> moved;  // one position for all buckets of one row
  const auto move = [&](const Decision& decision, Membership* membership) {
    Touch(slot);
    if (!moved.has_value()) {
      moved = placement.next();
    }
    if (decision.member) {
      Enter(*moved, decision.target.rule, placement.horizon, membership);
    } else {
      Leave(*moved, placement.by_definition, placement.horizon, membership);
    }
    moves->push_back({decision.target, decision.member});
    ++placed.changes;
  };
  for (const Decision& decision : decisions) {
    const BucketKey bucket = decision.target.bucket;
    if (placed.changes == placement.changes_max) {
      placed.complete = false;  // or maybe nothing is left to be done: then it is found to be so
      break;
    }
    if (entries_[slot].partly()) {
      ASSIGN_OR_RETURN(Apart::OneMembership* const one, TouchMembership(slot, bucket, view));
      const bool there = one->now.has_value();
      if ((there && one->now->member) != decision.member) {
        if (!there) {
          one->now = Membership{bucket, {}};
          entries_[slot].now.memberships_apart += 1;
        }
        move(decision, &*one->now);
      }
      continue;
    }
    std::vector<Membership>& now = entries_[slot].now.memberships;
    Membership* membership = now.size() > known && now.back().bucket == bucket
                                 ? &now.back()
                                 : FindIn(now, known, bucket);
    if ((membership != nullptr && membership->member) == decision.member) {
      continue;
    }
    Touch(slot);  // before anything is changed
    if (membership == nullptr) {
      membership = &now.emplace_back(Membership{bucket, {}});
    }
    move(decision, membership);
  }
  MergeFrom(known, &entries_[slot].now.memberships);
  changes_ += placed.changes;
  return placed;
}

std::vector<std::pair<uint32_t, BucketKey>> FoldOverlay::TakeStirred(
    RowSlot slot, absl::FunctionRef<bool(uint32_t)> take) {
  std::vector<std::pair<uint32_t, BucketKey>> taken;
  std::erase_if(entries_[slot].stirred, [&](const auto& support) {
    const bool of_these = take(support.first);
    if (of_these) {
      taken.push_back(support);
    }
    return of_these;
  });
  return taken;
}

absl::StatusOr<uint64_t> FoldOverlay::SupportOf(RowSlot slot, uint32_t rule, BucketKey source,
                                                FoldView& view) {
  ASSIGN_OR_RETURN(const OneSupport* const one, TouchSupport(slot, rule, source, view));
  return one->now;
}

absl::StatusOr<bool> FoldOverlay::AddSupport(RowSlot slot, uint32_t rule, BucketKey source,
                                             int delta, FoldView& view) {
  Entry& entry = Touch(slot);
  if (!entry.exists) {
    entry.exists = true;
    entry.now = Record();
    entry.now.deleted = true;
  }
  ASSIGN_OR_RETURN(OneSupport* const one, TouchSupport(slot, rule, source, view));
  const bool before = one->now > 0;
  if (!before && delta < 0) {
    return false;
  }
  one->now += static_cast<uint64_t>(static_cast<int64_t>(delta));
  const bool after = one->now > 0;
  // Only the first that gives and the last that takes change anything for the row. Of one that very
  // many point at, nearly all changes lie between the two.
  if (before != after) {
    entry.stirred.emplace_back(rule, source);
    if (entry.partly()) {
      entry.now.support_apart += after ? 1 : -1;
    }
  }
  return true;
}

void FoldOverlay::DropSupport(RowSlot slot, absl::FunctionRef<bool(uint32_t)> keep) {
  const auto gone = [&](const Support& s) { return !keep(s.rule); };
  if (std::ranges::any_of(AllSupport(slot), gone)) {
    Entry& entry = Touch(slot);
    KeepSupport(entry);
    std::erase_if(entry.now.support, gone);
  }
}

}  // namespace sluice::projectors

#include "projectors/staging/fold_overlay.h"

#include <absl/hash/hash.h>

#include <algorithm>
#include <random>
#include <utility>

#include "projectors/staging/fold.h"
#include "schemas/release.h"
#include "schemas/status.h"

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
  ForgetStays(horizon, membership);
  membership->member = true;
  membership->entered = entered;
  membership->by_definition = false;
  std::vector<Stay>& earlier = membership->earlier;
  if (earlier.size() > kStaysMax) {
    earlier[1].from = earlier[0].from;
    earlier.erase(earlier.begin());
    membership->vague = true;
  }
}

bool Expired(const Membership& membership, Offset horizon) {
  return !membership.member && membership.position.offset <= horizon;
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

}  // namespace

namespace {

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

FoldOverlay::Slot FoldOverlay::SlotOf(EntityId entity, std::string_view key) {
  const auto [found, inserted] =
      slots_.try_emplace(KeyView{entity, key}, static_cast<Slot>(entries_.size()));
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
  while (entries_.size() > loaded_) {
    PopSlot();
  }
  return absl::OkStatus();
}

void FoldOverlay::PopSlot() {
  const RecordKey& key = entries_.back().key;
  const auto slot = slots_.find(KeyView{key.entity, key.key});
  const bool own = !own_keys_.empty() && slot->first.key.data() == own_keys_.back().data();
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

absl::Status FoldOverlay::Complete(Slot slot, FoldView& view) {
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
  if (entry.touched) {
    entry.before = stored.memberships;
  }
  if (!entry.apart->touched_support.empty()) {
    entry.apart->support = stored.support;
  }
  now.memberships = std::move(stored.memberships);
  now.support = std::move(stored.support);
  for (auto& [bucket, one] : entry.apart->touched) {
    const auto at = std::ranges::lower_bound(now.memberships, bucket, {}, &Membership::bucket);
    const bool there = at != now.memberships.end() && at->bucket == bucket;
    if (there) {
      *at = *std::move(one.now);
    } else if (one.now.has_value()) {
      now.memberships.insert(at, *std::move(one.now));
    }
  }
  for (const auto& [key, one] : entry.apart->touched_support) {
    const auto at = std::ranges::lower_bound(now.support, key, {}, SupportOrder);
    const bool there = at != now.support.end() && SupportOrder(*at) == key;
    if (there && one.now == 0) {
      now.support.erase(at);
    } else if (there) {
      at->count = one.now;
    } else if (one.now > 0) {
      now.support.insert(at, Support{key.first, key.second, one.now});
    }
  }
  entry.apart->touched.clear();
  entry.apart->touched_support.clear();
  entry.apart->complete = true;
  return absl::OkStatus();
}

absl::StatusOr<FoldOverlay::Apart::OneMembership*> FoldOverlay::TouchMembership(Slot slot,
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

absl::StatusOr<FoldOverlay::Apart::OneSupport*> FoldOverlay::TouchSupport(Slot slot, uint32_t rule,
                                                                          BucketKey source,
                                                                          FoldView& view) {
  Entry& entry = entries_[slot];
  const auto [at, added] = entry.apart->touched_support.try_emplace(std::pair(rule, source));
  if (added) {
    ASSIGN_OR_RETURN(at->second.stored, view.GetSupport(entry.key, rule, source));
    bytes_ += kPlaceBytes;
    at->second.now = at->second.stored;
  }
  return &at->second;
}

FoldOverlay::Slot FoldOverlay::SlotOfCopy(EntityId entity, std::string_view key) {
  const auto found = slots_.find(KeyView{entity, key});
  return found != slots_.end() ? found->second : SlotOf(entity, own_keys_.emplace_back(key));
}

FoldOverlay::Slot FoldOverlay::Adopt(const RecordKey& key, Record record) {
  const size_t before = entries_.size();
  const Slot slot = SlotOfCopy(key.entity, key.key);
  if (entries_.size() > before && loaded_ == before) {
    SetStored(entries_[slot], std::move(record));
    loaded_ = entries_.size();
  }
  return slot;
}

FoldOverlay::Entry& FoldOverlay::Touch(Slot slot) {
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

void FoldOverlay::Write(Slot slot, Position position, std::optional<int64_t> version,
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

bool FoldOverlay::Delete(Slot slot, Position position, std::optional<int64_t> version) {
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

void FoldOverlay::Strip(Slot slot) {
  const Record& now = entries_[slot].now;
  if (now.version.has_value() || !now.support.empty()) {
    Entry& entry = Touch(slot);
    entry.now.version.reset();
    KeepSupport(entry);
    entry.now.support.clear();
  }
}

FoldOverlay::Placed FoldOverlay::Place(Slot slot, std::span<const Target> targets,
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

absl::StatusOr<FoldOverlay::Placed> FoldOverlay::PlaceSome(Slot slot,
                                                           std::span<const Decision> decisions,
                                                           const Placement& placement,
                                                           FoldView& view,
                                                           std::vector<Move>* moves) {
  Placed placed;
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
      const bool known = one->now.has_value();
      if ((known && one->now->member) != decision.member) {
        if (!known) {
          one->now = Membership{bucket, {}};
          entries_[slot].now.memberships_apart += 1;
        }
        move(decision, &*one->now);
      }
      continue;
    }
    std::vector<Membership>& now = entries_[slot].now.memberships;
    auto at = std::ranges::lower_bound(now, bucket, {}, &Membership::bucket);
    const bool known = at != now.end() && at->bucket == bucket;
    if ((known && at->member) == decision.member) {
      continue;
    }
    Touch(slot);  // before anything is changed
    if (!known) {
      at = now.insert(at, Membership{bucket, {}});
    }
    move(decision, &*at);
  }
  changes_ += placed.changes;
  return placed;
}

std::vector<std::pair<uint32_t, BucketKey>> FoldOverlay::TakeStirred(
    Slot slot, absl::FunctionRef<bool(uint32_t)> take) {
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

absl::StatusOr<uint64_t> FoldOverlay::SupportOf(Slot slot, uint32_t rule, BucketKey source,
                                                FoldView& view) {
  if (entries_[slot].partly()) {
    ASSIGN_OR_RETURN(const Apart::OneSupport* const one, TouchSupport(slot, rule, source, view));
    return one->now;
  }
  const std::vector<Support>& support = entries_[slot].now.support;
  const auto at = std::ranges::lower_bound(support, std::pair(rule, source), {}, SupportOrder);
  return at == support.end() || SupportOrder(*at) != std::pair(rule, source) ? 0 : at->count;
}

absl::StatusOr<bool> FoldOverlay::AddSupport(Slot slot, uint32_t rule, BucketKey source, int delta,
                                             FoldView& view) {
  Entry& entry = Touch(slot);
  if (!entry.exists) {
    entry.exists = true;
    entry.now = Record();
    entry.now.deleted = true;
  }
  uint64_t* count = nullptr;
  std::vector<Support>& support = entry.now.support;
  auto at = support.end();
  if (entry.partly()) {
    ASSIGN_OR_RETURN(Apart::OneSupport* const one, TouchSupport(slot, rule, source, view));
    count = &one->now;
  } else {
    at = std::ranges::lower_bound(support, std::pair(rule, source), {}, SupportOrder);
    if (at == support.end() || SupportOrder(*at) != std::pair(rule, source)) {
      if (delta < 0) {
        return false;
      }
      KeepSupport(entry);
      at = support.insert(at, Support{rule, source, 0});
      bytes_ += kPlaceBytes;
    }
    count = &at->count;
  }
  const bool before = *count > 0;
  if (!before && delta < 0) {
    return false;
  }
  KeepSupport(entry);
  *count += static_cast<uint64_t>(static_cast<int64_t>(delta));
  const bool after = *count > 0;
  if (before != after) {
    entry.stirred.emplace_back(rule, source);
    if (entry.partly()) {
      entry.now.support_apart += after ? 1 : -1;
    }
  }
  if (!after && !entry.partly()) {
    support.erase(at);
  }
  return true;
}

void FoldOverlay::DropSupport(Slot slot, absl::FunctionRef<bool(uint32_t)> keep) {
  const auto gone = [&](const Support& s) { return !keep(s.rule); };
  if (std::ranges::any_of(entries_[slot].now.support, gone)) {
    Entry& entry = Touch(slot);
    KeepSupport(entry);
    std::erase_if(entry.now.support, gone);
  }
}

}  // namespace sluice::projectors

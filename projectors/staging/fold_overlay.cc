#include "projectors/staging/fold_overlay.h"

#include <algorithm>
#include <utility>

#include "projectors/staging/fold.h"
#include "schemas/status.h"
#include "xxhash.h"

namespace sluice::projectors {

size_t FoldOverlay::KeyHash::operator()(const KeyView& key) const {
  return XXH3_64bits_withSeed(key.key.data(), key.key.size(), key.entity.value());
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
    entry.was_live = !entry.now.deleted;
  }
}

absl::Status FoldOverlay::Load(FoldView& view) {
  if (loaded_ == entries_.size()) {
    return absl::OkStatus();
  }
  std::vector<RecordKey> keys;
  keys.reserve(entries_.size() - loaded_);
  for (size_t i = loaded_; i < entries_.size(); ++i) {
    keys.push_back(std::move(entries_[i].key));
  }
  ASSIGN_OR_RETURN(std::vector<std::optional<Record>> records, view.GetRecords(keys));
  for (size_t i = 0; i < keys.size(); ++i) {
    Entry& entry = entries_[loaded_ + i];
    entry.key = std::move(keys[i]);
    SetStored(entry, std::move(records[i]));
  }
  loaded_ = entries_.size();
  return absl::OkStatus();
}

absl::StatusOr<std::vector<FoldOverlay::Slot>> FoldOverlay::LoadEntity(EntityId entity,
                                                                       FoldView& view) {
  RETURN_IF_ERROR(Load(view));
  RETURN_IF_ERROR(view.ForEachRecord(entity, [&](const RecordKey& key, const Record& record) {
    if (!slots_.contains(KeyView{entity, key.key})) {
      own_keys_.push_back(key.key);
      SetStored(entries_[SlotOf(entity, own_keys_.back())], record);
      loaded_ = entries_.size();
    }
    return absl::OkStatus();
  }));
  std::vector<Slot> slots;
  for (Slot slot = 0; slot < entries_.size(); ++slot) {
    if (entries_[slot].key.entity == entity && entries_[slot].exists) {
      slots.push_back(slot);
    }
  }
  std::sort(slots.begin(), slots.end(),
            [&](Slot a, Slot b) { return entries_[a].key.key < entries_[b].key.key; });
  return slots;
}

FoldOverlay::Entry& FoldOverlay::Touch(Slot slot) {
  Entry& entry = entries_[slot];
  if (!entry.touched) {
    entry.touched = true;
    entry.before = entry.now.memberships;
  }
  return entry;
}

// Brings the memberships to `buckets`: what the record leaves keeps a removal, what it enters (or
// is written in anew, unless it may `stay` as it is) gets a put.
void FoldOverlay::Move(Entry& entry, std::span<const BucketKey> buckets, bool stay,
                       absl::FunctionRef<Position()> next) {
  const std::vector<Membership>& old = entry.now.memberships;
  scratch_.clear();
  size_t i = 0;
  size_t j = 0;
  while (i < old.size() || j < buckets.size()) {
    if (j == buckets.size() || (i < old.size() && old[i].bucket < buckets[j])) {
      scratch_.push_back(old[i].member ? Membership{old[i].bucket, next(), false} : old[i]);
      ++i;
      continue;
    }
    const bool was = i < old.size() && old[i].bucket == buckets[j];
    scratch_.push_back(was && old[i].member && stay ? old[i]
                                                    : Membership{buckets[j], next(), true});
    i += was ? 1 : 0;
    ++j;
  }
  entry.now.memberships.swap(scratch_);
}

void FoldOverlay::Write(Slot slot, Position position, std::optional<int64_t> version,
                        std::string row, std::span<const BucketKey> buckets) {
  Entry& entry = Touch(slot);
  entry.exists = true;
  entry.now.deleted = false;
  entry.now.last = position;
  entry.now.row = std::move(row);
  if (version.has_value()) {
    entry.now.version = version;
  }
  Move(entry, buckets, false, [&] { return position; });
}

void FoldOverlay::Delete(Slot slot, Position position, std::optional<int64_t> version,
                         absl::FunctionRef<Position()> next) {
  if (!entries_[slot].live() && !version.has_value()) {
    return;  // nothing is there and there is nothing to remember
  }
  Entry& entry = Touch(slot);
  entry.exists = true;
  entry.now.deleted = true;
  entry.now.last = position;
  entry.now.row.clear();
  if (version.has_value()) {
    entry.now.version = version;
  }
  Move(entry, {}, false, next);
  if (!entry.now.version.has_value() && entry.now.memberships.empty()) {
    entry.exists = false;
    entry.now = Record();
  }
}

void FoldOverlay::Reassign(Slot slot, std::span<const BucketKey> buckets,
                           absl::FunctionRef<Position()> next) {
  const std::vector<Membership>& now = entries_[slot].now.memberships;
  const auto stays = [&](const Membership& m) {
    return m.member == std::binary_search(buckets.begin(), buckets.end(), m.bucket);
  };
  const auto held = std::count_if(now.begin(), now.end(), [](const auto& m) { return m.member; });
  if (static_cast<size_t>(held) == buckets.size() && std::all_of(now.begin(), now.end(), stays)) {
    return;  // so that a row which no rule moves is not written
  }
  Move(Touch(slot), buckets, true, next);
}

void FoldOverlay::ForgetTombstone(Slot slot) {
  if (entries_[slot].exists && entries_[slot].now.deleted &&
      entries_[slot].now.memberships.empty()) {
    Entry& entry = Touch(slot);
    entry.exists = false;
    entry.now = Record();
  }
}

void FoldOverlay::EmitDeltas(const Entry& entry, std::string_view entity_name,
                             BucketChanges* buckets, FoldBatch* batch) {
  const auto left = [&](const Membership& was) {
    batch->delta_erases.emplace_back(was.bucket, was.position);
    if (was.member) {
      buckets->Subtract(was.bucket, RowChecksum(entity_name, entry.key.key, was.position));
    }
  };
  const auto entered = [&](const Membership& is) {
    auto& put = batch->delta_puts.emplace_back();
    put.first = {is.bucket, is.position};
    put.second.put = is.member;
    put.second.entity = entry.key.entity;
    put.second.key = entry.key.key;
    if (is.member) {
      put.second.row = entry.now.row;
      buckets->Add(is.bucket, RowChecksum(entity_name, entry.key.key, is.position));
    }
  };
  const std::vector<Membership>& before = entry.before;
  const std::vector<Membership>& now = entry.now.memberships;
  size_t i = 0;
  size_t j = 0;
  while (i < before.size() || j < now.size()) {
    if (j == now.size() || (i < before.size() && before[i].bucket < now[j].bucket)) {
      left(before[i++]);
    } else if (i == before.size() || now[j].bucket < before[i].bucket) {
      entered(now[j++]);
    } else {
      if (before[i].position != now[j].position) {
        left(before[i]);
        entered(now[j]);
      }
      ++i;
      ++j;
    }
  }
}

void FoldOverlay::Emit(absl::FunctionRef<std::string_view(EntityId)> entity_name,
                       BucketChanges* buckets, FoldBatch* batch) {
  size_t memberships = 0;
  for (const Entry& entry : entries_) {
    memberships += entry.now.memberships.size();
  }
  batch->records.reserve(entries_.size());
  batch->delta_puts.reserve(memberships);
  batch->delta_erases.reserve(memberships);
  for (Entry& entry : entries_) {
    if (!entry.touched || (!entry.exists && !entry.existed)) {
      continue;
    }
    EmitDeltas(entry, entity_name(entry.key.entity), buckets, batch);
    batch->applied.records += entry.live() ? 1 : 0;
    batch->applied.records -= entry.was_live ? 1 : 0;
    if (entry.exists) {
      batch->records.emplace_back(std::move(entry.key), std::move(entry.now));
    } else {
      batch->records.emplace_back(std::move(entry.key), std::nullopt);
    }
  }
}

}  // namespace sluice::projectors

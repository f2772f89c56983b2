#include <absl/container/flat_hash_set.h>

#include <algorithm>
#include <utility>

#include "projectors/fold/bucket_placer.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

// The part of BucketPlacer that goes through the rounds, and reads what they look at.
namespace sluice::projectors {
namespace {

// The first of `items` that are of the same kind, which each begins with.
std::span<const std::string> OfOneKind(std::span<const std::string> items) {
  const auto other = std::ranges::find_if(
      items, [&](const std::string& item) { return item.front() != items.front().front(); });
  return items.first(static_cast<size_t>(other - items.begin()));
}

}  // namespace

size_t BucketPlacer::Chunk() const { return std::clamp<size_t>(limits_.rows_max, 1, kChunkMax); }

absl::StatusOr<bool> BucketPlacer::Run() {
  // The first, in which rows are placed that the event has written, also where there are no rules.
  const uint32_t last =
      std::max({1U, rules_->depth_max(), before_ == nullptr ? 0 : before_->depth_max()});
  while (true) {
    ASSIGN_OR_RETURN(const bool complete, RunRound());
    if (!complete) {
      PutOffWritten();  // where the first round has not begun
      return false;
    }
    if (round_ >= last) {
      return true;
    }
    ++round_;
    item_.clear();
    row_.clear();
    if (queue_->stored()) {
      // A round reads its work from the store, and what this batch has added to it comes there with
      // its commit. To begin now would be to pass over that.
      return false;
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
    ASSIGN_OR_RETURN(std::vector<std::string> items, queue_->Next(round_, item_, Chunk()));
    if (items.empty()) {
      return true;
    }
    for (size_t i = 0; i < items.size();) {
      ASSIGN_OR_RETURN(const Item item, WorkQueue::Decode(items[i]));
      size_t done = 1;
      if (item.kind == WorkQueue::Kind::kRow || item.kind == WorkQueue::Kind::kGive) {
        const std::span<const std::string> run = OfOneKind(std::span(items).subspan(i));
        done = run.size();
        ASSIGN_OR_RETURN(const size_t placed,
                         item.kind == WorkQueue::Kind::kRow ? PlaceRows(run) : RunGives(run));
        if (placed < done) {
          for (const size_t end = i + placed; i < end; ++i) {
            queue_->Done(round_, items[i]);
          }
          item_ = items[i];
          row_.clear();
          return false;
        }
      } else if (item.kind == WorkQueue::Kind::kTurn) {
        item_ = items[i];
        ASSIGN_OR_RETURN(done, RunTurns(i, &items));
        if (done == 0) {
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
  std::vector<RowSlot> written = std::exchange(written_, {});
  // However often the event has written a row, it is placed as it is in the end.
  absl::flat_hash_set<RowSlot> once;
  std::erase_if(written, [&once](RowSlot slot) { return !once.insert(slot).second; });
  size_t fetched = 0;
  for (size_t i = 0; i < written.size(); ++i) {
    ASSIGN_OR_RETURN(const bool room, HasRoom(written, i, &fetched));
    if (room) {
      ASSIGN_OR_RETURN(const bool complete, Place(written[i], false));
      if (complete) {
        continue;
      }
    }
    written_.assign(written.begin() + static_cast<std::ptrdiff_t>(i), written.end());
    PutOffWritten();
    return false;
  }
  return true;
}

void BucketPlacer::PutOffWritten() {
  for (const RowSlot slot : std::exchange(written_, {})) {
    const RecordKey& key = parts_.overlay.entry(slot).key;
    // In the first round at the earliest: before it, what rows give others moves by the buckets
    // that they had before the event.
    queue_->Add(std::max(round_, 1U), {WorkQueue::Kind::kRow, key.entity, AttributeId(), key.key});
  }
}

absl::StatusOr<size_t> BucketPlacer::PlaceRows(std::span<const std::string> items) {
  std::vector<RecordKey> keys;
  keys.reserve(items.size());
  for (const std::string& bytes : items) {
    ASSIGN_OR_RETURN(Item item, WorkQueue::Decode(bytes));
    keys.push_back({item.entity, std::move(item.key)});
  }
  // Items are there for rows that were written and for rows whose support has changed. What an
  // earlier batch of the event did to a row is not known here, nor what a definition means for it.
  return PlaceAll(keys, !resumed_ && before_ == nullptr);
}

absl::StatusOr<bool> BucketPlacer::RunChildren(const Item& item) {
  while (true) {
    ASSIGN_OR_RETURN(LinkIndex::Page page,
                     parts_.links.Children(item.entity, item.attribute, item.key, row_, Chunk()));
    const std::vector<RecordKey> keys = Collect(page.children, [&](const std::string& child) {
      return RecordKey{item.entity, child};
    });
    ASSIGN_OR_RETURN(const size_t placed, PlaceAll(keys, /*by_support=*/false));
    if (placed < keys.size()) {
      row_ = placed > 0 ? page.children[placed - 1] : row_;
      return false;
    }
    row_ = std::move(page.last);
    if (page.end || Full()) {
      return page.end;
    }
  }
}

absl::StatusOr<size_t> BucketPlacer::PlaceAll(std::span<const RecordKey> keys, bool by_support) {
  size_t placed = 0;
  while (placed < keys.size()) {
    ASSIGN_OR_RETURN(const std::vector<RowSlot> slots, Read(keys.subspan(placed)));
    if (placed > 0 && FullBesideRows()) {
      return placed;
    }
    size_t fetched = 0;
    for (size_t i = 0; i < slots.size(); ++i) {
      ASSIGN_OR_RETURN(const bool room, HasRoom(slots, i, &fetched));
      if (!room) {
        return placed;
      }
      ASSIGN_OR_RETURN(const bool complete, Place(slots[i], by_support));
      if (!complete) {
        return placed;
      }
      ++placed;
    }
  }
  return placed;
}

absl::StatusOr<std::vector<FoldOverlay::RowSlot>> BucketPlacer::Read(
    std::span<const RecordKey> keys) {
  std::vector<RowSlot> slots = Collect(
      keys, [&](const RecordKey& key) { return parts_.overlay.SlotOfCopy(key.entity, key.key); });
  RETURN_IF_ERROR(parts_.overlay.Load(parts_.view, Room()));
  const auto unread = [this](RowSlot slot) { return slot >= parts_.overlay.size(); };
  slots.erase(std::ranges::find_if(slots, unread), slots.end());
  return slots;
}

}  // namespace sluice::projectors

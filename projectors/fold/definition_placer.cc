#include <algorithm>
#include <utility>

#include "projectors/fold/bucket_placer.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

// The part of BucketPlacer that follows from a change of the rules.
namespace sluice::projectors {

void BucketPlacer::RulesReplaced(const RuleSet& before) {
  before_ = &before;
  if (resumed_) {
    return;  // the first batch has queued all of these, and those that are done must not come back
  }
  const auto look = [&](uint32_t round, EntityId entity) {
    queue_->Add(round, {WorkQueue::Kind::kEntity, entity, AttributeId(), std::string()});
  };
  const uint32_t depth_max = std::max(before.depth_max(), rules_->depth_max());
  for (const auto& [id, was] : before.entities()) {
    const RuleSet::Entity* now = rules_->Find(id);
    if (now == nullptr) {
      look(0, id);
    }
    for (const AttributeId link : was.links) {
      if (now == nullptr || !std::ranges::binary_search(now->links, link)) {
        unlinked_.emplace_back(id, link);
      }
    }
  }
  const auto same = [](const SyncRule* a, const SyncRule* b) { return a->number == b->number; };
  for (const auto& [id, now] : rules_->entities()) {
    const RuleSet::Entity* was = before.Find(id);
    if (was == nullptr) {
      continue;  // no rows yet
    }
    if (!std::ranges::includes(was->links, now.links)) {
      look(0, id);
    }
    for (uint32_t depth = 1; depth <= depth_max; ++depth) {
      if (!std::ranges::equal(was->At(depth), now.At(depth), same)) {
        look(depth, id);
      }
    }
    for (const SyncRule* feed : now.feeds) {
      if (!feed->down && IsNew(*feed)) {
        look(feed->depth - 1, id);
      }
    }
  }
}

// Every row of an entity: its rules have changed, or what its rows give others.
absl::StatusOr<bool> BucketPlacer::RunEntity(const Item& item) {
  const bool gone = rules_->Find(item.entity) == nullptr;
  // By its own key: what the event has given since may have made records that lie before it, which
  // nothing has to be done for.
  if (const size_t amid = row_.rfind(kAmid); amid != std::string::npos) {
    const RowSlot slot = parts_.overlay.SlotOfCopy(item.entity, row_.substr(0, amid));
    RETURN_IF_ERROR(parts_.overlay.Load(parts_.view));
    ASSIGN_OR_RETURN(const bool complete, RunEntityRow(slot, gone));
    if (!complete) {
      return false;
    }
    row_.resize(amid);
    if (Full()) {
      return false;
    }
  }
  while (true) {
    ASSIGN_OR_RETURN(auto records, parts_.view.ScanRecords(item.entity, row_, Chunk(), Room()));
    if (records.empty()) {
      return true;
    }
    const std::vector<RowSlot> slots = Collect(records, [&](auto& record) {
      return parts_.overlay.Adopt(record.first, std::move(record.second));
    });
    size_t fetched = 0;
    for (size_t i = 0; i < slots.size(); ++i) {
      if (round_ > 0) {
        ASSIGN_OR_RETURN(const bool room, HasRoom(slots, i, &fetched));
        if (!room) {
          return false;
        }
      }
      ASSIGN_OR_RETURN(const bool complete, RunEntityRow(slots[i], gone));
      if (!complete) {
        return false;
      }
      row_ = parts_.overlay.entry(slots[i]).key.key;
      if (FullBesideRows() && i + 1 < slots.size()) {
        return false;
      }
    }
    if (Full()) {
      return false;
    }
  }
}

absl::StatusOr<bool> BucketPlacer::RunEntityRow(RowSlot slot, bool gone) {
  if (round_ == 0) {
    if (gone) {
      return Forget(slot);
    }
    RETURN_IF_ERROR(LinkAnew(slot));
    return true;
  }
  RETURN_IF_ERROR(ReadAll(slot));
  parts_.overlay.DropSupport(slot,
                             [&](uint32_t number) { return rules_->FindRule(number) != nullptr; });
  ASSIGN_OR_RETURN(const bool complete, Place(slot, /*by_support=*/false));
  if (!complete) {
    return false;
  }
  // Only when the row is placed: a new rule gives what goes out from its buckets of this round,
  // which are final from here on.
  return SupportAnew(slot);
}

// References by which children are looked for from now on.
absl::Status BucketPlacer::LinkAnew(RowSlot slot) {
  const FoldOverlay::Entry& entry = parts_.overlay.entry(slot);
  const RuleSet::Entity* rules = rules_->Find(entry.key.entity);
  const RuleSet::Entity* was = before_->Find(entry.key.entity);
  for (const AttributeId attribute : rules->links) {
    if (!entry.live() || (was != nullptr && std::ranges::binary_search(was->links, attribute))) {
      continue;
    }
    std::string text = ReferencedKey(*rules->schema, attribute, entry.now.row);
    if (!text.empty()) {
      parts_.links.Put({entry.key.entity, attribute, std::move(text), entry.key.key});
    }
  }
  return absl::OkStatus();
}

// The entity is gone: its rows leave every bucket, and are rows no more.
absl::StatusOr<bool> BucketPlacer::Forget(RowSlot slot) {
  // Deleted before it leaves its buckets, so that all of its removals have one position, and the
  // batch that goes on finds the row deleted and gives the others the same one.
  RETURN_IF_ERROR(ReadAll(slot));
  if (parts_.overlay.entry(slot).live()) {
    parts_.overlay.Delete(slot, Position{offset_, next_index_++}, std::nullopt);
  }
  parts_.overlay.Strip(slot);
  targets_.clear();
  return Move(slot, [](uint32_t) { return true; });
}

}  // namespace sluice::projectors

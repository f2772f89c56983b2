#include "gateways/sync/delta_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>
#include <unordered_map>

#include "gateways/sync/bucket_id.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

using projectors::CallerBucket;

// More groups than this are merged: each costs the cursor little, but not nothing.
constexpr size_t kGroupsMax = 8;

absl::Status Expired(std::string_view why) {
  return Error(absl::StatusCode::kFailedPrecondition, "cursor_expired",
               fmt::format("{}: start without a cursor", why));
}

class Planner {
 public:
  Planner(const Cursor& cursor, std::span<const CallerBucket> current) : cursor_(cursor) {
    current_.reserve(current.size());
    for (const CallerBucket& bucket : current) {
      current_.emplace(bucket.bucket.key.value(), Current{&bucket, ColumnsHash(bucket.denied)});
    }
  }

  absl::StatusOr<DeltaPlan> Make(std::span<const CallerBucket> current, Offset applied) {
    for (const CursorGroup& group : cursor_.groups) {
      Carry(group);
    }
    AddLost();
    PlanGroup gained;
    gained.since = applied;
    for (const CallerBucket& bucket : current) {
      if (!current_.at(bucket.bucket.key.value()).taken) {
        gained.buckets.push_back({.key = bucket.bucket.key, .current = &bucket});
      }
    }
    Add(std::move(regained_));
    Add(std::move(gained));
    if (lost_count_ > 0 && lost_count_ + current.size() > kCursorBucketsMax) {
      return Expired(fmt::format("the caller has lost {} buckets at once", lost_count_));
    }
    return std::move(plan_);
  }

 private:
  struct Current {
    const CallerBucket* bucket = nullptr;
    uint64_t columns = 0;
    bool taken = false;
  };

  void Add(PlanGroup group) {
    if (!group.buckets.empty()) {
      plan_.groups.push_back(std::move(group));
    }
  }

  // Sorts the buckets of one group of the cursor into what goes on, starts anew, or is lost.
  void Carry(const CursorGroup& from) {
    PlanGroup kept;
    kept.position = from.position;
    kept.since = from.since;
    kept.lost = from.lost;
    const Offset settled = kept.Settled();
    for (const CursorBucket& bucket : from.buckets) {
      const CursorEntity& entity = cursor_.entities[bucket.entity];
      const auto it = current_.find(bucket.key.value());
      if (it != current_.end() && !it->second.taken) {
        Current& now = it->second;
        now.taken = true;
        const bool same = !from.lost && now.columns == entity.columns;
        PlanGroup& to = same ? kept : regained_;
        if (!same) {
          to.since = to.buckets.empty() ? settled : std::min(to.since, settled);
        }
        to.buckets.push_back({.key = bucket.key, .current = now.bucket});
      } else if (it == current_.end()) {
        const PlanBucket lost{.key = bucket.key, .lost_entity = LostEntity(entity)};
        if (from.lost) {
          kept.buckets.push_back(lost);
        } else {
          newly_lost_.since =
              newly_lost_.buckets.empty() ? settled : std::min(newly_lost_.since, settled);
          newly_lost_.buckets.push_back(lost);
        }
        ++lost_count_;
      }
    }
    if (from.lost && !kept.buckets.empty()) {
      lost_.push_back(std::move(kept));
    } else {
      Add(std::move(kept));
    }
  }

  // Lost buckets are one group. Reading the earlier ones again does no harm and keeps cursors
  // small.
  void AddLost() {
    if (!newly_lost_.buckets.empty() || lost_.size() > 1) {
      PlanGroup all = std::move(newly_lost_);
      all.lost = true;
      for (PlanGroup& group : lost_) {
        all.since = all.buckets.empty() ? group.Settled() : std::min(all.since, group.Settled());
        all.buckets.insert(all.buckets.end(), group.buckets.begin(), group.buckets.end());
      }
      Add(std::move(all));
    } else if (!lost_.empty()) {
      Add(std::move(lost_.front()));
    }
  }

  uint32_t LostEntity(const CursorEntity& entity) {
    const auto it = std::ranges::find(plan_.lost_entities, entity);
    if (it == plan_.lost_entities.end()) {
      plan_.lost_entities.push_back(entity);
      return static_cast<uint32_t>(plan_.lost_entities.size() - 1);
    }
    return static_cast<uint32_t>(it - plan_.lost_entities.begin());
  }

  const Cursor& cursor_;
  std::unordered_map<uint64_t, Current> current_;
  DeltaPlan plan_;
  PlanGroup regained_;
  PlanGroup newly_lost_;
  std::vector<PlanGroup> lost_;
  size_t lost_count_ = 0;
};

void Append(PlanGroup from, PlanGroup* to) {
  to->buckets.insert(to->buckets.end(), from.buckets.begin(), from.buckets.end());
}

// Groups that nothing tells apart any more become one, and then the two furthest behind until few
// enough are left. Going back is always right: it only sends again.
void MergeGroups(std::vector<PlanGroup>* groups) {
  std::ranges::sort(*groups, {}, [](const PlanGroup& g) {
    return std::tuple(g.lost, g.position, g.Loading() ? g.since : kNoOffset);
  });
  std::vector<PlanGroup> merged;
  for (PlanGroup& group : *groups) {
    PlanGroup* last = merged.empty() ? nullptr : &merged.back();
    if (last != nullptr && last->lost == group.lost && last->position == group.position &&
        last->Loading() == group.Loading() && (!group.Loading() || last->since == group.since)) {
      last->since = std::min(last->since, group.since);
      Append(std::move(group), last);
    } else {
      merged.push_back(std::move(group));
    }
  }
  while (merged.size() > kGroupsMax) {
    PlanGroup& first = merged[0];
    PlanGroup& second = merged[1];
    first.since = std::min(first.Settled(), second.Settled());
    Append(std::move(second), &first);
    merged.erase(merged.begin() + 1);
  }
  *groups = std::move(merged);
}

// Builds the cursor's list of entities while its groups are written.
class EntityTable {
 public:
  explicit EntityTable(std::vector<CursorEntity>* entities) : entities_(entities) {}

  uint32_t IndexOf(const CursorEntity& entity) {
    const auto [it, added] =
        index_.try_emplace({entity.id, entity.columns}, static_cast<uint32_t>(entities_->size()));
    if (added) {
      entities_->push_back(entity);
    }
    return it->second;
  }
  uint32_t IndexOf(const CallerBucket& bucket) {
    const auto [it, added] = by_schema_.try_emplace(bucket.schema.get(), 0);
    if (added) {
      it->second =
          IndexOf({bucket.schema->id(), ColumnsHash(bucket.denied), bucket.schema->name()});
    }
    return it->second;
  }

 private:
  std::vector<CursorEntity>* entities_;
  std::map<std::pair<schemas::EntityId, uint64_t>, uint32_t> index_;
  std::unordered_map<const schemas::EntitySchema*, uint32_t> by_schema_;
};

}  // namespace

absl::Status CheckCursor(const Cursor& cursor, uint32_t incarnation,
                         const projectors::AppliedState& applied) {
  if (cursor.incarnation < incarnation) {
    return Error(absl::StatusCode::kFailedPrecondition, "org_reprovisioned",
                 "the organisation was provisioned anew after the cursor was given: start without "
                 "a cursor");
  }
  if (cursor.incarnation > incarnation || cursor.seen > applied.position) {
    return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                 fmt::format("the cursor is at position {}, this server is at {}: try again",
                             cursor.seen.value(), applied.position.value()));
  }
  for (const CursorGroup& group : cursor.groups) {
    const Offset settled = std::max(group.since, WholeOffset(group.position));
    if (!group.buckets.empty() && settled < applied.horizon) {
      return Expired(fmt::format("the cursor is at position {}, removals are kept from {} on",
                                 settled.value(), applied.horizon.value() + 1));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<DeltaPlan> MakeDeltaPlan(const Cursor& cursor, std::span<const CallerBucket> current,
                                        Offset applied) {
  return Planner(cursor, current).Make(current, applied);
}

Cursor CursorAfter(const DeltaPlan& plan, Position reached, bool complete, uint32_t incarnation,
                   Offset applied) {
  std::vector<PlanGroup> groups;
  for (const PlanGroup& group : plan.groups) {
    if (complete && group.lost) {
      continue;
    }
    groups.push_back(group);
    groups.back().position =
        complete ? Position{applied, UINT32_MAX} : std::max(group.position, reached);
    if (complete) {
      groups.back().since = applied;
    }
  }
  MergeGroups(&groups);

  Cursor cursor;
  cursor.incarnation = incarnation;
  cursor.seen = applied;
  EntityTable entities(&cursor.entities);
  for (const PlanGroup& group : groups) {
    CursorGroup& to = cursor.groups.emplace_back();
    to.position = group.position;
    to.since = group.since;
    to.lost = group.lost;
    to.buckets.reserve(group.buckets.size());
    for (const PlanBucket& bucket : group.buckets) {
      const uint32_t entity = bucket.current != nullptr
                                  ? entities.IndexOf(*bucket.current)
                                  : entities.IndexOf(plan.lost_entities[bucket.lost_entity]);
      to.buckets.push_back({entity, bucket.key});
    }
  }
  return cursor;
}

}  // namespace sluice::gateways

#include "gateways/sync/delta_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using projectors::CallerBucket;

// Each change of the caller's buckets amid pages may add a few; they become one as pages go on.
constexpr size_t kPlanGroupsMax = 32;

absl::Status Expired(std::string_view why) {
  return Error(absl::StatusCode::kFailedPrecondition, "cursor_expired",
               fmt::format("{}: start without a cursor", why));
}

// Are the holder's rows the caller's as of `seen`?
bool IsComplete(const Cursor& cursor) {
  return cursor.seen != kNoOffset && std::ranges::all_of(cursor.groups, [&](const auto& group) {
           return !group.state.lost && group.state.position == EndOf(cursor.seen);
         });
}

// Groups that nothing tells apart any more become one. What differs is never made equal: a lower
// `lost_at` would leave rows with the holder, a higher one would name keys that it never knew.
void MergeGroups(std::vector<PlanGroup>* groups) {
  // Lost ones first, and of these one that tells of two times away, as every bucket in several
  // groups has: a server of before, which knows no bucket in two groups, then refuses such a
  // cursor. Did it meet another group of the bucket first, it would forget this one.
  const auto order = [](const PlanGroup& g) {
    const CursorGroupState& s = g.state;
    return std::tuple(!s.lost, s.away_until == kNoOffset, s.position, s.removed_after, s.lost_at,
                      s.away_from, s.away_until, s.at_base, s.kept_since_base);
  };
  for (PlanGroup& group : *groups) {
    CursorGroupState& state = group.state;
    if (!state.lost && !group.Loading()) {
      state.removed_after = WholeOffset(state.position);
      state.away_from = state.away_until =
          kNoOffset;  // every removal that they concern has been passed
    }
  }
  std::ranges::sort(*groups, {}, order);
  std::vector<PlanGroup> merged;
  for (PlanGroup& group : *groups) {
    if (!merged.empty() && merged.back().state == group.state) {
      std::vector<PlanBucket>& to = merged.back().buckets;
      to.insert(to.end(), group.buckets.begin(), group.buckets.end());
    } else {
      merged.push_back(std::move(group));
    }
  }
  *groups = std::move(merged);
}

class Planner {
 public:
  Planner(const Cursor& cursor, std::span<const CallerBucket> current) : cursor_(cursor) {
    current_.reserve(current.size());
    for (const CallerBucket& bucket : current) {
      current_.emplace(bucket.bucket.key, Current{&bucket, bucket.columns});
    }
  }

  absl::StatusOr<DeltaPlan> Make(std::span<const CallerBucket> current, Offset applied) {
    complete_ = IsComplete(cursor_);
    plan_.base = complete_ ? cursor_.seen : cursor_.base;
    plan_.first = complete_ ? applied : cursor_.first;
    NoteInSeveralGroups();
    for (const CursorGroup& group : cursor_.groups) {
      Carry(group, applied);
    }
    PlanGroup gained;
    gained.state.removed_after = applied;
    gained.state.kept_since_base = complete_;
    for (const CallerBucket& bucket : current) {
      if (!current_.at(bucket.bucket.key).taken) {
        gained.buckets.push_back({.key = bucket.bucket.key, .current = &bucket});
      }
    }
    Add(std::move(gained));
    if (lost_count_ > kCursorBucketsMax) {
      return Expired(fmt::format("the caller has lost {} buckets at once", lost_count_));
    }
    MergeGroups(&plan_.groups);
    if (plan_.groups.size() > kPlanGroupsMax) {
      return Expired("the caller's rules or claims changed too often while pages were read");
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

  // Which buckets were away more than once already?
  void NoteInSeveralGroups() {
    if (std::ranges::none_of(cursor_.groups, [](const auto& group) { return group.state.lost; })) {
      return;
    }
    absl::flat_hash_set<BucketKey> met;
    for (const CursorGroup& group : cursor_.groups) {
      for (const CursorBucket& bucket : group.buckets) {
        if (!met.insert(bucket.key).second) {
          in_several_groups_.insert(bucket.key);
        }
      }
    }
  }

  // Sorts the buckets of one group of the cursor into what goes on, starts anew, or is lost.
  void Carry(const CursorGroup& from, Offset applied) {
    PlanGroup kept{from.state, {}};
    kept.state.at_base = kept.state.at_base || complete_;
    kept.state.kept_since_base = kept.state.kept_since_base || complete_;
    PlanGroup anew;  // with other columns, or regained
    anew.state = {.removed_after = Settled(from.state),
                  .kept_since_base = complete_,
                  .away_from = from.state.lost ? from.state.lost_at : from.state.away_from,
                  .away_until = from.state.lost ? applied : from.state.away_until};
    PlanGroup lost;
    lost.state = {.removed_after = Settled(from.state),
                  .lost = true,
                  .at_base = kept.state.at_base,
                  .lost_at = cursor_.seen,
                  .away_from = from.state.away_from,
                  .away_until = from.state.away_until};
    PlanGroup kept_redefined = Redefined(kept, applied);
    PlanGroup anew_redefined = Redefined(anew, applied);
    // A state tells of one time away. Of a bucket that is back for the second time the lost group
    // stays, with what its holder knows from then, and beside it the bucket begins anew, as gained.
    // Of one that the caller may have been without for the second time there is a lost group now.
    // It reads removals alone (rows that are there are the caller's), and beside it the bucket goes
    // on where it was, with the removals that are to come.
    const bool tells_of_away = from.state.away_until > Settled(from.state);
    PlanGroup known = lost;
    known.state.position = EndOf(Settled(from.state));
    PlanGroup beside = kept;
    beside.state.removed_after = applied;
    beside.state.away_from = beside.state.away_until = kNoOffset;
    for (const CursorBucket& bucket : from.buckets) {
      const CursorEntity& entity = cursor_.entities[bucket.entity];
      const auto it = current_.find(bucket.key);
      if (it == current_.end() ||
          (from.state.lost && (tells_of_away || in_several_groups_.contains(bucket.key)))) {
        AddLost(bucket.key, entity, from.state.lost ? &kept : &lost);
      } else if (!it->second.taken) {
        Current& now = it->second;
        const bool same = !from.state.lost && now.columns == entity.columns;
        const bool redefined = !from.state.lost && now.bucket->defined > cursor_.seen;
        PlanGroup* to =
            redefined ? (same ? &kept_redefined : &anew_redefined) : (same ? &kept : &anew);
        if (redefined && tells_of_away) {
          AddLost(bucket.key, entity, &known);
          to = same ? &beside : nullptr;  // with other columns it begins as gained
        }
        if (to != nullptr) {
          now.taken = true;
          to->buckets.push_back({.key = bucket.key, .current = now.bucket});
        }
      }
    }
    for (PlanGroup* group :
         {&kept, &kept_redefined, &anew, &anew_redefined, &beside, &lost, &known}) {
      Add(std::move(*group));
    }
  }

  // The caller's rules have changed since the last page: it need not have had the buckets all the
  // time, and newer rows than that page's may not come with the cursor. As if regained.
  PlanGroup Redefined(PlanGroup group, Offset applied) const {
    group.state.away_from = cursor_.seen;
    group.state.away_until = applied;
    return group;
  }

  void AddLost(BucketKey key, const CursorEntity& entity, PlanGroup* to) {
    to->buckets.push_back({.key = key, .lost_entity = LostEntity(entity)});
    ++lost_count_;
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
  absl::flat_hash_map<BucketKey, Current> current_;
  DeltaPlan plan_;
  size_t lost_count_ = 0;
  absl::flat_hash_set<BucketKey>
      in_several_groups_;  // buckets in more than one group of the cursor
  bool complete_ = false;
};

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
    const schemas::EntitySchema& schema = *bucket.entity->schema;
    const auto [it, added] = by_schema_.try_emplace(&schema, 0);
    if (added) {
      it->second = IndexOf({schema.id(), bucket.columns, schema.name()});
    }
    return it->second;
  }

 private:
  std::vector<CursorEntity>* entities_;
  std::map<std::pair<schemas::EntityId, uint64_t>, uint32_t> index_;
  absl::flat_hash_map<const schemas::EntitySchema*, uint32_t> by_schema_;
};

}  // namespace

absl::Status CheckCursor(const Cursor& cursor, uint32_t incarnation,
                         const projectors::OrgSnapshot& snapshot) {
  const projectors::AppliedState& applied = snapshot.applied();
  if (cursor.incarnation < incarnation) {
    return Error(absl::StatusCode::kFailedPrecondition, "org_reprovisioned",
                 "the organisation was provisioned anew after the cursor was given: start without "
                 "a cursor");
  }
  if (cursor.seen > applied.position) {
    return Error(absl::StatusCode::kUnavailable, "not_caught_up",
                 fmt::format("the cursor is at position {}, this server is at {}: try again",
                             cursor.seen.value(), applied.position.value()));
  }
  ASSIGN_OR_RETURN(const std::optional<uint64_t> then, snapshot.HistoryAt(cursor.seen));
  if (!then.has_value() && cursor.seen <= applied.horizon) {
    return Expired(
        fmt::format("the cursor is at position {}, what tells histories apart is kept from "
                    "{} on",
                    cursor.seen.value(), applied.horizon.value() + 1));
  }
  if (then != cursor.history || cursor.incarnation > incarnation) {
    return CursorOfOtherLog();
  }
  for (const CursorGroup& group : cursor.groups) {
    const Offset settled = Settled(group.state);
    if (!group.buckets.empty() && settled < applied.horizon) {
      return Expired(fmt::format("the cursor is at position {}, removals are kept from {} on",
                                 settled.value(), applied.horizon.value() + 1));
    }
  }
  return absl::OkStatus();
}

absl::Status CursorOfOtherLog() {
  return Error(absl::StatusCode::kFailedPrecondition, "cursor_other_log",
               "the log was restored to an earlier state, or lost its end, after the cursor was "
               "given: start without a cursor");
}

absl::StatusOr<DeltaPlan> MakeDeltaPlan(const Cursor& cursor, std::span<const CallerBucket> current,
                                        Offset applied) {
  return Planner(cursor, current).Make(current, applied);
}

Cursor CursorAfter(const DeltaPlan& plan, Position reached, bool complete, uint32_t incarnation,
                   const projectors::AppliedState& applied) {
  std::vector<PlanGroup> groups;
  for (const PlanGroup& group : plan.groups) {
    if (complete && group.state.lost) {
      continue;
    }
    groups.push_back(group);
    CursorGroupState& state = groups.back().state;
    state.position = std::max(state.position, reached);
    if (complete) {
      state = {.position = EndOf(applied.position), .removed_after = applied.position};
    }
  }
  MergeGroups(&groups);

  Cursor cursor;
  cursor.incarnation = incarnation;
  cursor.seen = applied.position;
  cursor.history = applied.history;
  if (!complete) {
    cursor.base = plan.base;
    cursor.first = plan.first;
  }
  EntityTable entities(&cursor.entities);
  for (const PlanGroup& group : groups) {
    CursorGroup& to = cursor.groups.emplace_back();
    to.state = group.state;
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

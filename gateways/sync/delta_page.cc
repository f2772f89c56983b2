#include "gateways/sync/delta_page.h"

#include <algorithm>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "gateways/sync/delta_plan.h"
#include "gateways/sync/op_json.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

using projectors::CallerBucket;
using projectors::DeltaIterator;
using projectors::DeltaView;
using projectors::Membership;
using projectors::OrgSnapshot;
using projectors::Record;
using projectors::RecordKey;

// A bucket being read.
struct Source {
  std::unique_ptr<DeltaIterator> it;
  const PlanBucket* bucket = nullptr;
  uint32_t group = 0;
  const CursorEntity* lost = nullptr;
};

// The caller's buckets of one entity, by its name.
struct EntityInfo {
  schemas::EntityId id;
  size_t buckets = 0;
};

class PageBuilder {
 public:
  PageBuilder(const OrgSnapshot& snapshot, DeltaPlan plan, const DeltaLimits& limits,
              std::string* out)
      : snapshot_(snapshot),
        plan_(std::move(plan)),
        limits_(limits),
        out_(out),
        start_(out->size()) {}

  absl::Status Build() {
    RETURN_IF_ERROR(Open());
    while (!heap_.empty()) {
      if (ops_ >= limits_.ops_max || scanned_ >= limits_.scanned_max ||
          out_->size() - start_ >= limits_.bytes_max) {
        more_ = true;
        return absl::OkStatus();
      }
      RETURN_IF_ERROR(heap_.size() == 1 ? SendSingle() : SendNextPosition());
    }
    return absl::OkStatus();
  }

  const DeltaPlan& plan() const { return plan_; }
  Position reached() const { return reached_; }
  size_t ops() const { return ops_; }
  bool more() const { return more_; }

 private:
  absl::Status Open() {
    for (uint32_t g = 0; g < plan_.groups.size(); ++g) {
      const PlanGroup& group = plan_.groups[g];
      sending_groups_ += group.lost ? 0 : 1;
      for (const PlanBucket& bucket : group.buckets) {
        if (bucket.current != nullptr) {
          group_of_.emplace(bucket.key.value(), g);
          EntityInfo& entity = entities_[bucket.current->schema->name()];
          entity.id = bucket.current->schema->id();
          ++entity.buckets;
        }
        Source source{.it = snapshot_.Scan(bucket.key, group.position),
                      .bucket = &bucket,
                      .group = g,
                      .lost = group.lost ? &plan_.lost_entities[bucket.lost_entity] : nullptr};
        RETURN_IF_ERROR(source.it->status());
        if (source.it->Valid()) {
          heap_.push_back(std::move(source));
        }
      }
    }
    std::make_heap(heap_.begin(), heap_.end(), Later);
    return absl::OkStatus();
  }

  static bool Later(const Source& a, const Source& b) {
    return a.it->op().position > b.it->op().position;
  }

  // Everything at the lowest position: pages end between positions only.
  absl::Status SendNextPosition() {
    const Position position = heap_.front().it->op().position;
    sent_here_.clear();
    while (!heap_.empty() && heap_.front().it->op().position == position) {
      std::pop_heap(heap_.begin(), heap_.end(), Later);
      Source& source = heap_.back();
      RETURN_IF_ERROR(Send(source, source.it->op()));
      source.it->Next();
      RETURN_IF_ERROR(source.it->status());
      if (source.it->Valid()) {
        std::push_heap(heap_.begin(), heap_.end(), Later);
      } else {
        heap_.pop_back();
      }
    }
    reached_ = position;
    return absl::OkStatus();
  }

  // The same with one bucket left, where nothing has to be kept in order.
  absl::Status SendSingle() {
    Source& source = heap_.front();
    const Position position = source.it->op().position;
    sent_here_.clear();
    RETURN_IF_ERROR(Send(source, source.it->op()));
    source.it->Next();
    RETURN_IF_ERROR(source.it->status());
    if (!source.it->Valid()) {
      heap_.clear();
    }
    reached_ = position;
    return absl::OkStatus();
  }

  absl::Status Send(const Source& source, const DeltaView& op) {
    ++scanned_;
    if (source.lost != nullptr) {
      ASSIGN_OR_RETURN(const bool held, IsMember(source.lost->name, op.key));
      return held ? absl::OkStatus() : Remove(source.lost->name, op);
    }
    const CallerBucket& bucket = *source.bucket->current;
    const PlanGroup& group = plan_.groups[source.group];
    const std::string& entity = bucket.schema->name();
    if (!op.put) {
      if (op.position.offset <= group.since) {
        return absl::OkStatus();  // removed before the holder could have it
      }
      if (entities_[entity].buckets > 1) {
        ASSIGN_OR_RETURN(const bool held, IsMember(entity, op.key));
        if (held) {
          return absl::OkStatus();
        }
      }
      return Remove(entity, op);
    }
    if (sending_groups_ > 1 && group.Loading() && op.position.offset <= group.since) {
      ASSIGN_OR_RETURN(const bool known, HolderHas(source, op));
      if (known) {
        return absl::OkStatus();
      }
    }
    if (!First(op)) {
      return absl::OkStatus();
    }
    Separate();
    return AppendPut(*bucket.schema, bucket.denied, op.key, op.position, op.row, out_);
  }

  absl::Status Remove(std::string_view entity, const DeltaView& op) {
    if (First(op)) {
      Separate();
      AppendRemove(entity, op.key, op.position, out_);
    }
    return absl::OkStatus();
  }

  // False where another bucket has sent the same at this position.
  bool First(const DeltaView& op) {
    if (heap_.size() == 1) {
      return sent_here_.empty() || Note(op);
    }
    return Note(op);
  }
  bool Note(const DeltaView& op) {
    const auto same = [&op](const RecordKey& sent) {
      return sent.entity == op.entity && sent.key == op.key;
    };
    if (std::ranges::any_of(sent_here_, same)) {
      return false;
    }
    sent_here_.push_back({op.entity, std::string(op.key)});
    return true;
  }

  void Separate() {
    if (ops_++ > 0) {
      out_->push_back(',');
    }
  }

  // Is the row that the caller knows under this name in any bucket of the caller's?
  absl::StatusOr<bool> IsMember(std::string_view entity, std::string_view key) {
    const auto it = entities_.find(entity);
    if (it == entities_.end()) {
      return false;
    }
    ASSIGN_OR_RETURN(const std::optional<Record> record,
                     snapshot_.GetRecord({it->second.id, std::string(key)}));
    return record.has_value() &&
           std::ranges::any_of(record->memberships, [this](const Membership& membership) {
             return membership.member && group_of_.contains(membership.bucket.value());
           });
  }

  // Was this very row sent before, through another bucket that goes on from a later position?
  absl::StatusOr<bool> HolderHas(const Source& source, const DeltaView& op) {
    ASSIGN_OR_RETURN(const std::optional<Record> record,
                     snapshot_.GetRecord({op.entity, std::string(op.key)}));
    return record.has_value() &&
           std::ranges::any_of(record->memberships, [&](const Membership& membership) {
             const auto group = group_of_.find(membership.bucket.value());
             return membership.member && group != group_of_.end() &&
                    group->second != source.group &&
                    membership.position <= plan_.groups[group->second].position;
           });
  }

  const OrgSnapshot& snapshot_;
  const DeltaPlan plan_;
  const DeltaLimits limits_;
  std::string* const out_;
  const size_t start_;
  std::vector<Source> heap_;
  std::unordered_map<uint64_t, uint32_t> group_of_;  // the caller's buckets
  std::unordered_map<std::string_view, EntityInfo> entities_;
  std::vector<RecordKey> sent_here_;  // at the position being sent
  size_t sending_groups_ = 0;
  Position reached_;
  size_t ops_ = 0;
  size_t scanned_ = 0;
  bool more_ = false;
};

}  // namespace

absl::StatusOr<DeltaPage> BuildDeltaPage(const OrgSnapshot& snapshot, uint32_t incarnation,
                                         std::span<const CallerBucket> buckets,
                                         const Cursor& cursor, const DeltaLimits& limits,
                                         std::string* out) {
  const Offset applied = snapshot.applied().position;
  ASSIGN_OR_RETURN(DeltaPlan plan, MakeDeltaPlan(cursor, buckets, applied));
  PageBuilder builder(snapshot, std::move(plan), limits, out);
  RETURN_IF_ERROR(builder.Build());
  DeltaPage page;
  page.more = builder.more();
  page.ops = builder.ops();
  page.position = page.more ? builder.reached().offset : applied;
  page.cursor = CursorAfter(builder.plan(), builder.reached(), !page.more, incarnation, applied);
  return page;
}

}  // namespace sluice::gateways

#include "projectors/staging/fold.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <map>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "fmt/format.h"
#include "google/protobuf/arena.h"
#include "projectors/staging/bucket_changes.h"
#include "projectors/staging/fold_overlay.h"
#include "projectors/staging/operation_check.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"
#include "xxhash.h"

namespace sluice::projectors {
namespace {

constexpr std::string_view kChangeSet = "sluice.v1.ChangeSet";
constexpr std::string_view kOrgClosed = "sluice.v1.OrgClosed";

// One call of Fold.
class Folder {
 public:
  Folder(const FoldOptions& options, const AppliedState& applied,
         std::shared_ptr<const OrgModel> model, FoldView& view)
      : options_(options), view_(view), model_(std::move(model)) {
    result_.batch.applied = applied;
    UseModel();
  }

  absl::StatusOr<FoldResult> Run(std::span<const eventlog::StoredEvent> events);

 private:
  using Slot = FoldOverlay::Slot;

  // A change set of the span, parsed, with what it refers to.
  struct ParsedSet {
    v1::ChangeSet* set = nullptr;  // nullptr: malformed
    size_t first_slot = 0;         // of its operations, in op_slots_
    std::optional<size_t> seen;    // in seen_; nullopt for a set without id
  };
  struct Seen {
    std::string key;
    std::optional<Offset> offset;
    bool written = false;
  };
  struct EntityInfo {
    std::shared_ptr<const EntitySchema> schema;
    std::span<const SyncRule> rules;
  };

  absl::Status Gather(std::span<const eventlog::StoredEvent> events);
  void GatherSet(const eventlog::StoredEvent& event);
  absl::Status ApplyEvent(const eventlog::StoredEvent& event);
  absl::Status ApplySet(Offset offset, const ParsedSet& parsed);
  absl::Status ApplyOp(Position position, const v1::Operation& op, Slot slot);
  absl::Status ApplyControl(const eventlog::StoredEvent& event);
  absl::Status DeleteEntity(EntityId entity, Offset offset);
  absl::Status ReassignEntity(EntityId entity, Offset offset);
  absl::Status FindBuckets(const EntityInfo& entity, std::string_view row);
  absl::Status Emit();

  void UseModel();
  const EntityInfo* FindEntity(uint32_t id);
  void Reject(Offset offset, uint32_t op_index, std::string_view code, std::string_view reason) {
    result_.rejected.push_back({offset, op_index, std::string(code), std::string(reason)});
  }

  const FoldOptions& options_;
  FoldView& view_;
  std::shared_ptr<const OrgModel> model_;
  bool model_changed_ = false;
  FoldResult result_;

  google::protobuf::Arena arena_;
  FoldOverlay overlay_;
  BucketChanges buckets_;
  std::vector<ParsedSet> sets_;  // the change sets of the span, in order
  size_t next_set_ = 0;
  std::vector<Slot> op_slots_;
  std::vector<Seen> seen_;
  absl::flat_hash_map<std::string, size_t> seen_index_;
  std::map<uint32_t, EntityInfo> entities_;  // of model_
  std::map<EntityId, std::string> names_;    // of entities that any model of this batch had
  // Runs over all that a control event writes: a position is never that of two rows, so that a
  // reader may stop at any.
  uint32_t control_index_ = 0;
  std::vector<BucketKey> row_buckets_;  // FindBuckets' answer
};

void Folder::UseModel() {
  entities_.clear();
  for (const auto& [name, schema] : model_->entities()) {
    entities_.emplace(schema->id().value(), EntityInfo{schema, model_->RulesOf(schema->id())});
    names_.try_emplace(schema->id(), name);
  }
}

const Folder::EntityInfo* Folder::FindEntity(uint32_t id) {
  const auto found = entities_.find(id);
  return found == entities_.end() ? nullptr : &found->second;
}

void Folder::GatherSet(const eventlog::StoredEvent& event) {
  ParsedSet& parsed = sets_.emplace_back();
  auto* set = google::protobuf::Arena::CreateMessage<v1::ChangeSet>(&arena_);
  if (!set->ParseFromString(event.event.value)) {
    return;
  }
  parsed.set = set;
  parsed.first_slot = op_slots_.size();
  for (const v1::Operation& op : set->ops()) {
    op_slots_.push_back(overlay_.SlotOf(EntityId(op.entity_id()), op.key()));
  }
  if (!set->id().empty()) {
    std::string key = ChangeSetKey(set->source(), set->id());
    const auto [found, inserted] = seen_index_.try_emplace(key, seen_.size());
    if (inserted) {
      seen_.push_back({std::move(key), std::nullopt, false});
    }
    parsed.seen = found->second;
  }
}

// Reads all that the span refers to, so that the events are then applied in memory.
absl::Status Folder::Gather(std::span<const eventlog::StoredEvent> events) {
  sets_.reserve(events.size());
  op_slots_.reserve(events.size());
  seen_.reserve(events.size());
  seen_index_.reserve(events.size());
  overlay_.Reserve(events.size());
  for (const eventlog::StoredEvent& event : events) {
    if (event.event.type == kChangeSet && event.offset > result_.batch.applied.position) {
      GatherSet(event);
    }
  }
  RETURN_IF_ERROR(overlay_.Load(view_));
  if (seen_.empty()) {
    return absl::OkStatus();
  }
  std::vector<std::string> keys;
  keys.reserve(seen_.size());
  for (Seen& seen : seen_) {
    keys.push_back(std::move(seen.key));
  }
  ASSIGN_OR_RETURN(const std::vector<std::optional<Offset>> offsets, view_.GetChangeSets(keys));
  for (size_t i = 0; i < keys.size(); ++i) {
    seen_[i].key = std::move(keys[i]);
    seen_[i].offset = offsets[i];
  }
  return absl::OkStatus();
}

// The buckets of a row, ascending and unique, to row_buckets_.
absl::Status Folder::FindBuckets(const EntityInfo& entity, std::string_view row) {
  row_buckets_.clear();
  for (const SyncRule& rule : entity.rules) {
    ASSIGN_OR_RETURN(const std::vector<BucketName> buckets,
                     BucketsOfRow(rule, *entity.schema, row));
    for (const BucketName& bucket : buckets) {
      RETURN_IF_ERROR(buckets_.Name(bucket));
      row_buckets_.push_back(bucket.key);
    }
  }
  std::sort(row_buckets_.begin(), row_buckets_.end());
  row_buckets_.erase(std::unique(row_buckets_.begin(), row_buckets_.end()), row_buckets_.end());
  return absl::OkStatus();
}

absl::Status Folder::ApplyOp(Position position, const v1::Operation& op, Slot slot) {
  ++result_.counters.ops;
  const FoldOverlay::Entry& entry = overlay_.entry(slot);
  std::optional<int64_t> version;
  if (op.has_version()) {
    version = op.version();
    if (entry.exists && entry.now.version.has_value() && *version <= *entry.now.version) {
      ++result_.counters.stale_versions;
      return absl::OkStatus();
    }
  }
  if (op.kind() == v1::Operation::KIND_DELETE) {
    overlay_.Delete(slot, position, version, [&] { return position; });
    return absl::OkStatus();
  }
  std::string row;
  if (op.kind() == v1::Operation::KIND_UPSERT) {
    row = op.row();
  } else if (!entry.live()) {
    ++result_.counters.patches_of_nothing;
    return absl::OkStatus();
  } else {
    std::vector<AttributeId> cleared(op.cleared().begin(), op.cleared().end());
    std::sort(cleared.begin(), cleared.end());
    ASSIGN_OR_RETURN(row, schemas::PatchRow(entry.now.row, op.row(), cleared));
  }
  RETURN_IF_ERROR(FindBuckets(*FindEntity(op.entity_id()), row));
  overlay_.Write(slot, position, version, std::move(row), row_buckets_);
  return absl::OkStatus();
}

absl::Status Folder::ApplySet(Offset offset, const ParsedSet& parsed) {
  if (parsed.set == nullptr) {
    Reject(offset, 0, "malformed_event", "the payload is not a sluice.v1.ChangeSet");
    return absl::OkStatus();
  }
  Seen* seen = parsed.seen.has_value() ? &seen_[*parsed.seen] : nullptr;
  if (seen != nullptr && seen->offset.has_value() &&
      offset.value() - seen->offset->value() <= options_.dedup_window) {
    ++result_.counters.duplicates;
    return absl::OkStatus();
  }
  const v1::ChangeSet& set = *parsed.set;
  for (int i = 0; i < set.ops_size(); ++i) {
    const EntityInfo* entity = FindEntity(set.ops(i).entity_id());
    const absl::Status check =
        CheckOperation(entity == nullptr ? nullptr : entity->schema.get(), set.ops(i));
    if (!check.ok()) {
      Reject(offset, static_cast<uint32_t>(i), ErrorCode(check), Message(check));
      return absl::OkStatus();
    }
  }
  for (int i = 0; i < set.ops_size(); ++i) {
    RETURN_IF_ERROR(ApplyOp(Position{offset, static_cast<uint32_t>(i)}, set.ops(i),
                            op_slots_[parsed.first_slot + static_cast<size_t>(i)]));
  }
  if (seen != nullptr) {
    seen->offset = offset;
    seen->written = true;
  }
  return absl::OkStatus();
}

// The rows of a deleted entity leave every bucket they are in and are no longer counted.
absl::Status Folder::DeleteEntity(EntityId entity, Offset offset) {
  ASSIGN_OR_RETURN(const std::vector<Slot> slots, overlay_.LoadEntity(entity, view_));
  for (const Slot slot : slots) {
    if (overlay_.entry(slot).live()) {
      overlay_.Delete(slot, Position{offset, control_index_}, std::nullopt, [&] {
        return Position{offset, control_index_++};
      });
    }
    overlay_.ForgetTombstone(slot);
  }
  return absl::OkStatus();
}

// The rules of an entity have changed: each row comes into new buckets and leaves those that are
// gone, at indexes that run over the rows in key order (and a row's buckets by key).
absl::Status Folder::ReassignEntity(EntityId entity, Offset offset) {
  ASSIGN_OR_RETURN(const std::vector<Slot> slots, overlay_.LoadEntity(entity, view_));
  const EntityInfo& info = *FindEntity(entity.value());
  for (const Slot slot : slots) {
    if (overlay_.entry(slot).live()) {
      RETURN_IF_ERROR(FindBuckets(info, overlay_.entry(slot).now.row));
      overlay_.Reassign(slot, row_buckets_, [&] { return Position{offset, control_index_++}; });
    }
  }
  return absl::OkStatus();
}

absl::Status Folder::ApplyControl(const eventlog::StoredEvent& event) {
  absl::StatusOr<std::shared_ptr<const OrgModel>> applied = model_->Apply(event.event);
  if (!applied.ok()) {
    Reject(event.offset, 0, ErrorCode(applied.status()), Message(applied.status()));
    return absl::OkStatus();
  }
  const std::shared_ptr<const OrgModel> old = std::exchange(model_, *std::move(applied));
  model_changed_ = true;
  UseModel();
  control_index_ = 0;
  if (event.event.type == kOrgClosed) {
    result_.closed = true;
    return absl::OkStatus();
  }
  for (const auto& [name, schema] : old->entities()) {
    const EntityId id = schema->id();
    if (FindEntity(id.value()) == nullptr) {
      RETURN_IF_ERROR(DeleteEntity(id, event.offset));
    } else if (!std::ranges::equal(old->RulesOf(id), model_->RulesOf(id))) {
      RETURN_IF_ERROR(ReassignEntity(id, event.offset));
    }
  }
  return absl::OkStatus();
}

absl::Status Folder::ApplyEvent(const eventlog::StoredEvent& event) {
  ++result_.counters.events;
  if (OrgModel::IsControlEvent(event.event.type)) {
    // Closing what is closed is what a sequencer repeats after a crash.
    return event.event.type == kOrgClosed && !model_->open() ? absl::OkStatus()
                                                             : ApplyControl(event);
  }
  if (event.event.type != kChangeSet) {
    Reject(event.offset, 0, "unknown_event_type",
           fmt::format("events of type \"{}\" are not known in `changes`",
                       event.event.type.substr(0, 128)));
    return absl::OkStatus();
  }
  const ParsedSet& parsed = sets_[next_set_++];
  if (!model_->open()) {
    Reject(event.offset, 0, "org_not_open", "the organisation is not open at this position");
    return absl::OkStatus();
  }
  return ApplySet(event.offset, parsed);
}

absl::Status Folder::Emit() {
  FoldBatch& batch = result_.batch;
  overlay_.Emit([&](EntityId id) -> std::string_view { return names_.find(id)->second; }, &buckets_,
                &batch);
  RETURN_IF_ERROR(buckets_.Emit(view_, &batch));
  for (Seen& seen : seen_) {
    if (seen.written) {
      batch.change_sets.emplace_back(std::move(seen.key), *seen.offset);
    }
  }
  if (model_changed_) {
    batch.model = model_->Serialize();
  }
  const Offset horizon(batch.applied.position.value() - options_.tombstone_horizon);
  batch.applied.horizon = std::max(batch.applied.horizon, horizon);
  return absl::OkStatus();
}

absl::StatusOr<FoldResult> Folder::Run(std::span<const eventlog::StoredEvent> events) {
  RETURN_IF_ERROR(Gather(events));
  const Offset start = result_.batch.applied.position;
  const eventlog::StoredEvent* last = nullptr;
  for (const eventlog::StoredEvent& event : events) {
    ++result_.consumed;
    if (event.offset <= start) {
      continue;
    }
    RETURN_IF_ERROR(ApplyEvent(event));
    last = &event;
    if (result_.closed) {
      break;
    }
  }
  if (last != nullptr) {
    result_.batch.applied.position = last->offset;
    result_.batch.applied.event_hash = eventlog::EventHash(last->event);
  }
  RETURN_IF_ERROR(Emit());
  result_.model = std::move(model_);
  return std::move(result_);
}

}  // namespace

absl::StatusOr<FoldResult> Fold(const FoldOptions& options, const AppliedState& applied,
                                std::shared_ptr<const OrgModel> model,
                                std::span<const eventlog::StoredEvent> events, FoldView& view) {
  return Folder(options, applied, std::move(model), view).Run(events);
}

std::string ChangeSetKey(std::string_view source, std::string_view id) {
  std::string key;
  key.reserve(source.size() + 1 + id.size());
  key.append(source).push_back('\0');
  key.append(id);
  return key;
}

uint64_t RowChecksum(std::string_view entity, std::string_view key, Position position) {
  // entity name, 0x00, key, 0x00, and at most 20 + 1 + 10 bytes of position.
  constexpr size_t kPositionMax = 32;
  char local[768];
  std::string large;
  const size_t size_max = entity.size() + key.size() + 2 + kPositionMax;
  char* const begin = size_max <= sizeof(local) ? local : (large.resize(size_max), large.data());
  char* end = begin;
  std::memcpy(end, entity.data(), entity.size());
  end += entity.size();
  *end++ = '\0';
  std::memcpy(end, key.data(), key.size());
  end += key.size();
  *end++ = '\0';
  end = std::to_chars(end, begin + size_max, position.offset.value()).ptr;
  *end++ = '.';
  end = std::to_chars(end, begin + size_max, position.index).ptr;
  return XXH64(begin, static_cast<size_t>(end - begin), 0);
}

}  // namespace sluice::projectors

#include "projectors/fold/gathered_span.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "projectors/fold/fold.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

// Rows that are read together: of sets that come behind what does not fit only so many are parsed.
constexpr size_t kChunkRows = 512;

}  // namespace

void GatheredSpan::Parse(const eventlog::StoredEvent& event, size_t index,
                         const PartialEvent* resumed) {
  Set& parsed = sets_.emplace_back();
  parsed.event = index;
  auto* set = google::protobuf::Arena::CreateMessage<v1::ChangeSet>(&arena_);
  if (!set->ParseFromString(event.event.value)) {
    return;
  }
  parsed.set = set;
  parsed.first_slot = slots_.size();
  parsed.end_op = static_cast<size_t>(set->ops_size());
  if (resumed != nullptr) {
    parsed.first_op =
        resumed->op > 0 ? std::min<size_t>(resumed->op, parsed.end_op) : parsed.end_op;
  }
  for (size_t i = parsed.first_op; i < parsed.end_op; ++i) {
    const v1::Operation& op = set->ops(static_cast<int>(i));
    slots_.push_back(overlay_.SlotOf(EntityId(op.entity_id()), op.key()));
  }
  if (!set->id().empty() && !set->has_step()) {
    std::string key = ChangeSetKey(set->source(), set->id());
    const auto [found, inserted] = seen_index_.try_emplace(key, seen_.size());
    if (inserted) {
      seen_.push_back({std::move(key), std::nullopt, false});
    }
    parsed.seen = found->second;
  }
  if (set->has_step()) {
    SourceStream stream{set->step().source(), set->step().stream()};
    const auto [found, inserted] = chain_index_.try_emplace(stream, chains_.size());
    if (inserted) {
      chains_.push_back({std::move(stream), {}, false});
    }
    parsed.chain = found->second;
  }
}

bool GatheredSpan::Cut(size_t first) {
  for (size_t i = first; i < sets_.size(); ++i) {
    Set& set = sets_[i];
    size_t op = set.first_op;
    while (op < set.end_op && SlotOf(set, op) < overlay_.size()) {
      ++op;
    }
    if (op == set.end_op) {
      continue;
    }
    // Of the first event what fits is taken, or a set that is larger than the room would never be;
    // any other waits for a batch in which it may be the first.
    if (set.event == 0) {
      set.end_op = op;
      ++i;
    }
    events_ = std::max<size_t>(set.event, 1);
    sets_.resize(i);
    return true;
  }
  return false;
}

absl::Status GatheredSpan::Gather(std::span<const eventlog::StoredEvent> events,
                                  const Limits& limits, bool related, const PartialEvent* resumed) {
  sets_.reserve(events.size());
  slots_.reserve(events.size());
  seen_.reserve(events.size());
  seen_index_.reserve(events.size());
  overlay_.Reserve(events.size());
  while (events_ < events.size() && (events_ == 0 || overlay_.bytes() < limits.bytes_max)) {
    const size_t first = sets_.size();
    for (; events_ < events.size() && overlay_.unread() < kChunkRows; ++events_) {
      if (events[events_].event.type == kChangeSetType) {
        Parse(events[events_], events_, events_ == 0 ? resumed : nullptr);
      }
    }
    const size_t left = limits.bytes_max - std::min(overlay_.bytes(), limits.bytes_max);
    const size_t slots = overlay_.size();
    RETURN_IF_ERROR(overlay_.Load(view_, left));
    if (overlay_.size() < slots && Cut(first)) {
      break;
    }
  }
  if (related) {
    RETURN_IF_ERROR(ReadRelated(limits));
  }
  RETURN_IF_ERROR(ReadChains());
  return ReadSeen();
}

// The rows that the sets' rows may have to do with, as they are and as they will be. Those that are
// not read here are read one by one, where they are looked at.
absl::Status GatheredSpan::ReadRelated(const Limits& limits) {
  absl::flat_hash_set<FoldOverlay::RowSlot>
      looked_at;  // a set may write one large row ever so often
  for (const Set& set : sets_) {
    for (size_t i = set.first_op; i < set.end_op && overlay_.unread() < limits.related_rows_max;
         ++i) {
      const v1::Operation& op = set.set->ops(static_cast<int>(i));
      placer_.Prefetch(EntityId(op.entity_id()), op.row());
      const FoldOverlay::RowSlot slot = SlotOf(set, i);
      if (looked_at.insert(slot).second) {
        placer_.Prefetch(EntityId(op.entity_id()), overlay_.entry(slot).now.row);
      }
    }
  }
  return overlay_.Load(view_, limits.related_max);
}

absl::Status GatheredSpan::ReadChains() {
  if (chains_.empty()) {
    return absl::OkStatus();
  }
  std::vector<SourceStream> streams;
  streams.reserve(chains_.size());
  for (const Chain& chain : chains_) {
    streams.push_back(chain.stream);
  }
  ASSIGN_OR_RETURN(std::vector<v1::SourceState> states, view_.GetSourceStates(streams));
  for (size_t i = 0; i < chains_.size(); ++i) {
    chains_[i].state = std::move(states[i]);
  }
  return absl::OkStatus();
}

absl::Status GatheredSpan::ReadSeen() {
  if (seen_.empty()) {
    return absl::OkStatus();
  }
  std::vector<std::string> keys = Collect(seen_, [](Seen& seen) { return std::move(seen.key); });
  ASSIGN_OR_RETURN(const std::vector<std::optional<AppliedSet>> applied, view_.GetChangeSets(keys));
  for (size_t i = 0; i < keys.size(); ++i) {
    seen_[i].key = std::move(keys[i]);
    seen_[i].applied = applied[i];
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors

// The projector's half of StoreManagerImpl.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <unordered_map>
#include <utility>

#include "projectors/store/store_folder.h"
#include "projectors/store/store_manager_impl.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using std::chrono::steady_clock;

// An organisation that has no store.
class EmptyView final : public FoldView {
 public:
  absl::StatusOr<std::vector<std::optional<Record>>> GetRecords(std::span<const RecordKey> keys,
                                                                size_t) override {
    return std::vector<std::optional<Record>>(keys.size());
  }
  absl::StatusOr<std::optional<Membership>> GetMembership(const RecordKey&, BucketKey) override {
    return std::optional<Membership>();
  }
  absl::StatusOr<uint64_t> GetSupport(const RecordKey&, uint32_t, BucketKey) override { return 0; }
  absl::Status Complete(const RecordKey&, Record*) override { return absl::OkStatus(); }
  absl::StatusOr<std::vector<std::optional<AppliedSet>>> GetChangeSets(
      std::span<const std::string> keys) override {
    return std::vector<std::optional<AppliedSet>>(keys.size());
  }
  absl::StatusOr<std::vector<v1::SourceState>> GetSourceStates(
      std::span<const SourceStream> streams) override {
    return std::vector<v1::SourceState>(streams.size());
  }
  absl::StatusOr<std::vector<std::optional<BucketState>>> GetBuckets(
      std::span<const BucketKey> keys) override {
    return std::vector<std::optional<BucketState>>(keys.size());
  }
  absl::StatusOr<std::vector<std::pair<RecordKey, Record>>> ScanRecords(EntityId, std::string_view,
                                                                        size_t, size_t) override {
    return std::vector<std::pair<RecordKey, Record>>();
  }
  absl::StatusOr<std::vector<std::string>> ScanLinks(EntityId, AttributeId, std::string_view,
                                                     std::string_view, size_t) override {
    return std::vector<std::string>();
  }
  absl::StatusOr<std::vector<std::string>> ScanWork(uint32_t, std::string_view, size_t) override {
    return std::vector<std::string>();
  }
};

// How many of `events` lie at or before `offset`.
size_t CountUntil(std::span<const eventlog::StoredEvent> events, Offset offset) {
  const auto first = std::partition_point(
      events.begin(), events.end(),
      [&](const eventlog::StoredEvent& event) { return event.offset <= offset; });
  return static_cast<size_t>(first - events.begin());
}

void AddCounters(const FoldCounters& from, FoldCounters* to) {
  to->events += from.events;
  to->ops += from.ops;
  to->duplicates += from.duplicates;
  to->stale_versions += from.stale_versions;
  to->patches_of_nothing += from.patches_of_nothing;
  to->answered_controls += from.answered_controls;
  to->stale_steps += from.stale_steps;
  to->unchanged += from.unchanged;
  to->kept_of_nothing += from.kept_of_nothing;
  to->touches_of_nothing += from.touches_of_nothing;
  to->swept += from.swept;
}

void AddFold(const FoldResult& fold, ApplyResult* result) {
  AddCounters(fold.counters, &result->counters);
  result->rejected.insert(result->rejected.end(), fold.rejected.begin(), fold.rejected.end());
}

void RejectAll(std::span<const eventlog::StoredEvent> events, std::string_view code,
               std::string_view reason, ApplyResult* result) {
  for (const eventlog::StoredEvent& event : events) {
    result->rejected.push_back({event.offset, 0, std::string(code), std::string(reason)});
  }
}

// An event of so many bytes is folded apart without being tried: parsing it alone takes its time.
constexpr size_t kTurnEventBytes = 512 << 10;

// What one organisation may take of the main thread's time in a batch. When depends on the machine,
// what comes of it does not.
constexpr std::chrono::milliseconds kTurnTime{50};

absl::Status LargeEvent() {
  return Error(StatusCode::kUnavailable, "large_event", "it has an event of many rows");
}

// Is it the trouble of the one organisation? What may be that of the disk or of the log is not.
bool IsItsOwn(const absl::Status& status) {
  const std::string code = ErrorCode(status);
  return code != "log_truncated" && code != "log_diverged" && !absl::IsUnavailable(status) &&
         !absl::IsResourceExhausted(status) && !absl::IsDeadlineExceeded(status) &&
         !absl::IsCancelled(status);
}

absl::Status CheckProgress(const FoldResult& fold) {
  return fold.consumed > 0 || fold.partial ? absl::OkStatus()
                                           : Error(StatusCode::kInternal, "internal",
                                                   "the fold took none of the events it was given");
}

}  // namespace

bool StoreManagerImpl::IsTroubleOfStore(const absl::Status& status) {
  const std::string code = ErrorCode(status);
  return code == "store_io_error" || code == "store_fatal" || IsSoonOver(code);
}

absl::Status StoreManagerImpl::RewoundError(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  const Offset from = partitions_[partition].checkpoint.next;
  return Error(StatusCode::kAborted, "store_rewound",
               "a store of partition {} has gone back to what was on disk: call CheckpointOf() and "
               "read again from offset {}",
               partition.value(), from.value());
}

absl::StatusOr<ApplyResult> StoreManagerImpl::Apply(PartitionId partition, Events events,
                                                    absl::FunctionRef<bool()> stopping) {
  ApplyResult result;
  if (events.empty()) {
    return result;
  }
  {
    absl::ReleasableMutexLock lock(&mutex_);
    // Until CheckpointOf() is asked, what comes was read behind the place to which a store has gone
    // back: to apply it would leave a gap there that nobody fills.
    if (partitions_[partition].rewound) {
      lock.Release();
      return RewoundError(partition);
    }
  }
  // Before anybody is looked for among those who are apart: see ApartSet::Advance().
  apart_.WorkOn(partition, Offset(events.back().offset.value() + 1));
  const auto start = steady_clock::now();
  size_t bytes = 0;
  for (const eventlog::StoredEvent& event : events) {
    bytes += event.event.ByteSize();
  }
  // Refused here rather than by a flush that fails later: nothing has to be undone.
  if (const absl::Status space = CheckSpace(options_.path, bytes); !space.ok()) {
    metrics_.CountError();
    return space;
  }
  if (const absl::Status status = ApplyGroups(partition, events, stopping, &result); !status.ok()) {
    metrics_.CountError();
    absl::MutexLock lock(&mutex_);
    Partition& state = partitions_[partition];
    state.stores_ahead = true;  // some may have applied what the partition has not
    // Who has been set apart by then is passed over when the events come again, and nobody else
    // would tell of these before a restart.
    for (Rejected& rejected : result.rejected) {
      state.untold.insert_or_assign(std::pair(rejected.offset, rejected.op_index),
                                    std::move(rejected));
    }
    return status;
  }
  NoteApplied(partition, events, &result);
  stores_.Reap();
  stores_.RelieveMemory();
  metrics_.ObserveApply(steady_clock::now() - start, result.counters);
  stores_.UpdateMetrics();
  return result;
}

absl::Status StoreManagerImpl::ApplyGroups(PartitionId partition, Events events,
                                           absl::FunctionRef<bool()> stopping,
                                           ApplyResult* result) {
  const Turn turn{turn_, LastCheckpoint(partition).next, result, ReadingOf(partition)};
  const std::string& first = events.front().event.key;
  const auto of_first = [&](const eventlog::StoredEvent& e) { return e.event.key == first; };
  if (std::all_of(events.begin(), events.end(), of_first)) {
    return ApplyOrg(partition, first, events, stopping, turn);
  }
  std::unordered_map<std::string_view, size_t> index;
  std::vector<std::vector<eventlog::StoredEvent>> groups;
  for (const eventlog::StoredEvent& event : events) {
    const auto [found, inserted] = index.try_emplace(event.event.key, groups.size());
    if (inserted) {
      groups.emplace_back();
    }
    groups[found->second].push_back(event);
  }
  absl::Status damaged;
  for (const std::vector<eventlog::StoredEvent>& group : groups) {
    const absl::Status status = ApplyOrg(partition, group.front().event.key, group, stopping, turn);
    // What is wrong with one store (damaged, another log's) does not stop other organisations.
    if (!status.ok() && !absl::IsDataLoss(status) && !absl::IsFailedPrecondition(status)) {
      return status;
    }
    damaged.Update(status);
  }
  return damaged;
}

absl::Status StoreManagerImpl::ApplyOrg(PartitionId partition, std::string_view name, Events events,
                                        absl::FunctionRef<bool()> stopping, const Turn& turn) {
  const auto org = OrgId::Parse(name);
  if (!org.ok()) {
    RejectAll(events, "malformed_event", Message(org.status()), turn.result);
    return absl::OkStatus();
  }
  if (options_.sets_apart && apart_.Find(partition, name).has_value()) {
    return absl::OkStatus();
  }
  const auto began = steady_clock::now();
  while (!events.empty()) {
    const Offset next = events.front().offset;
    // Each of many events may fit a turn: together they must not hold the partition.
    if (options_.sets_apart && (steady_clock::now() - began > kTurnTime ||
                                events.front().event.ByteSize() > kTurnEventBytes)) {
      SetApart(partition, *org, next, LargeEvent());
      return absl::OkStatus();
    }
    const absl::StatusOr<size_t> taken = ApplyOne(partition, *org, events, turn);
    if (!taken.ok()) {
      if (!options_.sets_apart || !IsItsOwn(taken.status())) {
        return taken.status();
      }
      SetApart(partition, *org, next, taken.status());
      return absl::OkStatus();
    }
    events = events.subspan(*taken);
    if (*taken == 0 && options_.sets_apart) {
      SetApart(partition, *org, next, LargeEvent());
      return absl::OkStatus();
    }
    if (*taken == 0 && stopping()) {
      return Error(StatusCode::kCancelled, "cancelled",
                   "stopped amid the event at {} of organisation {}; it goes on there",
                   events.front().offset.value(), org->value());
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<size_t> StoreManagerImpl::ApplyOne(PartitionId partition, const OrgId& org,
                                                  Events events, const Turn& turn) {
  const StoreSet::SlotPtr slot = stores_.Find(org);
  if (slot == nullptr) {
    return ApplyWithoutStore(partition, org, events, turn);
  }
  if (slot->registration.partition != partition) {
    RejectAll(events, "wrong_partition",
              fmt::format("the organisation's history is in partition {}, not {}",
                          slot->registration.partition.value(), partition.value()),
              turn.result);
    return events.size();
  }
  absl::StatusOr<size_t> taken = ApplyToStore(slot, events, turn);
  if (taken.ok()) {
    return taken;
  }
  absl::Status why = stores_.Explain(slot, taken.status());
  // Of this store alone, as far as is known: the others' files can be read and written.
  return options_.sets_apart && IsTroubleOfStore(why)
             ? Error(StatusCode::kInternal, ErrorCode(why), Message(why))
             : why;
}

absl::StatusOr<size_t> StoreManagerImpl::ApplyToStore(const StoreSet::SlotPtr& slot, Events events,
                                                      const Turn& turn) {
  const PartitionId partition = slot->registration.partition;
  auto acquired = stores_.Acquire(slot, /*reader=*/false);
  if (!acquired.ok() && ErrorCode(acquired.status()) == "store_missing") {
    return Missing(slot);
  }
  if (ErrorCode(acquired.status()) == kStoreRewound) {
    return GoneBack(slot);
  }
  RETURN_IF_ERROR(acquired.status());
  std::shared_ptr<RocksStore> store = *std::move(acquired);
  const AppliedState applied = store->applied();
  std::shared_ptr<const OrgModel> model =
      applied.position == kNoOffset ? ModelWithoutStore(slot->org) : store->model();
  if (!slot->checked) {
    RETURN_IF_ERROR(CompareAhead(slot, applied, events));
  }
  const Offset acknowledged = turn.acknowledged;
  // A store that was made just before a crash has nothing yet: what comes before its organisation
  // was opened is an earlier incarnation's.
  const size_t skipped = CountUntil(events, std::max(applied.position, ClosedUntil(slot->org)));
  // What a crash may have kept from reaching the dead letters, also of what has been applied of an
  // event: nobody tells of that again, but once whoever reads now has not been told.
  const bool amid = skipped < events.size() && applied.partial.has_value() &&
                    applied.partial->offset == events[skipped].offset &&
                    slot->told_in != turn.reading;
  store->RejectionsOf(events.first(skipped + (amid ? 1 : 0)), acknowledged, &turn.result->rejected);
  RejectionsOfClosed(partition, events.first(skipped), turn.result);
  if (skipped == events.size()) {
    return skipped;
  }
  ASSIGN_OR_RETURN(const FoldResult fold,
                   Fold(turn.fold, applied, std::move(model), events.subspan(skipped), *store));
  RETURN_IF_ERROR(CheckProgress(fold));
  if (fold.closed) {
    std::vector<Rejected> rejected = store->RejectionsFrom(acknowledged);
    rejected.insert(rejected.end(), fold.rejected.begin(), fold.rejected.end());
    // The mark before the folder goes: after a crash in between the folder is removed at the next
    // start. The other way round a registration without a folder would send the partition back to
    // the opening, and what the store alone knew to be rejected would be lost.
    store.reset();
    const ClosedMark mark{slot->registration.incarnation, fold.batch.applied.position};
    RETURN_IF_ERROR(CloseOrg(partition, slot->org, mark, fold.batch.applied.event_hash, rejected));
    stores_.Retire(slot);
    subscriptions_.Notify(slot->org, {.applied = mark.offset, .definitions = true, .closed = true});
  } else {
    absl::Status committed = CommitTo(slot, *store, fold, fold.rejected, acknowledged);
    if (committed.ok()) {
      // At once: readers see it, whatever becomes of the sweep.
      slot->changes.Add(applied, fold.batch);
      if (!fold.partial) {
        subscriptions_.Notify(slot->org, slot->changes.Take(fold.batch.applied.position));
      }
      const auto swept = store->Sweep(fold.batch.delta_puts.size());
      committed = swept.status();
      metrics_.CountSwept(swept.value_or(0));
    }
    store.reset();
    if (ErrorCode(committed) == "store_fatal") {
      return Recover(slot);
    }
    RETURN_IF_ERROR(committed);
  }
  slot->told_in = turn.reading;
  AddFold(fold, turn.result);
  metrics_.ObserveStep(fold.held_bytes);
  if (fold.partial) {
    metrics_.CountPart();
  }
  return skipped + fold.consumed;
}

// A store that is ahead of what a checkpoint vouches for: the event that it applied last is, as a
// rule, among those that the fold reads anyway. The log is asked only before something is applied
// to a store for which that has not come.
absl::Status StoreManagerImpl::CompareAhead(const StoreSet::SlotPtr& slot,
                                            const AppliedState& applied, Events events) {
  const size_t skipped = CountUntil(events, applied.position);
  if (applied.partial.has_value()) {
    // What was done of an event is not done again, so the rest must be that event's. Rare: asked.
    if (skipped < events.size()) {
      RETURN_IF_ERROR(comparer_.Await(slot));
    }
    return absl::OkStatus();
  }
  const bool there = skipped > 0 && events[skipped - 1].offset == applied.position;
  if (there && eventlog::EventHash(events[skipped - 1].event) == applied.event_hash) {
    StoreSet::MarkChecked(*slot);
    return absl::OkStatus();
  }
  if (!there && skipped == events.size()) {
    // Nothing will be applied now. It may come yet; otherwise LookAhead() asks the log.
    absl::MutexLock lock(&mutex_);
    NoteAhead(slot);
    return absl::OkStatus();
  }
  return comparer_.Await(slot);
}

absl::Status StoreManagerImpl::CommitTo(const StoreSet::SlotPtr& slot, RocksStore& store,
                                        const FoldResult& fold, std::span<const Rejected> rejected,
                                        Offset acknowledged) {
  absl::Status status = store.Commit(fold.batch, fold.model, rejected, acknowledged);
  if (!status.ok() && !absl::IsDataLoss(status)) {
    // A failed flush refuses writes until it is told that the cause may have gone.
    spdlog::warn("store_write_failed org={} error=\"{}\"", slot->org.value(), Message(status));
    RETURN_IF_ERROR(store.Resume());
    status = store.Commit(fold.batch, fold.model, rejected, acknowledged);
  }
  if (status.ok()) {
    slot->committed = fold.batch.applied.position.value();
  }
  return status;
}

// What was not flushed is lost; the next Apply or Checkpoint sees that by GoneBack().
absl::Status StoreManagerImpl::Recover(const StoreSet::SlotPtr& slot) {
  RETURN_IF_ERROR(stores_.Reopen(slot));
  return Error(
      StatusCode::kUnavailable, "store_reopened",
      "the store of organisation {} had to be opened anew after an error of the disk: call again",
      slot->org.value());
}

// Its folder has gone, and with it what the checkpoint counts on.
absl::Status StoreManagerImpl::Missing(const StoreSet::SlotPtr& slot) {
  const PartitionId partition = slot->registration.partition;
  if (!options_.sets_apart) {
    RewindMissing({slot});
    return RewoundError(partition);
  }
  const absl::Status missing =
      Error(StatusCode::kNotFound, "store_missing", "the store of organisation {} has gone: {}",
            slot->org.value(), slot->path);
  SetApart(partition, slot->org, slot->registration.opened, missing);
  return missing;
}

absl::Status StoreManagerImpl::BehindCheckpoint(StoreSet::Slot& slot) {
  const Offset held = StoreSet::Held(slot);
  return held.value() >= slot.noted
             ? absl::OkStatus()
             : Error(StatusCode::kDataLoss, "store_corrupt",
                     "it ends at offset {}, but had {} on disk", held.value(), slot.noted.load());
}

// A folder that came back from a backup, and one that lost what was not flushed, hold less than
// what was known of them, and all of what they hold: the log has the rest.
absl::Status StoreManagerImpl::GoneBack(const StoreSet::SlotPtr& slot) {
  const PartitionId partition = slot->registration.partition;
  const Offset held = StoreSet::Held(*slot);
  spdlog::warn("store_rewound org={} noted={} committed={} on_disk={}", slot->org.value(),
               slot->noted.load(), slot->committed.load(), held.value());
  slot->changes.Forget();
  if (options_.sets_apart) {
    const absl::Status rewound =
        Error(StatusCode::kAborted, kStoreRewound,
              "the store of organisation {} has gone back to offset {}, which is what is on disk",
              slot->org.value(), held.value());
    // In this order: as soon as the store may be used, nobody is shown what it holds.
    SetApart(partition, slot->org, std::max(Offset(held.value() + 1), slot->registration.opened),
             rewound);
    stores_.SetBack(*slot, held);
    return rewound;
  }
  RETURN_IF_ERROR(BehindCheckpoint(*slot));
  stores_.SetBack(*slot, held);
  {
    absl::MutexLock lock(&mutex_);
    Partition& state = partitions_[partition];
    state.rewound = true;
    state.stores_ahead = true;
    state.applied = state.checkpoint.applied;
    state.event_hash = state.checkpoint.event_hash;
    state.before_rejections.clear();
  }
  return RewoundError(partition);
}

void StoreManagerImpl::RejectionsOfClosed(PartitionId partition, Events events,
                                          ApplyResult* result) {
  absl::MutexLock lock(&mutex_);
  const auto& rejected = partitions_[partition].rejected_of_closed;
  if (rejected.empty()) {
    return;
  }
  for (const eventlog::StoredEvent& event : events) {
    const auto [first, last] = rejected.equal_range(event.offset);
    for (auto it = first; it != last; ++it) {
      result->rejected.push_back(it->second);
    }
  }
}

absl::StatusOr<size_t> StoreManagerImpl::ApplyWithoutStore(PartitionId partition, const OrgId& org,
                                                           Events events, const Turn& turn) {
  const size_t skipped = CountUntil(events, ClosedUntil(org));
  if (skipped > 0) {  // history of an incarnation that is closed
    RejectionsOfClosed(partition, events.first(skipped), turn.result);
    return skipped;
  }
  // Folded onto nothing: only an organisation that this opens gets a store.
  EmptyView nothing;
  ASSIGN_OR_RETURN(const FoldResult fold,
                   Fold(turn.fold, AppliedState{}, ModelWithoutStore(org), events, nothing));
  RETURN_IF_ERROR(CheckProgress(fold));
  // What never was open has not been closed.
  const bool closed = fold.closed && fold.model->incarnation() > 0;
  if (!closed && !fold.model->open()) {
    NoteRejectedWithoutStore(partition, org, fold.rejected);
  } else {
    // Whoever reads again from the checkpoint skips all of these, by the store or by the mark.
    std::vector<Rejected> rejected = RejectedWithoutStore(partition, org, events.front().offset);
    rejected.insert(rejected.end(), fold.rejected.begin(), fold.rejected.end());
    if (closed) {
      const ClosedMark mark{fold.model->incarnation(), fold.batch.applied.position};
      RETURN_IF_ERROR(CloseOrg(partition, org, mark, fold.batch.applied.event_hash, rejected));
    } else {
      const auto opened = std::find_if(
          events.begin(), events.end(),
          [](const eventlog::StoredEvent& e) { return e.event.type == "sluice.v1.OrgOpened"; });
      RETURN_IF_ERROR(MakeStore(partition, org, *opened, fold, rejected));
    }
  }
  AddFold(fold, turn.result);
  // All of it is new to readers.
  subscriptions_.Notify(
      org, {.applied = fold.batch.applied.position, .definitions = true, .closed = fold.closed});
  return fold.consumed;
}

absl::Status StoreManagerImpl::MakeStore(PartitionId partition, const OrgId& org,
                                         const eventlog::StoredEvent& opened,
                                         const FoldResult& fold,
                                         std::span<const Rejected> rejected) {
  RETURN_IF_ERROR(NoteRewind(partition));
  const OrgRegistration registration{fold.model->incarnation(), partition, opened.offset};
  if (stores_.open_count() >= env_->open_stores_max()) {
    stores_.EvictIdle();
  }
  // The folder comes first: a registration without one would send the partition back.
  ASSIGN_OR_RETURN(const StoreSet::SlotPtr slot, stores_.Create(org, registration));
  absl::Status made;
  {
    absl::MutexLock lock(&noting_);
    const NotedEvent noted = Newer(partition, opened.offset, eventlog::EventHash(opened.event));
    made = node_->PutOrg(org.value(), registration, noted);
    if (made.ok()) {
      Note(partition, noted);
    }
  }
  if (made.ok()) {
    ASSIGN_OR_RETURN(const auto store, stores_.Acquire(slot, /*reader=*/false));
    made = CommitTo(slot, *store, fold, rejected, kNoOffset);
  }
  if (!made.ok()) {
    stores_.Retire(slot);
    stores_.Reap();  // or the next attempt finds the folder locked
    return made;
  }
  stores_.Publish(slot);
  spdlog::info("store_created org={} incarnation={} partition={}", org.value(),
               registration.incarnation, partition.value());
  return absl::OkStatus();
}

absl::Status StoreManagerImpl::CloseOrg(PartitionId partition, const OrgId& org,
                                        const ClosedMark& mark, uint64_t event_hash,
                                        std::span<const Rejected> rejected) {
  RETURN_IF_ERROR(NoteRewind(partition));
  {
    absl::MutexLock noting(&noting_);
    const NotedEvent noted = Newer(partition, mark.offset, event_hash);
    RETURN_IF_ERROR(node_->CloseOrg(org.value(), mark, partition, rejected, noted));
    Note(partition, noted);
  }
  spdlog::info("store_closed org={} incarnation={} offset={}", org.value(), mark.incarnation,
               mark.offset.value());
  absl::MutexLock lock(&mutex_);
  closed_[org.value()] = mark;
  for (const Rejected& r : rejected) {
    partitions_[partition].rejected_of_closed.emplace(r.offset, r);
  }
  return absl::OkStatus();
}

}  // namespace sluice::projectors

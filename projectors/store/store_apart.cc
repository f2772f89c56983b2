// Who is apart: the part of StoreManagerImpl by which one organisation's trouble, or work, is its
// own.
#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "projectors/store/store_folder.h"
#include "projectors/store/store_manager_impl.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

constexpr std::string_view kLargeEvent = "large_event";
// How often the same is tried before the store is taken for damaged, once: an error of the disk may
// last for a while (the side thread's back-off makes it some 50 s).
constexpr int kFailuresMax = 1;
constexpr int kIoFailuresMax = 10;
// Of one step of reading a store as a whole.
constexpr std::chrono::milliseconds kReadTime{50};

// What is no failure of the store: it is apart for its work, or goes on from what is on disk.
bool IsNoFailure(std::string_view code) { return code == kLargeEvent || code == kStoreRewound; }

// Is what is on disk of no use any more? Otherwise the same store is tried again first.
bool NeedsRebuild(const absl::Status& why) {
  return absl::IsDataLoss(why) || absl::IsFailedPrecondition(why) || absl::IsNotFound(why);
}

}  // namespace

void StoreManagerImpl::PutApart(PartitionId partition, ApartSet::Entry entry) {
  spdlog::warn("store_apart org={} partition={} reason={} next={} rebuild={}",
               entry.state.org.value(), partition.value(), entry.state.reason,
               entry.state.next.value(), entry.rebuild_due);
  metrics_.CountApart(entry.state.reason);
  apart_.Set(partition, std::move(entry));
}

void StoreManagerImpl::SetApart(PartitionId partition, const OrgId& org, Offset next,
                                const absl::Status& why) {
  const std::string code = ErrorCode(why);
  const auto before = apart_.Find(partition, org.value());
  if (before.has_value() && before->rebuild_due) {
    return;  // whatever else is wrong with it: it is going to be moved away
  }
  if (before.has_value()) {
    // What is known to be lacking stays so: whoever fails later may not have looked so far back.
    next = std::min(next, before->state.next);
    if (IsNoFailure(code) && before->state.reason == code && before->state.next == next) {
      return;  // told already
    }
  }
  if (code != kLargeEvent) {
    metrics_.CountError();
    spdlog::error("store_failed org={} code={} error=\"{}\"", org.value(), code, Message(why));
  }
  ApartSet::Entry entry{.state = {org, next, code.empty() ? "internal" : code}};
  if (before.has_value()) {
    entry.rebuilt = before->rebuilt;
    entry.failing = before->failing;
    entry.failures = before->failures;
  }
  const bool failed = !IsNoFailure(code) && !IsSoonOver(code);
  if (failed) {
    entry.failures = entry.failing == code ? entry.failures + 1 : 1;
    entry.failing = code;
  }
  // What is behind, or was hidden, is shown again only when it has caught up.
  entry.state.hidden = code != kLargeEvent || (before.has_value() && before->state.hidden);
  const StoreSet::SlotPtr slot = stores_.Find(org);
  if (slot != nullptr && (NeedsRebuild(why) || (failed && !entry.rebuilt && FailsForGood(entry)))) {
    entry.rebuild_due = true;
    entry.state.next = slot->registration.opened;
  }
  PutApart(partition, std::move(entry));
}

// Has the same gone wrong so often that the store is taken for damaged?
bool StoreManagerImpl::FailsForGood(const ApartSet::Entry& entry) const {
  if (entry.failing != "store_io_error") {
    return entry.failures > kFailuresMax;
  }
  // A bad sector does not heal, but a disk that fails as a whole, or a want of descriptors, is no
  // reason to build every store anew.
  return entry.failures >= kIoFailuresMax && PrepareFolder(options_.path).ok();
}

void StoreManagerImpl::LookForDamage(PartitionId partition) {
  if (env_->damage_seen().exchange(false)) {
    damage_seen_ = true;  // inside a store that is open
    for (const StoreSet::SlotPtr& slot : stores_.All()) {
      absl::MutexLock lock(&slot->mutex);
      if (slot->store != nullptr && slot->store->database()->damaged()) {
        slot->damage_seen = true;
      } else if (slot->store != nullptr && slot->store->database()->io_failed()) {
        slot->io_error_seen = true;
      }
    }
  }
  if (!damage_seen_) {
    return;
  }
  bool elsewhere = false;
  for (const StoreSet::SlotPtr& slot : stores_.All()) {
    if (!slot->damage_seen && !slot->io_error_seen && !slot->behind_seen) {
      continue;
    }
    if (slot->registration.partition != partition) {
      elsewhere = true;
      continue;
    }
    const bool damaged = slot->damage_seen.exchange(false);
    const bool io_error = slot->io_error_seen.exchange(false);
    slot->behind_seen = false;
    if (IsApart(partition, slot->org)) {
      continue;
    }
    if (!damaged && !io_error) {
      // Or it has been set back, and has caught up since.
      if (ErrorCode(stores_.Acquire(slot, /*reader=*/false).status()) == kStoreRewound) {
        (void)GoneBack(slot);
      }
      continue;
    }
    const std::string what =
        fmt::format("the store of organisation {} cannot be read", slot->org.value());
    if (damaged) {
      SetApart(partition, slot->org, slot->registration.opened,
               Error(StatusCode::kDataLoss, "store_corrupt", what));
    } else {
      // It holds all of its own that was applied of the partition: an event that came meanwhile
      // would have had to open it, or have set it apart. And it may be well a moment later.
      SetApart(partition, slot->org,
               std::max(Offset(Applied(partition).value() + 1), slot->registration.opened),
               Error(StatusCode::kUnavailable, "store_io_error", what));
    }
  }
  damage_seen_ = elsewhere;
}

void StoreManagerImpl::NoteTrouble(StoreSet::Slot& slot, const absl::Status& why) {
  const std::string code = ErrorCode(why);
  if (!options_.sets_apart || why.ok() || code == "org_not_found" || code == "log_truncated" ||
      code == "log_diverged") {
    return;
  }
  if (code == kStoreRewound) {
    slot.behind_seen = true;
  } else if (code == "store_io_error") {
    slot.io_error_seen = true;
  } else if (NeedsRebuild(why)) {
    slot.damage_seen = true;
  } else {
    return;
  }
  damage_seen_ = true;
}

bool StoreManagerImpl::Hidden(const OrgId& org, const StoreSet::SlotPtr& slot) {
  if (!options_.sets_apart) {
    return false;
  }
  if (slot != nullptr) {
    const auto entry = apart_.Find(slot->registration.partition, org.value());
    return entry.has_value() && entry->state.hidden;
  }
  // While it has no store, nothing but the entry tells its partition.
  std::vector<PartitionId> partitions;
  {
    absl::MutexLock lock(&mutex_);
    partitions = Collect(partitions_, [](const auto& entry) { return entry.first; });
  }
  return std::ranges::any_of(partitions, [&](PartitionId partition) {
    const auto entry = apart_.Find(partition, org.value());
    return entry.has_value() && entry->state.hidden;
  });
}

std::vector<ApartOrg> StoreManagerImpl::ApartOf(PartitionId partition) {
  return Collect(apart_.Of(partition), &ApartSet::Entry::state);
}

std::optional<ApartOrg> StoreManagerImpl::ApartStateOf(PartitionId partition, const OrgId& org) {
  auto entry = apart_.Find(partition, org.value());
  return entry.has_value() ? std::make_optional(std::move(entry->state)) : std::nullopt;
}

Offset StoreManagerImpl::AppliedUntil(PartitionId partition, const OrgId& org) {
  // In this order: who is given back in between has been applied as far as the partition was.
  const Offset applied = Applied(partition);
  const std::optional<ApartOrg> apart = ApartStateOf(partition, org);
  return apart.has_value() ? apart->next : Offset(applied.value() + 1);
}

Offset StoreManagerImpl::ApartFrom(PartitionId partition, const ApartOrg& apart, Offset begin) {
  const StoreSet::SlotPtr slot = stores_.Find(apart.org);
  auto entry = apart_.Find(partition, apart.org.value());
  if (slot == nullptr || !entry.has_value() || entry->state.generation != apart.generation ||
      (entry->rebuild_due && entry->state.reason != "store_missing")) {
    return apart.next;
  }
  auto store = stores_.Acquire(slot, /*reader=*/false);
  const bool behind = ErrorCode(store.status()) == kStoreRewound;
  if (entry->rebuild_due && (store.ok() || behind)) {
    // The folder has been put back.
    entry->rebuild_due = false;
    apart_.Set(partition, *std::move(entry));
  }
  if (behind) {
    (void)GoneBack(slot);
    store = stores_.Acquire(slot, /*reader=*/false);
  }
  if (!store.ok()) {
    return apart.next;  // it is told when its events are applied
  }
  Offset from((*store)->applied().position.value() + 1);
  // What it rejected may not be in the dead letters yet, which are written with the events.
  if (const auto untold = (*store)->RejectionsFrom(std::max(apart.next, begin)); !untold.empty()) {
    from = std::min(from, untold.front().offset);
  }
  return std::max(apart.next, from);
}

absl::Status StoreManagerImpl::BeginRebuild(PartitionId partition, const ApartSet::Entry& entry) {
  absl::MutexLock lock(&RebuildMutex(partition));
  {
    absl::MutexLock state_lock(&mutex_);
    if (partitions_[partition].checkpointing) {
      return Error(StatusCode::kUnavailable, "store_busy",
                   "the store of organisation {} is to be built anew, but a checkpoint is being "
                   "written: try again",
                   entry.state.org.value());
    }
  }
  // First the note of where it has to begin: a crash after the folder was moved, or after a new one
  // holds a part, must not leave a store that goes on from the partition's checkpoint.
  RETURN_IF_ERROR(node_->PutApart(partition, entry.state));
  if (const StoreSet::SlotPtr slot = stores_.Find(entry.state.org); slot != nullptr) {
    RETURN_IF_ERROR(stores_.MoveAside(slot));
  }
  ApartSet::Entry rebuilt = entry;
  rebuilt.rebuild_due = false;
  rebuilt.rebuilt = true;
  apart_.Set(partition, std::move(rebuilt));
  spdlog::info("store_rebuild_started org={} from={}", entry.state.org.value(),
               entry.state.next.value());
  return absl::OkStatus();
}

absl::StatusOr<size_t> StoreManagerImpl::ApplyApart(PartitionId partition, const ApartOrg& apart,
                                                    Events events, ApplyResult* result) {
  const OrgId& org = apart.org;
  const auto entry = apart_.Find(partition, org.value());
  if (!entry.has_value() || entry->state.generation != apart.generation) {
    return Error(StatusCode::kAborted, "apart_changed",
                 "the position of organisation {} has been set anew", org.value());
  }
  RETURN_IF_ERROR(CheckSpace(options_.path, events.front().event.ByteSize()));
  if (entry->rebuild_due) {
    RETURN_IF_ERROR(BeginRebuild(partition, *entry));
    return Error(StatusCode::kAborted, "apart_changed",
                 "the store of organisation {} is built anew", org.value());
  }
  // Those who are apart take turns by steps.
  const bool alone = apart_.Of(partition).size() == 1;
  // What it was given before its own position, the main thread has rejections of: these are in the
  // dead letters below the checkpoint only.
  const Offset acknowledged = std::min(entry->state.next, LastCheckpoint(partition).next);
  const Turn turn{alone ? options_.fold : shared_step_, acknowledged, result, ReadingOf(partition)};
  const absl::StatusOr<size_t> taken = ApplyOne(partition, org, events, turn);
  if (taken.ok()) {
    stores_.Reap();
    return taken;
  }
  metrics_.CountError();
  const std::string code = ErrorCode(taken.status());
  if (code != kStoreRewound && code != "store_missing" && !IsSoonOver(code) &&
      !absl::IsUnavailable(taken.status()) && !absl::IsResourceExhausted(taken.status())) {
    // The first two have been noted where they were found.
    SetApart(partition, org, events.front().offset, taken.status());
  }
  return taken.status();
}

absl::Status StoreManagerImpl::FlushApart(const StoreSet::SlotPtr& slot, const ApartOrg& apart) {
  const PartitionId partition = slot->registration.partition;
  const auto entry = apart_.Find(partition, apart.org.value());
  if (!entry.has_value() || entry->state.generation != apart.generation || entry->rebuild_due) {
    return absl::OkStatus();
  }
  const absl::Status flushed = FlushStore(slot);
  if (flushed.ok()) {
    slot->flush_failed = false;
  } else if (absl::IsDataLoss(flushed) || ErrorCode(flushed) == "store_io_error") {
    SetApart(partition, apart.org, entry->state.next, flushed);
  }
  return flushed;
}

// Whoever has no events to be applied comes back, or is built anew in the end, by being opened.
absl::Status StoreManagerImpl::OpenApart(const StoreSet::SlotPtr& slot, const ApartOrg& apart) {
  const PartitionId partition = slot->registration.partition;
  const auto entry = apart_.Find(partition, apart.org.value());
  if (!entry.has_value() || entry->state.generation != apart.generation || entry->rebuild_due ||
      entry->state.reason != "store_io_error") {
    return absl::OkStatus();
  }
  const auto store = stores_.Acquire(slot, /*reader=*/false);
  if (ErrorCode(store.status()) == kStoreRewound) {
    return GoneBack(slot);
  }
  // A store that could be opened may lack a block that nobody has asked for again. All of a large
  // one takes long, so it is read in steps, and the others have their turns in between.
  const absl::Status opened = store.ok() ? (*store)->database()->ReadOn(kReadTime) : store.status();
  if (!opened.ok() && !absl::IsResourceExhausted(opened) && ErrorCode(opened) != "org_not_found" &&
      !IsSoonOver(ErrorCode(opened))) {
    SetApart(partition, apart.org, entry->state.next, opened);
  }
  return opened;
}

absl::StatusOr<bool> StoreManagerImpl::AdvanceApart(PartitionId partition, const ApartOrg& apart,
                                                    Offset next) {
  const OrgId& org = apart.org;
  const StoreSet::SlotPtr slot = stores_.Find(org);
  if (slot != nullptr && slot->flush_failed) {
    RETURN_IF_ERROR(FlushApart(slot, apart));
  }
  if (slot != nullptr) {
    RETURN_IF_ERROR(OpenApart(slot, apart));
  }
  if (slot != nullptr && StoreSet::HasLost(*slot)) {
    // An error of the disk made a checkpoint open it anew, or its folder was restored; nothing of
    // its events may be passed over.
    (void)GoneBack(slot);
    return false;
  }
  // This thread reads for itself, and what it has read further than the main thread may be of
  // another history than what that one reads.
  if (slot != nullptr && slot->checked && slot->committed > Applied(partition).value() &&
      apart_.IsDue(partition, apart, next)) {
    Doubt(slot);
  }
  {
    // First: as soon as it is given back the main thread has to look after it, however far it has
    // come itself by then.
    absl::MutexLock lock(&mutex_);
    partitions_[partition].stores_ahead = true;
  }
  const bool given_back = apart_.Advance(partition, apart, next);
  if (given_back) {
    spdlog::info("store_given_back org={} partition={} next={}", org.value(), partition.value(),
                 next.value());
  }
  return given_back;
}

absl::Status StoreManagerImpl::LookForTrouble(PartitionId partition) {
  LookForDamage(partition);
  LookAhead(partition);
  absl::MutexLock lock(&mutex_);
  return partitions_[partition].other_history;
}

// Until the partition has caught up the fold may come by what a store applied last, and compare
// that for nothing. What cannot be said, because the log does not answer or too many stores are
// open, is asked again at the next look.
void StoreManagerImpl::LookAhead(PartitionId partition) {
  if (!apart_.CaughtUp(partition)) {
    return;
  }
  std::vector<StoreSet::SlotPtr> ahead;
  {
    absl::MutexLock lock(&mutex_);
    std::erase_if(ahead_, [](const StoreSet::SlotPtr& slot) { return slot->checked.load(); });
    ahead = ahead_;
  }
  for (const StoreSet::SlotPtr& slot : ahead) {
    if (slot->registration.partition == partition && !comparer_.Ask(slot)) {
      return;
    }
  }
}

absl::Status StoreManagerImpl::CompareStore(const StoreSet::SlotPtr& slot) {
  const absl::Status same = stores_.Compare(slot);
  NoteTrouble(*slot, same);
  absl::MutexLock lock(&mutex_);
  std::erase(ahead_, slot);
  if (!slot->checked &&
      (same.ok() || absl::IsUnavailable(same) || absl::IsResourceExhausted(same))) {
    ahead_.push_back(slot);  // after the others
  }
  return same;
}

void StoreManagerImpl::NoteAhead(const StoreSet::SlotPtr& slot) {
  if (std::ranges::find(ahead_, slot) == ahead_.end()) {
    ahead_.push_back(slot);
  }
}

void StoreManagerImpl::Doubt(const StoreSet::SlotPtr& slot) {
  stores_.Doubt(*slot);
  absl::MutexLock lock(&mutex_);
  NoteAhead(slot);
}

void StoreManagerImpl::DoubtStoresAhead(PartitionId partition) {
  Offset applied;
  {
    absl::MutexLock lock(&mutex_);
    Partition& state = partitions_[partition];
    // Before it is looked who is apart: whoever is given back meanwhile is looked for next time.
    if (!std::exchange(state.stores_ahead, false)) {
      return;
    }
    applied = state.applied;
  }
  bool some = false;
  for (const StoreSet::SlotPtr& slot : stores_.All()) {
    // Of those who are apart the other thread sees to it (CheckApart).
    if (slot->registration.partition != partition || IsApart(partition, slot->org) ||
        std::max(slot->committed.load(), slot->durable.load()) <= applied.value()) {
      continue;
    }
    some = true;
    if (slot->checked) {
      Doubt(slot);
    }
  }
  absl::MutexLock lock(&mutex_);
  partitions_[partition].stores_ahead |= some;
}

// It is in doubt from here on, also where it can't be opened now: then whoever opens it has it
// compared, before it is read or given anything.
absl::Status StoreManagerImpl::CheckApart(PartitionId partition, const ApartOrg& apart,
                                          absl::FunctionRef<bool()> stopping) {
  const StoreSet::SlotPtr slot = stores_.Find(apart.org);
  const auto entry = apart_.Find(partition, apart.org.value());
  if (!options_.check_history || slot == nullptr || !entry.has_value() || entry->rebuild_due) {
    return absl::OkStatus();
  }
  stores_.Doubt(*slot);
  if (!stores_.Acquire(slot, /*reader=*/false).ok()) {
    return absl::OkStatus();
  }
  const absl::Status same = comparer_.AwaitApart(slot, stopping);
  if (ErrorCode(same) != "store_corrupt") {
    return same;
  }
  SetApart(partition, apart.org, entry->state.next, same);  // it is its own
  return absl::OkStatus();
}

absl::Status StoreManagerImpl::CheckHistory(const StoreSet::Slot& slot,
                                            const AppliedState& applied) {
  const PartitionId partition = slot.registration.partition;
  // A checkpoint vouches for the stores that it flushed, as far as they had come, and for no other:
  // one that was closed may hold what came after it, and the log have lost that since; and one that
  // came back from a backup may be of any time.
  absl::Status same;
  if (applied.position != kNoOffset) {
    same = options_.check_history(partition, applied.position, applied.event_hash);
  }
  if (ErrorCode(same) == "log_diverged" && slot.set_back > 0 &&
      applied.position <= LastCheckpoint(partition).applied) {
    // The checkpoint's own event is compared, too, so it is the folder that is of another history.
    return Error(StatusCode::kDataLoss, "store_corrupt",
                 "the store of organisation {} was restored from another history: {}",
                 slot.org.value(), Message(same));
  }
  // No checkpoint vouches for the event that was applied in part.
  if (same.ok() && applied.partial.has_value() && applied.partial->event_hash != 0) {
    same = options_.check_history(partition, applied.partial->offset, applied.partial->event_hash);
  }
  if (absl::IsDataLoss(same)) {
    absl::MutexLock lock(&mutex_);
    partitions_[partition].other_history = same;
  }
  return same;
}

}  // namespace sluice::projectors

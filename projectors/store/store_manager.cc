// Opening, and the readers' half of StoreManagerImpl; the projector's is in store_apply.cc.
#include "projectors/store/store_manager.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <charconv>
#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "projectors/store/store_folder.h"
#include "projectors/store/store_manager_impl.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

absl::Status OrgNotFound(const OrgId& org) {
  return Error(StatusCode::kNotFound, "org_not_found", "organisation {} is not open here",
               org.value());
}

absl::Status NotCaughtUp(const OrgId& org, std::string_view what) {
  return Error(StatusCode::kUnavailable, "not_caught_up",
               "the store of organisation {} {}: try again later", org.value(), what);
}

uint64_t FolderBytes(const std::string& path) {
  uint64_t bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    std::error_code ignored;
    const uint64_t size = entry.file_size(ignored);
    bytes += ignored ? 0 : size;  // a compaction may have removed it
  }
  return bytes;
}

// When data of a RocksDB was last written, by its files; the info log does not count.
std::filesystem::file_time_type NewestTable(const std::string& path) {
  std::filesystem::file_time_type newest{};
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    if (name.ends_with(".sst") || name.ends_with(".log") || name.starts_with("MANIFEST-")) {
      std::error_code ignored;  // a compaction may have removed it
      newest = std::max(newest, entry.last_write_time(ignored));
    }
  }
  return newest;
}

// What the main thread does of one event before the rest of it is done apart: about 20 ms of work.
constexpr size_t kTurnRows = 2'000;
// Of rows that are read and of what is to be written.
constexpr size_t kTurnBytes = size_t{8} << 20;
// Of a row that many others point at: they are read in one step, and some 3 us each.
constexpr size_t kTurnPlaces = 4'000;
// Of rows that are held against rules: some 14 ns each.
constexpr size_t kTurnWork = size_t{2} << 20;

FoldOptions SmallStepOf(const StoreOptions& options) {
  FoldOptions step = options.fold;
  step.step_rows = std::min(step.step_rows, kTurnRows);
  step.step_bytes = std::min(step.step_bytes, kTurnBytes);
  step.step_work = std::min(step.step_work, kTurnWork);
  return step;
}

FoldOptions TurnOf(const StoreOptions& options) {
  FoldOptions turn = options.fold;
  if (options.sets_apart) {
    turn = SmallStepOf(options);
    turn.places_max = std::min(turn.places_max, kTurnPlaces);
    turn.work_max = std::min(turn.work_max, kTurnWork);
  }
  return turn;
}

}  // namespace

absl::StatusOr<std::unique_ptr<StoreManager>> StoreManager::Open(StoreOptions options) {
  const auto checkpointed = NewestTable(options.path + "/node");  // before it is opened
  if (options.path.empty()) {
    return Invalid("invalid_argument", "a store manager needs a path");
  }
  const auto env = std::make_shared<RocksEnv>(
      RocksEnv::Limits{options.block_cache_bytes, options.write_buffer_bytes,
                       options.open_stores_max, options.fold.dedup_window});
  ASSIGN_OR_RETURN(auto node, NodeStore::Open(env, options.path + "/node", options.log_id,
                                              options.former_log_ids));
  auto manager = std::make_unique<StoreManagerImpl>(std::move(options), env, std::move(node));
  RETURN_IF_ERROR(manager->Load(checkpointed));
  return manager;
}

StoreManagerImpl::StoreManagerImpl(StoreOptions options, std::shared_ptr<RocksEnv> env,
                                   std::unique_ptr<NodeStore> node)
    : options_(std::move(options)),
      turn_(TurnOf(options_)),
      shared_step_(SmallStepOf(options_)),
      env_(std::move(env)),
      metrics_(options_.registry),
      node_(std::move(node)),
      stores_(env_, metrics_, options_.path + "/orgs", node_->log_id()),
      comparer_([this](const StoreSet::SlotPtr& slot) { return CompareStore(slot); }, metrics_) {
  metrics_.SetLimits(env_->open_stores_max(), env_->block_cache_bytes(),
                     env_->write_buffer_bytes());
  if (options_.check_history) {
    stores_.SetHistoryCheck([this](const StoreSet::Slot& slot, const AppliedState& applied) {
      return CheckHistory(slot, applied);
    });
  }
}

StoreManagerImpl::~StoreManagerImpl() = default;

// An epoch of the log is over: its stores are folds of a history that is no more. The log has what
// is left of it, and all is built anew. The folders go first: as long as the node store names the
// former log, a crash in between leads here again.
absl::Status StoreManagerImpl::RemoveFormer() {
  const std::string folder = options_.path + "/orgs";
  spdlog::warn("stores_rebuilt reason=\"the log {} is {} now\"", *node_->former_log_id(),
               node_->log_id());
  std::error_code error;
  std::filesystem::remove_all(folder, error);
  if (error) {
    return Error(StatusCode::kFailedPrecondition, "store_of_other_log",
                 "{} holds stores of an earlier epoch of the log and cannot be removed, to be "
                 "built anew: {}",
                 folder, error.message());
  }
  return node_->BeginAnew();
}

// What the node store holds of partitions and of closed organisations.
void StoreManagerImpl::Remember(const NodeStore::State& state) {
  absl::MutexLock lock(&mutex_);
  for (const auto& [partition, checkpoint] : state.checkpoints) {
    Partition& loaded = partitions_[partition];
    loaded.checkpoint = checkpoint;
    loaded.applied = checkpoint.applied;
    loaded.event_hash = checkpoint.event_hash;
    loaded.control = checkpoint.control;
    apart_.WorkOn(partition, checkpoint.next);
  }
  for (const auto& [partition, lost] : state.lost) {
    partitions_[partition].lost = lost;
  }
  for (const auto& [partition, noted] : state.noted) {
    partitions_[partition].noted = noted;
  }
  for (const auto& [partition, orgs] : state.apart) {
    for (const ApartOrg& org : orgs) {
      apart_.Set(partition, {.state = org});
    }
  }
  for (const auto& [partition, rejected] : state.rejected) {
    for (const Rejected& r : rejected) {
      partitions_[partition].rejected_of_closed.emplace(r.offset, r);
    }
  }
  closed_ = state.closed;
}

absl::Status StoreManagerImpl::Load(std::filesystem::file_time_type checkpointed) {
  if (node_->former_log_id().has_value()) {
    RETURN_IF_ERROR(RemoveFormer());
  }
  ASSIGN_OR_RETURN(NodeStore::State state, node_->Load());
  Remember(state);
  if (node_->format() < kStoreFormatOldest) {
    RETURN_IF_ERROR(RemoveOlder(state));
  }
  std::vector<StoreSet::SlotPtr> missing;
  std::set<PartitionId> with_stores;
  for (const auto& [name, registration] : state.orgs) {
    ASSIGN_OR_RETURN(const OrgId org, OrgId::Parse(name));
    const auto flushed = state.flushed.find(name);
    stores_.Add(org, registration, flushed == state.flushed.end() ? kNoOffset : flushed->second);
    const std::string path = stores_.PathOf(org, registration.incarnation);
    const auto folder = InspectFolder(path);
    if (!folder.ok() && options_.sets_apart) {
      // One organisation's folder that cannot be looked into keeps no other from being served.
      SetApart(registration.partition, org, registration.opened,
               Error(StatusCode::kDataLoss, "store_corrupt", Message(folder.status())));
      continue;
    }
    RETURN_IF_ERROR(folder.status());
    if (*folder == FolderState::kMissing) {
      missing.push_back(stores_.Find(org));
    } else {
      with_stores.insert(registration.partition);
      if (options_.check_history && NewestTable(path) > checkpointed) {
        absl::MutexLock lock(&mutex_);
        ahead_.push_back(stores_.Find(org));
      }
    }
  }
  if (options_.sets_apart) {
    // A few are built anew beside their neighbours; a partition that has none left is read again.
    std::erase_if(missing, [&](const StoreSet::SlotPtr& slot) {
      const bool alone = with_stores.contains(slot->registration.partition);
      if (alone) {
        (void)Missing(slot);
      }
      return alone;
    });
  }
  RewindMissing(missing);
  RemoveLeftovers(state);
  stores_.UpdateMetrics();
  // Who only looks names no log, and leaves the stores to the program that they are of.
  return options_.log_id.empty() ? absl::OkStatus() : node_->UpgradeFormat();
}

// Stores of an older format lack what today's fold remembers. The log has it all: they are built
// anew, as if their folders had been deleted.
absl::Status StoreManagerImpl::RemoveOlder(const NodeStore::State& state) {
  spdlog::warn("stores_rebuilt reason=\"format {} is older than {}\" count={}", node_->format(),
               kStoreFormat, state.orgs.size());
  for (const auto& [name, registration] : state.orgs) {
    std::error_code error;
    const std::string path =
        fmt::format("{}/orgs/{}/{}", options_.path, name, registration.incarnation);
    std::filesystem::remove_all(path, error);
    if (error) {
      return Error(StatusCode::kFailedPrecondition, "store_format_older",
                   "{} has an older format and cannot be removed, to be built anew: {}", path,
                   error.message());
    }
  }
  return absl::OkStatus();
}

// The node store is told with the first change that follows. As long as nothing has been read,
// which may be for want of events in the log, the folders may come back from a backup, and nothing
// is lost.
void StoreManagerImpl::RewindMissing(const std::vector<StoreSet::SlotPtr>& missing) {
  std::map<PartitionId, PartitionCheckpoint> checkpoints;
  std::map<std::string, PartitionId> orgs;
  for (const StoreSet::SlotPtr& slot : missing) {
    const OrgRegistration& registration = slot->registration;
    const auto [it, inserted] =
        checkpoints.try_emplace(registration.partition, LastCheckpoint(registration.partition));
    if (registration.opened < it->second.next) {
      // The event before OrgOpened is not known, so nothing is there to be compared with the log.
      it->second = {registration.opened, kNoOffset, 0, it->second.control};
    }
    orgs.emplace(slot->org.value(), registration.partition);
    spdlog::warn("store_missing org={} path={} rebuilt_from={}", slot->org.value(), slot->path,
                 registration.opened.value());
  }
  for (const StoreSet::SlotPtr& slot : missing) {
    stores_.Retire(slot);
    // Its position there counted on a store: now everything of it comes with the partition.
    apart_.Erase(slot->registration.partition, slot->org.value());
  }
  absl::MutexLock lock(&mutex_);
  for (const auto& [partition, checkpoint] : checkpoints) {
    Partition& state = partitions_[partition];
    state.checkpoint = checkpoint;
    state.applied = checkpoint.applied;
    state.event_hash = checkpoint.event_hash;
    state.before_rejections.clear();
    state.rewound = true;
    state.stores_ahead = true;
  }
  for (auto& [org, partition] : orgs) {
    partitions_[partition].gone.emplace(org, partition);
  }
}

absl::Status StoreManagerImpl::NoteRewind(PartitionId partition) {
  std::map<std::string, PartitionId> gone;
  PartitionCheckpoint checkpoint;
  {
    absl::MutexLock lock(&mutex_);
    gone = partitions_[partition].gone;
    checkpoint = partitions_[partition].checkpoint;
  }
  if (gone.empty()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(node_->Rewind(gone, {{partition, checkpoint}}));
  absl::MutexLock lock(&mutex_);
  partitions_[partition].gone.clear();
  return absl::OkStatus();
}

// Folders of closed incarnations: a crash came between the closed mark and the deletion.
void StoreManagerImpl::RemoveLeftovers(const NodeStore::State& state) {
  for (const auto& [name, mark] : state.closed) {
    const auto registered = state.orgs.find(name);
    const std::filesystem::path folder(options_.path + "/orgs/" + name);
    std::error_code error;
    std::vector<std::filesystem::path> leftovers;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error)) {
      const std::string incarnation = entry.path().filename().string();
      uint32_t number = 0;
      const char* end = incarnation.data() + incarnation.size();
      const auto parsed = std::from_chars(incarnation.data(), end, number);
      const bool in_use =
          registered != state.orgs.end() && registered->second.incarnation == number;
      const std::string_view rest(parsed.ptr, static_cast<size_t>(end - parsed.ptr));
      if (parsed.ec == std::errc() && (rest.empty() || rest.starts_with(".damaged-")) &&
          number <= mark.incarnation && !in_use) {
        leftovers.push_back(entry.path());
      }
    }
    for (const std::filesystem::path& path : leftovers) {
      std::filesystem::remove_all(path, error);
      spdlog::info("store_removed path={}", path.string());
    }
    if (std::filesystem::is_empty(folder, error) && !error) {
      std::filesystem::remove(folder, error);
    }
  }
}

PartitionCheckpoint StoreManagerImpl::LastCheckpoint(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  return partitions_[partition].checkpoint;
}

Offset StoreManagerImpl::CheckpointOf(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  Partition& state = partitions_[partition];
  state.rewound = false;
  ++state.reading;
  apart_.BeginAt(partition, state.checkpoint.next);
  return state.checkpoint.next;
}

uint64_t StoreManagerImpl::ReadingOf(PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  return partitions_[partition].reading;
}

Offset StoreManagerImpl::ClosedUntil(const OrgId& org) {
  absl::MutexLock lock(&mutex_);
  const auto found = closed_.find(org.value());
  return found == closed_.end() ? kNoOffset : found->second.offset;
}

// What an organisation's next event is folded onto: an incarnation that is closed stays closed.
std::shared_ptr<const OrgModel> StoreManagerImpl::ModelWithoutStore(const OrgId& org) {
  absl::MutexLock lock(&mutex_);
  const auto found = closed_.find(org.value());
  return found == closed_.end() ? OrgModel::Empty() : OrgModel::Closed(found->second.incarnation);
}

absl::StatusOr<std::shared_ptr<const RocksSnapshot>> StoreManagerImpl::PublishedOf(
    const StoreSet::SlotPtr& slot) {
  const OrgId& org = slot->org;
  auto store = stores_.Acquire(slot, /*reader=*/true);
  if (absl::Status same = store.ok() ? comparer_.AwaitForReader(slot) : absl::OkStatus();
      !same.ok()) {
    store = std::move(same);
  }
  if (!store.ok()) {
    const std::string code = ErrorCode(store.status());
    if (code == "log_truncated" || code == "log_diverged") {
      return Error(StatusCode::kUnavailable, code, Message(store.status()));
    }
    const bool known = slot->io_error_seen;
    NoteTrouble(*slot, store.status());
    if (code == kStoreRewound) {
      if (!options_.sets_apart) {
        RETURN_IF_ERROR(stores_.Explain(slot, BehindCheckpoint(*slot)));
      }
      return NotCaughtUp(org, "is behind");
    }
    if (options_.sets_apart && (absl::IsDataLoss(store.status()) || code == "store_missing" ||
                                absl::IsFailedPrecondition(store.status()))) {
      return NotCaughtUp(org, "has to be built anew");
    }
    if (code == "store_missing") {
      return OrgNotFound(org);
    }
    if (code == "stores_busy" || !options_.sets_apart) {
      return store.status();
    }
    if (!known) {
      // What it is has the folder's name in it, which is for the log.
      spdlog::warn("store_not_opened org={} error=\"{}\"", org.value(), Message(store.status()));
      metrics_.CountError();
    }
    return Error(store.status().code(), code,
                 "the store of organisation {} cannot be used at the moment: try again later",
                 org.value());
  }
  auto published = (*store)->published();
  if (published == nullptr) {
    return Error(StatusCode::kUnavailable, "not_caught_up",
                 "a large change of organisation {} is being applied: try again", org.value());
  }
  return published;
}

absl::StatusOr<std::shared_ptr<const RocksSnapshot>> StoreManagerImpl::Published(const OrgId& org) {
  const StoreSet::SlotPtr slot = stores_.Find(org);
  const uint32_t set_back = slot == nullptr ? 0 : slot->set_back.load();
  if (Hidden(org, slot)) {
    return NotCaughtUp(org, "is being built anew");
  }
  if (slot == nullptr) {
    return OrgNotFound(org);
  }
  auto published = PublishedOf(slot);
  // Looked at before and after: a store that is set back in between may have been read as it was
  // before, and a position must not be shown that it does not reach any more.
  if (published.ok() && slot->set_back != set_back) {
    return NotCaughtUp(org, "has been set back");
  }
  return published;
}

absl::StatusOr<std::shared_ptr<const OrgSnapshot>> StoreManagerImpl::Snapshot(const OrgId& org) {
  ASSIGN_OR_RETURN(std::shared_ptr<const RocksSnapshot> snapshot, Published(org));
  if (!snapshot->model()->open()) {
    return OrgNotFound(org);  // made, but its first events are yet to be applied
  }
  return snapshot;
}

absl::StatusOr<std::optional<Offset>> StoreManagerImpl::FindChangeSet(const OrgId& org,
                                                                      std::string_view source,
                                                                      std::string_view id) {
  ASSIGN_OR_RETURN(const auto snapshot, Published(org));
  const std::string key = ChangeSetKey(source, id);
  const auto sets = snapshot->reader().GetChangeSets({&key, 1});
  RETURN_IF_ERROR(snapshot->Note(sets.status()));
  const std::optional<AppliedSet>& found = sets->front();
  // In the window of the next event there can be, which is the one that the caller would append.
  if (!found.has_value() || snapshot->applied().events - found->ordinal >=
                                static_cast<uint64_t>(options_.fold.dedup_window)) {
    return std::nullopt;
  }
  return found->offset;
}

uint64_t StoreManagerImpl::Subscribe(const OrgId& org, AppliedCallback callback) {
  return subscriptions_.Add(org, std::move(callback));
}

void StoreManagerImpl::Unsubscribe(uint64_t subscription) { subscriptions_.Remove(subscription); }

Offset StoreManagerImpl::AppliedOf(const OrgId& org) {
  const auto snapshot = Published(org);
  // Of a closed organisation the last that is known is its closing.
  return snapshot.ok() ? (*snapshot)->applied().position : ClosedUntil(org);
}

// A checkpoint vouches for what it noted. Once the partition has caught up there is no store that
// holds more and has not been opened: the fold has come by its last event.
Offset StoreManagerImpl::KnownAppliedOf(const OrgId& org) {
  const StoreSet::SlotPtr slot = stores_.Find(org);
  if (slot == nullptr || Hidden(org, slot)) {
    return ClosedUntil(org);
  }
  const int64_t seen =
      slot->checked ? std::max(slot->committed.load(), slot->durable.load()) : kNoOffset.value();
  return std::max(Offset(std::max(seen, slot->noted.load())), ClosedUntil(org));
}

absl::StatusOr<std::vector<StoreManager::OrgStat>> StoreManagerImpl::ListStores() {
  std::vector<OrgStat> stats;
  for (const StoreSet::SlotPtr& slot : stores_.All()) {
    const auto snapshot = PublishedOf(slot);
    if (absl::IsNotFound(snapshot.status())) {
      continue;  // closed meanwhile
    }
    AppliedState applied;
    if (snapshot.ok()) {
      applied = (*snapshot)->applied();
    } else if (ErrorCode(snapshot.status()) == "not_caught_up") {
      const auto store = stores_.Acquire(slot, /*reader=*/true);
      applied = store.ok() ? (*store)->opened_amid().value_or(AppliedState()) : AppliedState();
    }
    stats.push_back({slot->org, slot->registration.partition, slot->registration.incarnation,
                     std::move(applied), FolderBytes(slot->path), snapshot.status()});
  }
  return stats;
}

absl::Status StoreManagerImpl::Verify(const OrgId& org) {
  ASSIGN_OR_RETURN(const auto snapshot, Published(org));
  return VerifySnapshot(*snapshot);
}

absl::StatusOr<std::string> StoreManagerImpl::Digest(const OrgId& org) {
  ASSIGN_OR_RETURN(const auto snapshot, Published(org));
  return DigestSnapshot(*snapshot, options_.fold.dedup_window);
}

absl::Status StoreManagerImpl::Close() {
  // First, because a comparison holds its store open.
  comparer_.Stop();
  // No checkpoint: the projector alone knows which rejections are in the dead letters.
  const absl::Status first = stores_.CloseAll();
  stores_.UpdateMetrics();
  node_.reset();
  return first;
}

}  // namespace sluice::projectors

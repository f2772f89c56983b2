#include "projectors/store/store_set.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "projectors/store/store_folder.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

constexpr std::string_view kDamagedSuffix = ".damaged-";

// Folders that MoveAside() has made of `path`, each with its number.
std::vector<std::pair<int, std::filesystem::path>> DamagedFoldersOf(const std::string& path) {
  const std::string prefix =
      std::filesystem::path(path).filename().string() + std::string(kDamagedSuffix);
  std::vector<std::pair<int, std::filesystem::path>> folders;
  std::error_code error;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(path).parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    int number = 0;
    if (name.starts_with(prefix) &&
        std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number).ec ==
            std::errc()) {
      folders.emplace_back(number, entry.path());
    }
  }
  std::sort(folders.begin(), folders.end());
  return folders;
}

void RemoveFolder(const std::string& path) {
  std::error_code error;
  for (const auto& [number, damaged] : DamagedFoldersOf(path)) {
    std::filesystem::remove_all(damaged, error);
  }
  std::filesystem::remove_all(path, error);
  if (error) {
    spdlog::warn("store_not_removed path={} error=\"{}\"", path, error.message());
    return;
  }
  // The organisation's own folder, when this was its last incarnation; otherwise it is not empty.
  std::filesystem::remove(std::filesystem::path(path).parent_path(), error);
}

absl::Status NamingOrg(const absl::Status& status, const OrgId& org, const std::string& path) {
  const std::string name = fmt::format("organisation {}", org.value());
  if (Message(status).find(name) != std::string_view::npos) {
    return status;
  }
  if (status.ok() || ErrorCode(status) != "store_corrupt") {
    return Annotate(status, name);
  }
  return Annotate(
      status, "the store of {} is damaged; delete the folder {} and it is built anew from the log",
      name, path);
}

}  // namespace

StoreSet::StoreSet(std::shared_ptr<RocksEnv> env, StoreMetrics& metrics, std::string orgs_path,
                   std::string log_id)
    : env_(std::move(env)),
      metrics_(metrics),
      orgs_path_(std::move(orgs_path)),
      log_id_(std::move(log_id)) {}

StoreSet::SlotPtr StoreSet::Find(const OrgId& org) const {
  absl::MutexLock lock(&mutex_);
  const auto found = slots_.find(org.value());
  return found == slots_.end() ? nullptr : found->second;
}

std::vector<StoreSet::SlotPtr> StoreSet::All() const {
  absl::MutexLock lock(&mutex_);
  return Collect(slots_, [](const auto& entry) { return entry.second; });
}

std::string StoreSet::PathOf(const OrgId& org, uint32_t incarnation) const {
  return fmt::format("{}/{}/{}", orgs_path_, org.value(), incarnation);
}

void StoreSet::Add(const OrgId& org, const OrgRegistration& registration, Offset flushed) {
  auto slot = std::make_shared<Slot>(org, registration, PathOf(org, registration.incarnation));
  slot->noted = flushed.value();
  slot->durable = flushed.value();
  Publish(std::move(slot));
}

absl::StatusOr<StoreSet::SlotPtr> StoreSet::Create(const OrgId& org,
                                                   const OrgRegistration& registration) {
  auto slot = std::make_shared<Slot>(org, registration, PathOf(org, registration.incarnation));
  // What no registration names was left by a crash or put there by hand: the log is the truth.
  std::error_code error;
  std::filesystem::remove_all(slot->path, error);
  absl::MutexLock lock(&slot->mutex);
  RETURN_IF_ERROR(Open(*slot));
  return slot;
}

void StoreSet::Publish(SlotPtr slot) {
  slot->last_used = ++tick_;
  absl::MutexLock lock(&mutex_);
  slots_[slot->org.value()] = std::move(slot);
}

void StoreSet::Retire(const SlotPtr& slot) {
  absl::MutexLock slot_lock(&slot->mutex);
  // Out of the set before its folder goes: who holds the slot still finds it retired, and nobody
  // finds a slot whose folder is half gone.
  slot->retired = true;
  {
    absl::MutexLock lock(&mutex_);
    Forget(slot);
    if (slot->store != nullptr) {
      retired_.push_back(slot->store->database());
    }
  }
  if (slot->store == nullptr) {
    RemoveFolder(slot->path);
  } else {
    Close(*slot);
  }
}

absl::Status StoreSet::Open(Slot& slot) {
  auto opened = RocksStore::Open(
      env_, slot.path, StoreIdentity{log_id_, slot.org.value(), slot.registration.incarnation});
  if (!opened.ok()) {
    return NamingOrg(opened.status(), slot.org, slot.path);
  }
  slot.opened_at = (*opened)->applied();
  const int64_t applied = slot.opened_at.position.value();
  const int64_t known = std::max(slot.durable.load(), slot.committed.load());
  slot.behind = applied < std::max(slot.noted.load(), known);
  if (!slot.behind) {
    const bool vouched_for = applied == kNoOffset.value() ||
                             (applied <= slot.noted && !slot.opened_at.partial.has_value());
    slot.checked = !check_ || vouched_for || (slot.checked && applied <= known);
    slot.durable = applied;
  }
  slot.store = *std::move(opened);
  slot.open = true;
  ++open_count_;
  return absl::OkStatus();
}

void StoreSet::Close(Slot& slot) {
  slot.store.reset();
  slot.behind = false;
  slot.open = false;
  --open_count_;
}

absl::StatusOr<std::shared_ptr<RocksStore>> StoreSet::Acquire(const SlotPtr& slot, bool reader) {
  slot->last_used = ++tick_;
  if (!slot->open && open_count() >= env_->open_stores_max()) {
    EvictIdle();
    if (reader && open_count() >= 2 * env_->open_stores_max()) {
      return Error(StatusCode::kResourceExhausted, "stores_busy",
                   "{} stores are open and in use: try again later", open_count());
    }
  }
  absl::MutexLock lock(&slot->mutex);
  if (slot->retired) {
    return Error(StatusCode::kNotFound, "org_not_found", "organisation {} has been closed",
                 slot->org.value());
  }
  if (slot->store == nullptr) {
    ASSIGN_OR_RETURN(const FolderState state, InspectFolder(slot->path));
    if (state == FolderState::kMissing) {
      return Error(StatusCode::kNotFound, "store_missing",
                   "the store of organisation {} is being built anew", slot->org.value());
    }
    RETURN_IF_ERROR(Open(*slot));
  }
  if (slot->behind) {
    return Error(StatusCode::kAborted, kStoreRewound,
                 "the store of organisation {} ends at offset {}, but had {}: its folder was "
                 "restored, or has lost what was not on disk",
                 slot->org.value(), slot->opened_at.position.value(),
                 std::max({slot->noted.load(), slot->durable.load(), slot->committed.load()}));
  }
  return slot->store;
}

absl::Status StoreSet::Compare(const SlotPtr& slot) {
  // Held, so that it is not closed, and another folder opened, meanwhile.
  ASSIGN_OR_RETURN(const std::shared_ptr<RocksStore> store, Acquire(slot, /*reader=*/true));
  AppliedState opened_at;
  uint32_t doubts = 0;
  {
    absl::MutexLock lock(&slot->mutex);
    if (slot->checked) {
      return absl::OkStatus();
    }
    opened_at = slot->opened_at;
    doubts = slot->doubts;
  }
  // Without the slot's lock: who folds it does not wait for the log's answer.
  RETURN_IF_ERROR_CTX(check_(*slot, opened_at), "organisation {}", slot->org.value());
  absl::MutexLock lock(&slot->mutex);
  // A doubt that came while the log was asked is one of what was asked, too.
  slot->checked = slot->checked || slot->doubts == doubts;
  return absl::OkStatus();
}

void StoreSet::MarkChecked(Slot& slot) {
  absl::MutexLock lock(&slot.mutex);
  slot.checked = true;
}

void StoreSet::Doubt(Slot& slot) const {
  absl::MutexLock lock(&slot.mutex);
  if (check_ && slot.store != nullptr) {
    slot.opened_at = slot.store->applied();
  }
  slot.checked = !check_;
  ++slot.doubts;
}

absl::Status StoreSet::CloseUnlessBusy(Slot& slot, std::string_view wanted) {
  if (slot.store == nullptr) {
    return absl::OkStatus();
  }
  if (slot.store.use_count() != 1 || !slot.store->idle()) {
    return Error(StatusCode::kUnavailable, "store_busy",
                 "the store of organisation {} is to be {}, but is being read: try again later",
                 slot.org.value(), wanted);
  }
  Close(slot);
  return absl::OkStatus();
}

absl::Status StoreSet::Reopen(const SlotPtr& slot) {
  absl::MutexLock lock(&slot->mutex);
  RETURN_IF_ERROR(CloseUnlessBusy(*slot, "opened anew"));
  return Open(*slot);
}

bool StoreSet::HasLost(Slot& slot) {
  absl::MutexLock lock(&slot.mutex);
  const int64_t held =
      slot.store != nullptr ? slot.store->database()->applied() : slot.durable.load();
  return slot.behind || held < slot.committed;
}

Offset StoreSet::Held(Slot& slot) {
  absl::MutexLock lock(&slot.mutex);
  return Offset(slot.store != nullptr ? slot.store->database()->applied() : slot.durable.load());
}

void StoreSet::SetBack(Slot& slot, Offset held) {
  absl::MutexLock lock(&slot.mutex);
  if (slot.behind && slot.opened_at.position < held) {
    return;  // opened since it was looked: that is told, too
  }
  if (held.value() < std::max(slot.noted.load(), slot.durable.load())) {
    slot.noted = kNoOffset.value();
    slot.durable = held.value();
    slot.checked = !check_;
    ++slot.doubts;
  }
  slot.committed = held.value();
  slot.behind = false;
  ++slot.set_back;
}

absl::Status StoreSet::MoveAside(const SlotPtr& slot) {
  absl::MutexLock lock(&slot->mutex);
  RETURN_IF_ERROR(CloseUnlessBusy(*slot, "built anew"));
  const auto earlier = DamagedFoldersOf(slot->path);
  const int number = earlier.empty() ? 1 : earlier.back().first + 1;
  const std::string aside = fmt::format("{}{}{}", slot->path, kDamagedSuffix, number);
  std::error_code error;
  std::filesystem::rename(slot->path, aside, error);
  if (error == std::errc::not_a_directory) {
    // A file is where the organisation's folder was.
    const std::string parent = std::filesystem::path(slot->path).parent_path().string();
    std::filesystem::rename(parent, fmt::format("{}{}1", parent, kDamagedSuffix), error);
    error = error ? error : std::make_error_code(std::errc::no_such_file_or_directory);
  }
  if (error && error != std::errc::no_such_file_or_directory) {
    return Error(StatusCode::kUnavailable, "store_io_error", "the folder {} cannot be renamed: {}",
                 slot->path, error.message());
  }
  if (!error) {
    spdlog::warn("store_moved_aside org={} to={}", slot->org.value(), aside);
    for (const auto& [old, path] : earlier) {
      std::filesystem::remove_all(path, error);
    }
  }
  slot->retired = true;
  absl::MutexLock set_lock(&mutex_);
  Forget(slot);
  return absl::OkStatus();
}

void StoreSet::Forget(const SlotPtr& slot) {
  const auto found = slots_.find(slot->org.value());
  if (found != slots_.end() && found->second == slot) {
    slots_.erase(found);
  }
}

absl::Status StoreSet::Explain(const SlotPtr& slot, const absl::Status& error) {
  if (!absl::IsDataLoss(error)) {
    return error;
  }
  absl::MutexLock lock(&slot->mutex);
  if (slot->store != nullptr && slot->store.use_count() == 1 && slot->store->idle()) {
    Close(*slot);
  }
  return NamingOrg(error, slot->org, slot->path);
}

std::vector<StoreSet::SlotPtr> StoreSet::OpenSlots() const {
  std::vector<std::pair<uint64_t, SlotPtr>> open;
  for (SlotPtr& slot : All()) {
    if (slot->open) {
      const uint64_t used = slot->last_used;
      open.emplace_back(used, std::move(slot));
    }
  }
  std::sort(open.begin(), open.end());
  return Collect(open, [](auto& used) { return std::move(used.second); });
}

bool StoreSet::Evict(Slot& slot) {
  if (!slot.mutex.TryLock()) {
    return false;
  }
  bool closed = false;
  if (slot.store != nullptr && slot.store.use_count() == 1 && slot.store->idle()) {
    // Nothing is closed with writes that are not on disk: without a log of their own, these would
    // be gone, and the store behind what it was known to hold.
    const absl::Status flushed = slot.store->dirty() ? slot.store->Flush() : absl::OkStatus();
    if (flushed.ok()) {
      if (!slot.behind) {
        slot.durable = slot.store->database()->applied();
      }
      Close(slot);
      closed = true;
    } else {
      metrics_.CountError();
      spdlog::warn("store_not_flushed org={} error=\"{}\"", slot.org.value(), Message(flushed));
    }
  }
  slot.mutex.Unlock();
  return closed;
}

void StoreSet::EvictIdle() {
  if (open_count() < env_->open_stores_max()) {
    return;
  }
  for (const SlotPtr& slot : OpenSlots()) {
    if (open_count() < env_->open_stores_max()) {
      return;
    }
    if (Evict(*slot)) {
      metrics_.CountEviction();
    }
  }
}

void StoreSet::Reap() {
  std::vector<std::shared_ptr<OrgDb>> unused;
  {
    absl::MutexLock lock(&mutex_);
    const auto used = [](const std::shared_ptr<OrgDb>& db) { return db.use_count() > 1; };
    const auto first = std::partition(retired_.begin(), retired_.end(), used);
    unused.assign(std::make_move_iterator(first), std::make_move_iterator(retired_.end()));
    retired_.erase(first, retired_.end());
  }
  for (std::shared_ptr<OrgDb>& db : unused) {
    const std::string path = db->path();
    db.reset();
    RemoveFolder(path);
    spdlog::info("store_removed path={}", path);
  }
}

void StoreSet::RelieveMemory() {
  // RocksDB's manager flushes only the store that is being written to, so many stores with little
  // each could keep it flushing for every batch.
  if (env_->memtable_bytes() < env_->write_buffer_bytes() / 4 * 3) {
    return;
  }
  std::shared_ptr<RocksStore> largest;
  size_t bytes_max = 0;
  for (const SlotPtr& slot : OpenSlots()) {
    absl::MutexLock lock(&slot->mutex);
    if (slot->store != nullptr && slot->store->dirty()) {
      const size_t bytes = slot->store->memtable_bytes();
      if (bytes > bytes_max) {
        bytes_max = bytes;
        largest = slot->store;
      }
    }
  }
  if (largest != nullptr) {
    if (const absl::Status status = largest->Flush(/*wait=*/false); !status.ok()) {
      metrics_.CountError();
    }
  }
}

absl::Status StoreSet::CloseAll() {
  absl::Status first;
  for (const SlotPtr& slot : All()) {
    absl::MutexLock lock(&slot->mutex);
    if (slot->store != nullptr) {
      first.Update(slot->store->dirty() ? slot->store->Flush() : absl::OkStatus());
      Close(*slot);
    }
    slot->retired = true;
  }
  Reap();
  return first;
}

void StoreSet::UpdateMetrics() {
  StoreMetrics::Levels levels;
  levels.open_stores = open_count();
  levels.cache_bytes = env_->cache_bytes();
  levels.memtable_bytes = env_->memtable_bytes();
  levels.snapshots_held =
      std::max<int64_t>(0, env_->snapshots() - static_cast<int64_t>(levels.open_stores));
  {
    absl::MutexLock lock(&mutex_);
    levels.stores = slots_.size();
  }
  metrics_.Set(levels);
}

}  // namespace sluice::projectors

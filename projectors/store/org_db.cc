#include "projectors/store/org_db.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/metadata.h>
#include <rocksdb/sst_file_reader.h>

#include <algorithm>
#include <utility>

#include "projectors/store/store_folder.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"

namespace sluice::projectors {

absl::StatusOr<std::shared_ptr<OrgDb>> OrgDb::Open(std::shared_ptr<RocksEnv> env,
                                                   std::string path) {
  const std::string what = fmt::format("opening store {}", path);
  ASSIGN_OR_RETURN(const FolderState state, InspectFolder(path));
  if (state == FolderState::kDamaged) {
    return Error(StatusCode::kDataLoss, "store_corrupt",
                 what + ": there are tables but no file CURRENT");
  }
  RETURN_IF_ERROR_CTX(PrepareFolder(path), what);
  std::shared_ptr<OrgDb> opened(new OrgDb());
  opened->env_ = std::move(env);
  opened->path_ = std::move(path);
  opened->flushed_events_ = std::make_shared<std::atomic<uint64_t>>(0);
  const rocksdb::Status status = rocksdb::DB::Open(
      opened->env_->DatabaseOptions(), opened->path_,
      opened->env_->StoreFamilies(opened->flushed_events_), &opened->handles_, &opened->db_);
  RETURN_IF_ERROR(FromRocks(status, what));
  return opened;
}

absl::Status OrgDb::Note(absl::Status status) const {
  if (ErrorCode(status) == "store_io_error") {
    io_failed_ = true;
    env_->damage_seen() = true;
  }
  if (!absl::IsDataLoss(status)) {
    return status;
  }
  damaged_ = true;
  env_->damage_seen() = true;
  return Error(StatusCode::kDataLoss, "store_corrupt", Message(status));
}

std::vector<std::string> OrgDb::Tables() const {
  std::vector<rocksdb::LiveFileMetaData> tables;
  db_->GetLiveFilesMetaData(&tables);
  return Collect(tables, [](const auto& table) { return table.db_path + table.name; });
}

absl::Status OrgDb::ReadTable(const std::string& name) const {
  rocksdb::Options options;
  options.env = db_->GetEnv();
  rocksdb::SstFileReader reader(options);
  rocksdb::Status status = reader.Open(name);
  status = status.ok() ? reader.VerifyChecksum() : status;
  if (!status.ok()) {
    const std::vector<std::string> now = Tables();
    if (std::ranges::find(now, name) == now.end()) {
      return absl::OkStatus();  // a compaction has read all of it, and taken it away
    }
  }
  return FromRocks(status, fmt::format("reading store {} as a whole", path_));
}

absl::Status OrgDb::ReadOn(std::chrono::milliseconds time) {
  if (!io_failed_) {
    return absl::OkStatus();
  }
  if (to_read_.empty()) {
    to_read_ = Tables();
  }
  const auto until = std::chrono::steady_clock::now() + time;
  while (!to_read_.empty()) {
    if (absl::Status read = ReadTable(to_read_.back()); !read.ok()) {
      to_read_.clear();
      return read;
    }
    to_read_.pop_back();
    if (!to_read_.empty() && std::chrono::steady_clock::now() >= until) {
      return Error(StatusCode::kUnavailable, kStoreReading,
                   "store {} is being read as a whole: {} tables are left", path_, to_read_.size());
    }
  }
  io_failed_ = false;
  return absl::OkStatus();
}

OrgDb::~OrgDb() {
  if (db_ == nullptr) {
    return;
  }
  for (rocksdb::ColumnFamilyHandle* handle : handles_) {
    (void)db_->DestroyColumnFamilyHandle(handle);
  }
  delete db_;
}

}  // namespace sluice::projectors

#include "projectors/store/org_db.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/metadata.h>
#include <rocksdb/sst_file_reader.h>

#include <algorithm>
#include <utility>

#include "projectors/store/store_folder.h"
#include "schemas/status.h"

namespace sluice::projectors {

absl::StatusOr<std::shared_ptr<OrgDb>> OrgDb::Open(std::shared_ptr<RocksEnv> env,
                                                   std::string path) {
  const std::string what = fmt::format("opening store {}", path);
  ASSIGN_OR_RETURN(const FolderState state, InspectFolder(path));
  if (state == FolderState::kDamaged) {
    return Error(absl::StatusCode::kDataLoss, "store_corrupt",
                 what + ": there are tables but no file CURRENT");
  }
  RETURN_IF_ERROR_CTX(PrepareFolder(path), what);
  std::shared_ptr<OrgDb> opened(new OrgDb());
  opened->env_ = std::move(env);
  opened->path_ = std::move(path);
  opened->flushed_events_ = std::make_shared<std::atomic<uint64_t>>(0);
  const rocksdb::Status status = rocksdb::DB::Open(
      opened->env_->StoreOptions(), opened->path_,
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
  return Error(absl::StatusCode::kDataLoss, "store_corrupt", Message(status));
}

absl::Status OrgDb::ReadOn() {
  if (!io_failed_) {
    return absl::OkStatus();
  }
  std::vector<rocksdb::LiveFileMetaData> tables;
  db_->GetLiveFilesMetaData(&tables);
  const auto left = std::ranges::find_if(
      tables, [this](const auto& table) { return !read_.contains(table.name); });
  if (left == tables.end()) {
    read_.clear();
    io_failed_ = false;
    return absl::OkStatus();
  }
  rocksdb::Options options;
  options.env = db_->GetEnv();
  rocksdb::SstFileReader reader(options);
  rocksdb::Status status = reader.Open(left->db_path + left->name);
  status = status.ok() ? reader.VerifyChecksum() : status;
  std::vector<rocksdb::LiveFileMetaData> now;
  db_->GetLiveFilesMetaData(&now);
  const bool live =
      std::ranges::any_of(now, [&](const auto& table) { return table.name == left->name; });
  if (!status.ok() && live) {  // otherwise a compaction has taken it away meanwhile
    read_.clear();
    return FromRocks(status, fmt::format("reading store {} as a whole", path_));
  }
  read_.insert(left->name);
  return Error(absl::StatusCode::kUnavailable, "store_busy",
               fmt::format("store {} is being read as a whole: {} of {} tables are read", path_,
                           read_.size(), tables.size()));
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

#include "projectors/store/org_db.h"

#include <fmt/format.h>
#include <rocksdb/db.h>

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

absl::Status OrgDb::ReadWhole() {
  if (io_failed_) {
    RETURN_IF_ERROR(FromRocks(db_->VerifyChecksum(rocksdb::ReadOptions()),
                              fmt::format("reading store {} as a whole", path_)));
    io_failed_ = false;
  }
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

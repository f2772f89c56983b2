#include "projectors/store/org_db.h"

#include <fmt/format.h>
#include <rocksdb/db.h>

#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "schemas/status.h"

namespace sluice::projectors {

FolderState InspectFolder(const std::string& path) {
  std::error_code error;
  bool current = false;
  bool data = false;
  for (const auto& entry : std::filesystem::directory_iterator(path, error)) {
    const std::string name = entry.path().filename().string();
    current = current || name == "CURRENT";
    std::error_code size_error;
    const bool log_with_data =
        entry.path().extension() == ".log" && entry.file_size(size_error) > 0 && !size_error;
    data = data || entry.path().extension() == ".sst" || log_with_data;
  }
  if (current) {
    return FolderState::kPresent;
  }
  return data ? FolderState::kDamaged : FolderState::kMissing;
}

absl::StatusOr<std::shared_ptr<OrgDb>> OrgDb::Open(std::shared_ptr<RocksEnv> env,
                                                   std::string path) {
  const std::string what = fmt::format("opening store {}", path);
  if (InspectFolder(path) == FolderState::kDamaged) {
    return Error(absl::StatusCode::kDataLoss, "store_corrupt",
                 what + ": there are tables but no file CURRENT");
  }
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) {
    return FromRocks(rocksdb::Status::IOError(error.message()), what);
  }
  std::shared_ptr<OrgDb> opened(new OrgDb());
  opened->env_ = std::move(env);
  opened->path_ = std::move(path);
  opened->applied_ = std::make_shared<std::atomic<int64_t>>(-1);
  const rocksdb::Status status = rocksdb::DB::Open(opened->env_->StoreOptions(), opened->path_,
                                                   opened->env_->StoreFamilies(opened->applied_),
                                                   &opened->handles_, &opened->db_);
  RETURN_IF_ERROR(FromRocks(status, what));
  return opened;
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

#include "projectors/store/node_store.h"

#include <fmt/format.h>
#include <rocksdb/db.h>
#include <rocksdb/write_batch.h>

#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "projectors/store/rocks_slice.h"
#include "projectors/store/store_folder.h"
#include "schemas/base/byte_codec.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

constexpr std::string_view kLogIdKey = "log_id";
constexpr std::string_view kFormatKey = "format";
constexpr char kCheckpointPrefix[] = "p/";
constexpr char kOrgPrefix[] = "o/";
constexpr char kClosedPrefix[] = "c/";
constexpr char kFlushedPrefix[] = "f/";
constexpr char kApartPrefix[] = "a/";
constexpr char kNotedPrefix[] = "h/";
constexpr char kLostPrefix[] = "l/";

std::string OfPartition(std::string key, PartitionId partition) {
  PutFixed32(static_cast<uint32_t>(partition.value()), &key);
  return key;
}

PartitionId PartitionIn(ByteReader& key) {
  return PartitionId(static_cast<int32_t>(key.Fixed32()));
}

std::string CheckpointKey(PartitionId partition) {
  return OfPartition(kCheckpointPrefix, partition);
}

std::string RejectionKey(PartitionId partition, const Rejected& rejected) {
  return OfPartition(std::string(kRejectedPrefix), partition) +
         EncodeRejectedKey(rejected.offset, rejected.op_index).substr(kRejectedPrefix.size());
}

std::string ApartPrefix(PartitionId partition) { return OfPartition(kApartPrefix, partition); }

void PutFormat(rocksdb::WriteBatch* batch) {
  std::string format;
  PutVarint(kStoreFormat, &format);
  (void)batch->Put(ToSlice(kFormatKey), format);
}

void PutNoted(PartitionId partition, const NotedEvent& noted, rocksdb::WriteBatch* batch) {
  if (noted.offset != kNoOffset) {
    (void)batch->Put(OfPartition(kNotedPrefix, partition), EncodeNoted(noted));
  }
}

std::string EncodeApart(const ApartOrg& apart) {
  std::string out;
  PutSigned(apart.next.value(), &out);
  PutVarint(apart.hidden ? 1 : 0, &out);
  return out + apart.reason;
}

// `name`: what follows kApartPrefix in the key.
absl::Status LoadApart(std::string_view name, std::string_view value, NodeStore::State* state) {
  ByteReader key(name);
  const PartitionId partition = PartitionIn(key);
  ASSIGN_OR_RETURN(OrgId org, OrgId::Parse(key.rest()));
  ByteReader reader(value);
  const Offset next(reader.Signed());
  const bool hidden = reader.Varint32() != 0;
  state->apart[partition].push_back({std::move(org), next, std::string(reader.rest()), hidden, 0});
  return next.value() >= 0 ? absl::OkStatus()
                           : absl::DataLossError("malformed entry of who is apart");
}

absl::Status Corrupt(std::string_view path, std::string_view why) {
  return Error(StatusCode::kDataLoss, "store_corrupt",
               "node store {} is damaged ({}): stop the process and delete the folder; all stores "
               "are then built anew from the log",
               path, why);
}

absl::Status LoadEntry(std::string_view key, std::string_view value, NodeStore::State* state) {
  const std::string_view name = key.substr(std::min<size_t>(key.size(), 2));
  ByteReader reader(name);
  if (key.starts_with(kCheckpointPrefix)) {
    ASSIGN_OR_RETURN(state->checkpoints[PartitionIn(reader)], DecodeCheckpoint(value));
  } else if (key.starts_with(kOrgPrefix)) {
    ASSIGN_OR_RETURN(state->orgs[std::string(name)], DecodeRegistration(value));
  } else if (key.starts_with(kClosedPrefix)) {
    ASSIGN_OR_RETURN(state->closed[std::string(name)], DecodeClosedMark(value));
  } else if (key.starts_with(kFlushedPrefix)) {
    ASSIGN_OR_RETURN(state->flushed[std::string(name)], DecodeFlushed(value));
  } else if (key.starts_with(kNotedPrefix)) {
    ASSIGN_OR_RETURN(state->noted[PartitionIn(reader)], DecodeNoted(value));
  } else if (key.starts_with(kLostPrefix)) {
    ASSIGN_OR_RETURN(state->lost[PartitionIn(reader)], DecodeNoted(value));
  } else if (key.starts_with(kApartPrefix)) {
    RETURN_IF_ERROR(LoadApart(name, value, state));
  } else if (key.starts_with(kRejectedPrefix)) {
    const PartitionId partition = PartitionIn(reader);
    const std::string in_store = std::string(kRejectedPrefix).append(reader.rest());
    ASSIGN_OR_RETURN(Rejected rejected, DecodeRejected(in_store, value));
    state->rejected[partition].push_back(std::move(rejected));
  }
  return absl::OkStatus();
}

}  // namespace

NodeStore::NodeStore(std::shared_ptr<RocksEnv> env, std::string path)
    : env_(std::move(env)), path_(std::move(path)) {}

NodeStore::~NodeStore() = default;

absl::StatusOr<std::unique_ptr<NodeStore>> NodeStore::Open(std::shared_ptr<RocksEnv> env,
                                                           const std::string& path,
                                                           const std::string& log_id,
                                                           std::span<const std::string> former) {
  ASSIGN_OR_RETURN(const FolderState folder, InspectFolder(path));
  if (folder == FolderState::kDamaged) {
    return Corrupt(path, "there is data but no file CURRENT");
  }
  std::error_code error;
  if (log_id.empty() && !std::filesystem::exists(path, error)) {
    return Error(StatusCode::kNotFound, "store_missing",
                 "there are no stores in {}: name the server's data folder",
                 std::filesystem::path(path).parent_path().string());
  }
  RETURN_IF_ERROR_CTX(PrepareFolder(path), "opening node store {}", path);
  std::unique_ptr<NodeStore> store(new NodeStore(std::move(env), path));
  rocksdb::DB* db = nullptr;
  const rocksdb::Status status = rocksdb::DB::Open(store->env_->NodeOptions(), path, &db);
  store->db_.reset(db);
  const absl::Status opened = FromRocks(status, fmt::format("opening node store {}", path));
  if (ErrorCode(opened) == "store_corrupt") {
    return Corrupt(path, status.ToString());
  }
  RETURN_IF_ERROR(opened);
  RETURN_IF_ERROR(store->Init(log_id, former));
  return store;
}

absl::Status NodeStore::Init(const std::string& log_id, std::span<const std::string> former) {
  const std::string what = fmt::format("reading node store {}", path_);
  std::string found;
  const rocksdb::Status status = db_->Get({}, ToSlice(kLogIdKey), &found);
  if (status.IsNotFound()) {
    rocksdb::WriteBatch batch;
    PutFormat(&batch);
    (void)batch.Put(ToSlice(kLogIdKey), log_id);
    log_id_ = log_id;
    format_ = kStoreFormat;
    return Write(&batch);
  }
  RETURN_IF_ERROR(FromRocks(status, what));
  log_id_ = found;
  if (!log_id.empty() && std::ranges::find(former, found) != former.end()) {
    log_id_ = log_id;
    former_log_id_ = found;
    format_ = kStoreFormat;  // whatever it was: nothing of it is read
    return absl::OkStatus();
  }
  if (!log_id.empty() && found != log_id) {
    return Error(
        StatusCode::kFailedPrecondition, "store_of_other_log",
        "the stores in {} were made from log {}, but this is log {}: use the other log, or another "
        "folder; or delete this one, and all stores are built anew from this log",
        std::filesystem::path(path_).parent_path().string(), found, log_id);
  }
  std::string format;
  RETURN_IF_ERROR(FromRocks(db_->Get({}, ToSlice(kFormatKey), &format), what));
  ByteReader reader(format);
  format_ = reader.Varint32();
  if (format_ > kStoreFormat) {
    return Error(StatusCode::kFailedPrecondition, "store_format_newer",
                 "the stores in {} have format {}, this program reads up to {}: use a newer "
                 "program, or delete the folder; they are then built anew from the log",
                 std::filesystem::path(path_).parent_path().string(), format_, kStoreFormat);
  }
  if (format_ < kStoreFormatOldest && log_id.empty()) {
    return Error(StatusCode::kFailedPrecondition, "store_format_older",
                 "the stores of {} have format {}, this program reads {}: start the server, which "
                 "builds them anew from the log",
                 path_, format_, kStoreFormatOldest);
  }
  return reader.done() ? absl::OkStatus() : Corrupt(path_, "malformed format");
}

absl::StatusOr<NodeStore::State> NodeStore::Load() const {
  State state;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}));
  for (it->SeekToFirst(); it->Valid(); it->Next()) {
    const std::string_view key(it->key().data(), it->key().size());
    const std::string_view value(it->value().data(), it->value().size());
    if (const absl::Status loaded = LoadEntry(key, value, &state); !loaded.ok()) {
      return Corrupt(path_, Message(loaded));
    }
  }
  RETURN_IF_ERROR(FromRocks(it->status(), fmt::format("reading node store {}", path_)));
  return state;
}

absl::Status NodeStore::PutCheckpoint(PartitionId partition, const PartitionCheckpoint& checkpoint,
                                      const CheckpointParts& parts) {
  // In one write: with the checkpoint alone, a crash would have those who have gone apart since the
  // last one folded from it on, without what they lack.
  rocksdb::WriteBatch batch;
  (void)batch.Put(CheckpointKey(partition), EncodeCheckpoint(checkpoint));
  for (const auto& [org, offset] : parts.flushed) {
    (void)batch.Put(kFlushedPrefix + org, EncodeFlushed(offset));
  }
  for (const Rejected& rejected : parts.handled) {
    (void)batch.Delete(RejectionKey(partition, rejected));
  }
  const std::string prefix = ApartPrefix(partition);
  (void)batch.DeleteRange(prefix, ApartPrefix(PartitionId(partition.value() + 1)));
  for (const ApartOrg& apart : parts.apart) {
    (void)batch.Put(prefix + apart.org.value(), EncodeApart(apart));
  }
  return Write(&batch);
}

absl::Status NodeStore::PutApart(PartitionId partition, const ApartOrg& apart) {
  rocksdb::WriteBatch batch;
  (void)batch.Put(ApartPrefix(partition) + apart.org.value(), EncodeApart(apart));
  return Write(&batch);
}

absl::Status NodeStore::PutLost(PartitionId partition, const NotedEvent& lost) {
  rocksdb::WriteBatch batch;
  (void)batch.Put(OfPartition(kLostPrefix, partition), EncodeNoted(lost));
  return Write(&batch);
}

absl::Status NodeStore::PutOrg(const std::string& org, const OrgRegistration& registration,
                               const NotedEvent& noted) {
  rocksdb::WriteBatch batch;
  // In one write: how far the store of before was on disk would say of the new one, after a crash,
  // that it has lost what it never had.
  (void)batch.Delete(kFlushedPrefix + org);  // of a store that has gone
  (void)batch.Put(kOrgPrefix + org, EncodeRegistration(registration));
  PutNoted(registration.partition, noted, &batch);
  return Write(&batch);
}

absl::Status NodeStore::CloseOrg(const std::string& org, const ClosedMark& mark,
                                 PartitionId partition, std::span<const Rejected> rejected,
                                 const NotedEvent& noted) {
  // In one write, and before the store's folder goes: a registration without a folder would send
  // the partition back, and the rejections are nowhere else once the folder has gone.
  rocksdb::WriteBatch batch;
  (void)batch.Delete(kOrgPrefix + org);
  (void)batch.Delete(kFlushedPrefix + org);
  for (const Rejected& r : rejected) {
    (void)batch.Put(RejectionKey(partition, r), EncodeRejected(r));
  }
  (void)batch.Put(kClosedPrefix + org, EncodeClosedMark(mark));
  PutNoted(partition, noted, &batch);
  return Write(&batch);
}

absl::Status NodeStore::Rewind(const std::map<std::string, PartitionId>& orgs,
                               const std::map<PartitionId, PartitionCheckpoint>& checkpoints) {
  rocksdb::WriteBatch batch;
  for (const auto& [org, partition] : orgs) {
    (void)batch.Delete(kOrgPrefix + org);
    (void)batch.Delete(kFlushedPrefix + org);
    (void)batch.Delete(ApartPrefix(partition) + org);
  }
  for (const auto& [partition, checkpoint] : checkpoints) {
    (void)batch.Put(CheckpointKey(partition), EncodeCheckpoint(checkpoint));
  }
  return Write(&batch);
}

absl::Status NodeStore::BeginAnew() {
  rocksdb::WriteBatch batch;
  const std::unique_ptr<rocksdb::Iterator> any(db_->NewIterator({}));
  for (any->SeekToFirst(); any->Valid(); any->Next()) {
    (void)batch.Delete(any->key());
  }
  RETURN_IF_ERROR(FromRocks(any->status(), fmt::format("reading node store {}", path_)));
  PutFormat(&batch);
  (void)batch.Put(ToSlice(kLogIdKey), log_id_);
  RETURN_IF_ERROR(Write(&batch));
  former_log_id_.reset();
  return absl::OkStatus();
}

absl::Status NodeStore::UpgradeFormat() {
  if (format_ == kStoreFormat) {
    return absl::OkStatus();
  }
  rocksdb::WriteBatch batch;
  PutFormat(&batch);
  RETURN_IF_ERROR(Write(&batch));
  format_ = kStoreFormat;
  return absl::OkStatus();
}

absl::Status NodeStore::Write(rocksdb::WriteBatch* batch) {
  RETURN_IF_ERROR(CheckSpace(path_, batch->GetDataSize()));
  rocksdb::WriteOptions options;
  options.sync = true;
  rocksdb::Status status = db_->Write(options, batch);
  // An error of the log stays until it is ended, even when its cause has gone.
  if (!status.ok() && db_->Resume().ok()) {
    status = db_->Write(options, batch);
  }
  return FromRocks(status, fmt::format("writing node store {}", path_));
}

}  // namespace sluice::projectors

#pragma once

#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "projectors/store/record_codec.h"
#include "projectors/store/rocks_env.h"
#include "projectors/store/store_manager.h"

namespace rocksdb {
class DB;
class WriteBatch;
}  // namespace rocksdb

namespace sluice::projectors {

// What a process remembers about its stores as a whole: the log they belong to, each partition's
// checkpoint, which stores there should be, and what was closed. A small RocksDB; every change is
// synced before the call returns, for a lost checkpoint costs time, but a lost closed mark or a
// checkpoint ahead of a store would cost data. Thread-safe.
class NodeStore {
 public:
  struct State {
    std::map<PartitionId, PartitionCheckpoint> checkpoints;
    std::map<std::string, OrgRegistration> orgs;  // by organisation
    std::map<std::string, ClosedMark> closed;
    std::map<std::string, Offset> flushed;  // what each store had on disk at a checkpoint
    std::map<PartitionId, std::vector<Rejected>> rejected;  // of closed ones; ascending
    std::map<PartitionId, std::vector<ApartOrg>> apart;
    std::map<PartitionId, NotedEvent> noted;
    std::map<PartitionId, NotedEvent> lost;
  };

  // Makes the store when it is missing; with an empty `log_id` it must be there and says its log
  // itself (kNotFound, code "store_missing"). kFailedPrecondition, code "store_of_other_log",
  // naming both ids; "store_in_use"; "store_read_only"; "store_format_newer"; and, where the
  // stores can only be looked at, "store_format_older". kDataLoss, code "store_corrupt".
  // kResourceExhausted, code "disk_full", here and for each change.
  // Stores of one of `former_log_ids` are taken over by BeginAnew().
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<NodeStore>> Open(
      std::shared_ptr<RocksEnv> env, const std::string& path, const std::string& log_id,
      std::span<const std::string> former_log_ids = {});
  ~NodeStore();

  // The log that the stores are folds of.
  const std::string& log_id() const { return log_id_; }

  // Of the stores; older than kStoreFormat until UpgradeFormat().
  uint32_t format() const { return format_; }
  // The stores of an older format have been removed.
  [[nodiscard]] absl::Status UpgradeFormat();

  // The stores are of an earlier epoch of the log; its id.
  const std::optional<std::string>& former_log_id() const { return former_log_id_; }
  // All stores have been removed: forgets everything, in one step, and belongs to log_id().
  [[nodiscard]] absl::Status BeginAnew();

  // All that is stored.
  [[nodiscard]] absl::StatusOr<State> Load() const;

  // What goes with a checkpoint of a partition.
  struct CheckpointParts {
    // What stores have on disk, so that one that goes back behind the checkpoint is noticed.
    std::map<std::string, Offset> flushed;
    std::vector<Rejected> handled;  // rejections to forget
    // All who are apart, in place of those of the last checkpoint: the checkpoint is not theirs.
    std::vector<ApartOrg> apart;
  };
  [[nodiscard]] absl::Status PutCheckpoint(PartitionId partition,
                                           const PartitionCheckpoint& checkpoint,
                                           const CheckpointParts& parts);
  // The organisation's store is going to be built anew from `apart.next` on.
  [[nodiscard]] absl::Status PutApart(PartitionId partition, const ApartOrg& apart);
  // An event that was applied and that the log does not hold.
  [[nodiscard]] absl::Status PutLost(PartitionId partition, const NotedEvent& lost);
  // `noted`: what State::noted is from now on; nothing changes where it has no offset.
  [[nodiscard]] absl::Status PutOrg(const std::string& org, const OrgRegistration& registration,
                                    const NotedEvent& noted);
  // Forgets the organisation's store and remembers until where its events are history, and those
  // of its rejections that no checkpoint has passed.
  [[nodiscard]] absl::Status CloseOrg(const std::string& org, const ClosedMark& mark,
                                      PartitionId partition, std::span<const Rejected> rejected,
                                      const NotedEvent& noted);
  // Forgets stores that have gone, and that they were apart, together with the checkpoints from
  // which they are built anew. `orgs`: each with its partition.
  [[nodiscard]] absl::Status Rewind(const std::map<std::string, PartitionId>& orgs,
                                    const std::map<PartitionId, PartitionCheckpoint>& checkpoints);

 private:
  NodeStore(std::shared_ptr<RocksEnv> env, std::string path);
  absl::Status Init(const std::string& log_id, std::span<const std::string> former_log_ids);
  absl::Status Write(rocksdb::WriteBatch* batch);

  const std::shared_ptr<RocksEnv> env_;
  const std::string path_;
  std::string log_id_;
  std::optional<std::string> former_log_id_;
  uint32_t format_ = 0;
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace sluice::projectors

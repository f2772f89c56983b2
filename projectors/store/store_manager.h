#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "projectors/fold/fold.h"
#include "projectors/store/store_inspector.h"
#include "projectors/store/store_reader.h"
#include "projectors/store/store_writer.h"
#include "schemas/base/ids.h"
#include "schemas/base/metrics.h"

namespace sluice::projectors {

struct StoreOptions {
  std::string path;  // folder of all stores; made when missing
  // Stores of another log are refused, code "store_of_other_log". Empty: there must be stores, of
  // whatever log (for looking at them).
  std::string log_id;
  // Ids that this log had before (Log::FormerIds()): stores of one of these are deleted and built
  // anew, because positions of another epoch mean nothing.
  std::vector<std::string> former_log_ids;
  size_t block_cache_bytes = 256 << 20;   // shared by all stores
  size_t write_buffer_bytes = 256 << 20;  // shared by all stores: near it the largest is flushed
  size_t open_stores_max = 1'000;  // past it idle stores are flushed and closed, least recent first
  std::chrono::milliseconds checkpoint_interval{30'000};
  FoldOptions fold;
  // Called before a store is first read, or applied to, that has applied an event which no
  // checkpoint vouches for, unless the events that Apply() is given have shown it: is it in the log
  // still? What it returns is the reader's error; with kDataLoss, code "log_truncated" or
  // "log_diverged", Apply() ends. May block; thread-safe. Empty: not asked.
  std::function<absl::Status(PartitionId, Offset applied, uint64_t event_hash)> check_history;
  // Apply() may set organisations apart: whoever says so has a second thread for each partition
  // that folds them (ApplyApart). Otherwise large events are folded at once, and an organisation's
  // trouble is Apply()'s error.
  bool sets_apart = false;
  std::shared_ptr<prometheus::Registry> registry;
};

// All staging stores of this process: one RocksDB an organisation and incarnation, opened on
// demand, and a small node store with each partition's checkpoint. Thread-safe, as the three say.
class StoreManager : public StoreReader, public StoreWriter, public StoreInspector {
 public:
  // kFailedPrecondition, code "store_of_other_log", "store_read_only", "store_in_use" or
  // "store_format_newer"; kDataLoss, code "store_corrupt", where the node store is damaged;
  // kResourceExhausted, code "disk_full". A store
  // whose folder has gone is built anew: its partition's checkpoint goes back to its OrgOpened.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<StoreManager>> Open(StoreOptions options);

  // Flushes and closes everything; writes no checkpoint. Nothing may be called afterwards.
  virtual absl::Status Close() = 0;
};

}  // namespace sluice::projectors

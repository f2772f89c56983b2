#pragma once

#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "projectors/store/store_writer.h"

namespace sluice::testing {

// The three steps of a checkpoint, one after the other, on the thread that calls Apply(). The
// offset that is read next; where nothing has been applied since the last one, that one's.
[[nodiscard]] inline absl::StatusOr<Offset> WriteCheckpoint(projectors::StoreWriter& stores,
                                                            PartitionId partition) {
  std::unique_ptr<projectors::PendingCheckpoint> pending =
      stores.BeginCheckpoint(partition, kNoOffset);
  if (pending == nullptr) {
    return Offset(stores.CheckpointState(partition).position.value() + 1);
  }
  pending->Flush();
  return stores.EndCheckpoint(std::move(pending));
}

}  // namespace sluice::testing

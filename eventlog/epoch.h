#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "eventlog/event.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

// One log, one history: the epoch is a random text in the log's id. Positions of another epoch mean
// nothing, so that stores are built anew and cursors answered with a fresh start.
namespace sluice::eventlog {

// 16 hex digits of chance.
[[nodiscard]] std::string NewEpoch();

// "<name>#<epoch>", the log's id; `name` alone while there is no epoch.
[[nodiscard]] std::string LogIdOf(std::string_view name, std::string_view epoch);

// Log::FormerIds() of a log that had these epochs.
[[nodiscard]] std::vector<std::string> FormerIdsOf(std::string_view name,
                                                   const std::vector<std::string>& former);

// What a declaration of a new epoch did: the log's id before and after it.
struct EpochChange {
  std::string id_before;
  std::string id;
};

// Where a partition's two topics ended when they were last made to agree.
struct AgreedEnds {
  Offset provisioning{0};
  Offset changes{0};
  // EventHash of the last event below each; 0 where it is not known.
  uint64_t provisioning_hash = 0;
  uint64_t changes_hash = 0;
};

// An event `sluice.v1.LogStarted` for partition 0 of `provisioning`. It has no key. `agreed`: one a
// partition, or none.
[[nodiscard]] Event MakeLogStarted(const Clock& clock, std::string_view epoch,
                                   std::string_view replaces, int32_t partitions,
                                   const std::vector<AgreedEnds>& agreed = {});

// Which epoch is in force, from the events of partition 0 of `provisioning` in their order: one
// counts where it replaces the epoch in force, or is the first. Not thread-safe.
class EpochFold {
 public:
  // Ignores events of other types.
  void Apply(const StoredEvent& stored);

  // Empty where there was none yet.
  const std::string& epoch() const { return epoch_; }
  // Those that were replaced, oldest first.
  const std::vector<std::string>& former() const { return former_; }
  // The partitions that the log was started with; 0 where nothing tells.
  int32_t partitions() const { return partitions_; }
  // By partition, as the epoch in force says; empty where it says nothing.
  const std::vector<AgreedEnds>& agreed() const { return agreed_; }

 private:
  std::string epoch_;
  std::vector<std::string> former_;
  int32_t partitions_ = 0;
  std::vector<AgreedEnds> agreed_;
};

}  // namespace sluice::eventlog

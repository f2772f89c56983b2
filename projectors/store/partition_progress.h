#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "projectors/fold/fold.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// An organisation that its partition's main thread passes over (docs/fold.md, "Apart").
struct ApartOrg {
  OrgId org;
  Offset next;          // its events from here on are to be folded apart
  std::string reason;   // "large_event", or the code of what is wrong with its store
  bool hidden = false;  // readers are told "not_caught_up" until it is given back
  // Another one where `next` has been set anew: what was read for the old one is not to be folded.
  uint64_t generation = 0;
  // When it was last known to hold all that the log had; never since the process started: nullopt.
  std::optional<SteadyTime> near = std::nullopt;
};

// How far the staging stores of a partition are, for whoever only tells others of it. Thread-safe.
class PartitionProgress {
 public:
  virtual ~PartitionProgress() = default;

  // The last event that was handed to StoreWriter::Apply() whole, position and event hash; after a
  // start, the one before the checkpoint.
  virtual AppliedState LastApplied(PartitionId partition) = 0;
  // Who is apart.
  virtual std::vector<ApartOrg> ApartOf(PartitionId partition) = 0;
};

}  // namespace sluice::projectors

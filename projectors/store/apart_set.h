#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "projectors/store/store_writer.h"

namespace sluice::projectors {

// Who is set apart in each partition, and the one rule by which an organisation comes back
// (docs/fold.md, "Apart"). Thread-safe.
class ApartSet {
 public:
  struct Entry {
    ApartOrg state;
    // The store is to be moved away and built anew, from state.next on, before it is folded to.
    bool rebuild_due = false;
    bool rebuilt = false;  // in this time apart
    // How often it has failed in this time apart, with the code that it failed with last.
    std::string failing{};
    int failures = 0;
  };

  // The partition's main thread is going to work on events below `end`: it calls this before it
  // looks who is apart.
  void WorkOn(PartitionId partition, Offset end);
  // Reading the partition begins, at its checkpoint: nobody who is apart begins behind it. What was
  // rejected from there on was told to whoever read it before, and need not have been written.
  void BeginAt(PartitionId partition, Offset checkpoint);
  // As StoreWriter::NoteNear().
  void NoteNear(PartitionId partition, std::optional<SteadyTime> near);
  // Has NoteNear() said when?
  bool CaughtUp(PartitionId partition) const;
  // Whoever is apart stays so, or is now, with this state and a new generation. It is as near to
  // the log's end as it was, or as its partition is.
  void Set(PartitionId partition, Entry entry);
  // Everything of the organisation below `next` has been applied. Gives it back, and says so, where
  // that reaches the end which the main thread works towards: the main thread either has looked
  // before, and passed over events that are applied, or looks later, and finds them applied.
  // Nothing happens where the organisation has another generation now.
  bool Advance(PartitionId partition, const ApartOrg& apart, Offset next);
  // Would Advance() give it back now?
  bool IsDue(PartitionId partition, const ApartOrg& apart, Offset next) const;

  // Whoever is not apart any more for another reason than having caught up.
  void Erase(PartitionId partition, const std::string& org);

  std::optional<Entry> Find(PartitionId partition, std::string_view org) const;
  std::vector<Entry> Of(PartitionId partition) const;  // ascending by organisation

 private:
  struct Partition {
    Offset working_end{0};
    std::optional<SteadyTime> near;
    std::map<std::string, Entry, std::less<>> orgs;

    // `next` is what the second thread has come to in a log that was compared; the entry's may be
    // of one that has lost its end since.
    bool IsDue(const Entry& entry, Offset next) const {
      return next >= working_end && !entry.rebuild_due;
    }
  };
  mutable absl::Mutex mutex_;
  std::map<PartitionId, Partition> partitions_ ABSL_GUARDED_BY(mutex_);
  uint64_t generation_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace sluice::projectors

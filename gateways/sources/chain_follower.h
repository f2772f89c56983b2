#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "eventlog/follower.h"
#include "eventlog/log.h"
#include "projectors/work/work_ledger.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::gateways {

// ce_source of the change sets that sources write.
inline constexpr std::string_view kSourceEvents = "sluice/source";

// Follows one partition of `changes` for those who write steps to it, and judges each as the fold
// does (projectors::TakeStep), so that they know which of their sets were taken. It keeps no rows,
// and parses only sets of sources and the control events that begin and end sources. Thread-safe.
class ChainFollower : eventlog::Follower::Callbacks {
 public:
  // A stream's chain. `bound`: the epoch that its source has; -1: it has none.
  struct Chain {
    v1::SourceState state;
    int64_t bound = -1;
  };
  // The sets that one run appends: <run>/1, <run>/2, ... behind the set with the number `base`.
  struct RunSets {
    projectors::StreamKey key;
    int64_t epoch = 0;
    std::string run;
    uint64_t base = 0;
  };
  struct Taken {
    uint64_t number = 0;  // of the run's last set that was taken; `base`: none was
    Offset offset = kNoOffset;
  };
  struct Told {
    projectors::StreamKey key;
    Chain chain;  // as it is below `next`
    Offset next;
  };

  // Reads from `from` on. `log` and `clock` must outlive it.
  ChainFollower(eventlog::Log& log, const Clock& clock, PartitionId partition, Offset from);
  ~ChainFollower() override { Stop(); }

  // Before Start(): the chain as it is below `next`, as `work` told it. Others have no state below
  // `from`.
  void Put(const projectors::StreamKey& key, Chain chain, Offset next);
  void Start() { follower_.Start(); }
  void RequestStop() { follower_.RequestStop(); }
  void Stop() { follower_.Stop(); }

  // The source has had this epoch since before next(): where it is not known yet.
  void Bind(const projectors::StreamKey& key, int64_t epoch);
  // Empty and without an epoch where nothing is known.
  [[nodiscard]] Chain Find(const projectors::StreamKey& key) const;
  // Likewise with the place below which everything is in it.
  [[nodiscard]] std::pair<Chain, Offset> FindAt(const projectors::StreamKey& key) const;
  [[nodiscard]] Offset next() const;

  // How many of the run's sets were taken; waits up to `wait` until that is more than `above`.
  // kAborted, code "superseded": others' took their place. kFailedPrecondition, code
  // "source_changed": the source was begun anew, or deleted.
  [[nodiscard]] absl::StatusOr<Taken> AwaitTaken(const RunSets& sets, uint64_t above,
                                                 std::chrono::milliseconds wait) const;

  // The streams that are otherwise than they were told last, and the place below which that is so.
  [[nodiscard]] std::pair<Offset, std::vector<Told>> Untold() const;
  // These were told.
  void NoteTold(const std::vector<Told>& told);

  [[nodiscard]] absl::Status Health() const { return follower_.Health(); }

 private:
  struct Stream {
    Chain chain;
    Offset from;  // the chain is as it is below this
    uint64_t told_number = 0;
    int64_t told_bound = -1;
  };

  absl::StatusOr<Offset> Open() override;
  absl::Status Step() override;
  absl::Status Fold(const std::vector<eventlog::StoredEvent>& events) override;
  bool Failed(const absl::Status& status, std::chrono::milliseconds wait) override;

  void FoldSet(const eventlog::StoredEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FoldControl(const eventlog::StoredEvent& event) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  [[nodiscard]] absl::StatusOr<Taken> TakenOf(const RunSets& sets) const
      ABSL_SHARED_LOCKS_REQUIRED(mutex_);

  const PartitionId partition_;
  const Offset from_;
  mutable absl::Mutex mutex_;
  std::map<projectors::StreamKey, Stream> streams_ ABSL_GUARDED_BY(mutex_);
  // Epochs of sources (organisation, name) that control events told of; -1: deleted.
  std::map<std::pair<std::string, std::string>, int64_t> bound_ ABSL_GUARDED_BY(mutex_);
  // The newest request that a control event answered, by organisation: the fold passes over others.
  std::map<std::string, Offset> answered_ ABSL_GUARDED_BY(mutex_);
  Offset next_ ABSL_GUARDED_BY(mutex_);
  eventlog::Follower follower_;
};

}  // namespace sluice::gateways

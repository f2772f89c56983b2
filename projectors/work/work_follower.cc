#include "projectors/work/work_follower.h"

#include <spdlog/spdlog.h>

#include <utility>

#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

constexpr std::chrono::milliseconds kReadWait{200};

}  // namespace

WorkFollower::WorkFollower(eventlog::Log& log, const Clock& clock, PartitionId partition,
                           Folds folds)
    : log_(log),
      partition_(partition),
      folds_(std::move(folds)),
      follower_(log, clock, *this, {.topic = eventlog::Topic::kWork, .partition = partition}) {}

absl::StatusOr<Offset> WorkFollower::Open() {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range,
                   log_.Range(eventlog::Topic::kWork, partition_));
  if (!begun_) {
    folds_.begin(range.begin == Offset(0));
    begun_ = true;
  }
  return range.begin;
}

absl::Status WorkFollower::Step() {
  RETURN_IF_ERROR(follower_.ReadOn({.wait_max = kReadWait}));
  follower_.SetHealth(absl::OkStatus());
  return absl::OkStatus();
}

absl::Status WorkFollower::Fold(const std::vector<eventlog::StoredEvent>& events) {
  folds_.apply(events);
  return absl::OkStatus();
}

bool WorkFollower::Failed(const absl::Status& status, std::chrono::milliseconds wait) {
  spdlog::warn("work_not_read partition={} retry_ms={} reason=\"{}\"", partition_.value(),
               wait.count(), Message(status));
  if (eventlog::IsOtherHistory(status) || ErrorCode(status) == "offset_below_begin") {
    follower_.Close();
    begun_ = false;
  }
  return true;
}

}  // namespace sluice::projectors

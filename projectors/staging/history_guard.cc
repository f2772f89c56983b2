#include "projectors/staging/history_guard.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "projectors/nodes/node_directory.h"
#include "projectors/staging/history_check.h"
#include "schemas/base/status.h"
#include "spdlog/spdlog.h"

namespace sluice::projectors {
namespace {

using std::chrono::milliseconds;

// How long what others fold on is left uncompared. Each look asks the log for the place of every
// other node that is ahead, on the thread that folds.
constexpr milliseconds kToldLookInterval{10'000};
// The same before the first that all was known for: until then the node tells of nothing.
constexpr milliseconds kFirstLookInterval{1'000};

// Of what the others have told: where the log cannot tell now, reading goes on, and it is asked
// again.
absl::Status UnlessUnavailable(absl::Status compared) {
  return absl::IsUnavailable(compared) && !eventlog::IsDoubtedEnd(compared) ? absl::OkStatus()
                                                                            : compared;
}

}  // namespace

HistoryGuard::HistoryGuard(PartitionId partition, eventlog::Log& log, StoreWriter& stores,
                           const Clock& clock, NodeDirectory* nodes,
                           eventlog::Cancellation& cancellation)
    : partition_(partition),
      log_(log),
      stores_(stores),
      clock_(clock),
      nodes_(nodes),
      cancellation_(&cancellation) {}

absl::Status HistoryGuard::NoteIfLost(absl::Status compared, Offset offset, uint64_t event_hash) {
  if (eventlog::IsOtherHistory(compared)) {
    NoteLost(offset, event_hash);
  }
  return compared;
}

void HistoryGuard::NoteLost(Offset offset, uint64_t event_hash) {
  const absl::Status noted = stores_.NoteLost(partition_, offset, event_hash);
  if (!noted.ok()) {
    spdlog::warn("staging_loss_not_noted partition={} error=\"{}\"", partition_.value(),
                 Message(noted));
  }
}

absl::Status HistoryGuard::VerifyHistory() {
  RETURN_IF_ERROR(VerifyEnd());
  RETURN_IF_ERROR(VerifyApplied());
  return VerifyTold();
}

absl::Status HistoryGuard::VerifyEnd() {
  ASSIGN_OR_RETURN(const eventlog::OffsetRange range,
                   log_.Range(eventlog::Topic::kChanges, partition_));
  Offset highest =
      std::max(stores_.LastApplied(partition_).position, stores_.LastNoted(partition_).position);
  if (nodes_ != nullptr) {
    for (const FoldedMark& mark : nodes_->Folded(partition_).marks) {
      highest = std::max(highest, mark.at);
    }
  }
  return highest < range.end ? absl::OkStatus()
                             : log_.ConfirmLoss(eventlog::Topic::kChanges, partition_, highest);
}

absl::Status HistoryGuard::VerifyRead() {
  RETURN_IF_ERROR(VerifyApplied());
  if (clock_.SteadyNow() < next_told_look_) {
    told_held_.clear();  // the next look is at all of them
    return absl::OkStatus();
  }
  return UnlessUnavailable(VerifyTold());
}

absl::Status HistoryGuard::VerifyApplied() {
  // What was lost before first: the log may have been restored since, and it must not be forgotten
  // for anything else while it is not.
  RETURN_IF_ERROR(CheckHistory(log_, partition_, stores_.LastLost(partition_), cancellation_));
  stores_.DoubtStoresAhead(partition_);
  const AppliedState state = stores_.LastApplied(partition_);
  RETURN_IF_ERROR(NoteIfLost(CheckHistory(log_, partition_, state, cancellation_), state.position,
                             state.event_hash));
  const AppliedState noted = stores_.LastNoted(partition_);
  return noted.position <= state.position  // what comes before, the comparison above has told
             ? absl::OkStatus()
             : CheckHistory(log_, partition_, noted, cancellation_);
}

// After what this process has applied: where the log, which loses nothing but its end, holds then
// what lies below that, it is of the history that was applied.
absl::Status HistoryGuard::VerifyTold() {
  if (nodes_ == nullptr) {
    return absl::OkStatus();
  }
  const absl::Status held = CompareTold();
  NoteLookedAtTold();
  return held;
}

void HistoryGuard::NoteLookedAtTold() {
  next_told_look_ =
      clock_.SteadyNow() +
      (nodes_->Compared(partition_).has_value() ? kToldLookInterval : kFirstLookInterval);
}

absl::Status HistoryGuard::CompareTold() {
  told_held_.clear();
  const AppliedState applied = stores_.LastApplied(partition_);
  const bool known = nodes_->Known();
  const NodeDirectory::ToldFolded told = nodes_->Folded(partition_);
  for (const FoldedMark& mark : told.marks) {
    if (mark != FoldedMark{applied.position, applied.event_hash}) {
      absl::Status held = CheckHistory(log_, partition_, mark.at, mark.event_hash, cancellation_);
      RETURN_IF_ERROR_CTX(NoteIfLost(std::move(held), mark.at, mark.event_hash),
                          "what a node has told on `nodes` to have folded");
    }
  }
  told_held_ = told.marks;
  if (known) {
    nodes_->NoteCompared(partition_, {told.until, applied.position});
  }
  return absl::OkStatus();
}

bool HistoryGuard::IsToldDue() {
  const SteadyTime now = clock_.SteadyNow();
  if (nodes_ == nullptr || now < std::max(next_told_look_, next_told_glance_)) {
    return false;
  }
  if (nodes_->Known() && !nodes_->Compared(partition_).has_value()) {
    return true;
  }
  const AppliedState own = stores_.LastApplied(partition_);
  const bool due =
      std::ranges::any_of(nodes_->Folded(partition_).marks, [&](const FoldedMark& mark) {
        return mark != FoldedMark{own.position, own.event_hash} &&
               !std::ranges::binary_search(told_held_, mark);
      });
  if (!due) {
    next_told_glance_ = now + kFirstLookInterval;  // not each batch: requests ask the directory too
  }
  return due;
}

absl::Status HistoryGuard::VerifyNewlyTold() {
  if (!IsToldDue()) {
    return absl::OkStatus();
  }
  const absl::Status held = VerifyHistory();
  NoteLookedAtTold();  // also where the look has not come to that
  return UnlessUnavailable(held);
}

absl::Status HistoryGuard::VerifyBatches() {
  RETURN_IF_ERROR(VerifyHistory());
  const auto applied = stores_.AppliedSinceCompared(partition_);
  if (applied.empty()) {
    return absl::OkStatus();
  }
  std::pair<Offset, uint64_t> misfit;
  const absl::Status status = CheckHistory(log_, partition_, applied, &misfit, cancellation_);
  RETURN_IF_ERROR(NoteIfLost(status, misfit.first, misfit.second));
  stores_.NoteCompared(partition_, applied.back().first);
  return absl::OkStatus();
}

// Nobody waits for the end of a doubt that comes with the last look. Who comes next looks first
// whether the log has what was applied. There is room for one note: what was found to be lost
// before gives way only where the log holds it again, for it may be all that tells of another
// history.
void HistoryGuard::NoteDoubted() {
  const AppliedState own = stores_.LastApplied(partition_);
  const auto range = log_.Range(eventlog::Topic::kChanges, partition_);
  if (own.position != kNoOffset && range.ok() && own.position >= range->end &&
      CheckHistory(log_, partition_, stores_.LastLost(partition_)).ok()) {
    NoteLost(own.position, own.event_hash);
  }
}

}  // namespace sluice::projectors

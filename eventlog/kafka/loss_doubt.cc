#include "eventlog/kafka/loss_doubt.h"

#include <algorithm>
#include <chrono>

#include "schemas/base/status.h"

namespace sluice::eventlog {
namespace {

// Handles ask who leads every 10 s (conf.cc).
constexpr std::chrono::seconds kLossConfirmed{15};
// Between two answers no more than this counts as told: a broker may have been away.
constexpr std::chrono::seconds kGap{5};
// Whoever doubts asks again sooner, as long as the log answers, or has found that there is nothing
// to doubt.
constexpr std::chrono::seconds kAskedAgain{60};

}  // namespace

LossDoubt::LossDoubt(std::shared_ptr<const Clock> clock)
    : clock_(clock != nullptr ? std::move(clock) : std::make_shared<RealClock>()) {}

void LossDoubt::Count(SteadyTime now, Loss* loss) {
  loss->told += std::min<SteadyTime::duration>(now - loss->last, kGap);
  loss->last = now;
}

absl::Status LossDoubt::Confirm(Topic topic, PartitionId partition, Offset lost) {
  const SteadyTime now = clock_->SteadyNow();
  absl::MutexLock lock(&mutex_);
  const std::pair place(topic, partition);
  Loss& loss =
      losses_.try_emplace(place, Loss{.lost = lost, .last = now, .asked = now}).first->second;
  Count(now, &loss);
  // What was told of a higher place says nothing of this one, and what nobody has asked for since
  // says nothing of now.
  if (lost < loss.lost || now - loss.asked > kAskedAgain) {
    loss.told = {};
  }
  loss.lost = std::min(loss.lost, lost);
  loss.asked = now;
  if (loss.told >= kLossConfirmed) {
    return absl::OkStatus();
  }
  return Error(StatusCode::kUnavailable, "log_end_doubted",
               "{}-{} is told to end before its offset {}, where an event has been; a broker may "
               "not know that it leads no more: believed once it has been told for {} s",
               TopicName(topic), partition.value(), lost.value(), kLossConfirmed.count());
}

void LossDoubt::NoteEnd(Topic topic, PartitionId partition, Offset end) {
  absl::MutexLock lock(&mutex_);
  const auto it = losses_.find({topic, partition});
  if (it == losses_.end()) {
    return;
  }
  if (end > it->second.lost) {
    losses_.erase(it);
  } else {
    Count(clock_->SteadyNow(), &it->second);
  }
}

bool LossDoubt::IsDoubted(Topic topic, PartitionId partition) {
  absl::MutexLock lock(&mutex_);
  const auto it = losses_.find({topic, partition});
  // By when the partition last told of its end: while it tells nothing, the doubt stays.
  return it != losses_.end() && it->second.last - it->second.asked <= kAskedAgain;
}

}  // namespace sluice::eventlog

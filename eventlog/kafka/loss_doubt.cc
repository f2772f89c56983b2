#include "eventlog/kafka/loss_doubt.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "fmt/format.h"
#include "schemas/status.h"

namespace sluice::eventlog {
namespace {

// Handles ask who leads every 10 s (conf.cc).
constexpr std::chrono::seconds kLossConfirmed{15};
// Whoever doubts asks again within seconds, and an answer may take 10.
constexpr std::chrono::seconds kForgotten{20};

}  // namespace

LossDoubt::LossDoubt(std::shared_ptr<const Clock> clock)
    : clock_(clock != nullptr ? std::move(clock) : std::make_shared<RealClock>()) {}

absl::Status LossDoubt::Confirm(Topic topic, PartitionId partition, Offset lost) {
  const SteadyTime now = clock_->SteadyNow();
  absl::MutexLock lock(&mutex_);
  const auto [it, is_new] = losses_.try_emplace({topic, partition}, Loss{lost, now, now});
  Loss& loss = it->second;
  if (now - loss.last > kForgotten) {
    loss = {lost, now, now};
  }
  loss.lost = std::min(loss.lost, lost);
  loss.last = now;
  if (now - loss.since >= kLossConfirmed) {
    return absl::OkStatus();
  }
  return Error(
      absl::StatusCode::kUnavailable, "log_end_doubted",
      fmt::format("{}-{} is told to end before its offset {}, where an event has been; "
                  "a broker may not know that it leads no more: believed once it has been "
                  "told for {} s",
                  TopicName(topic), partition.value(), lost.value(), kLossConfirmed.count()));
}

void LossDoubt::NoteEnd(Topic topic, PartitionId partition, Offset end) {
  absl::MutexLock lock(&mutex_);
  const auto it = losses_.find({topic, partition});
  if (it != losses_.end() && end > it->second.lost) {
    losses_.erase(it);
  }
}

}  // namespace sluice::eventlog

#include "projectors/store/history_comparer.h"

#include <algorithm>
#include <iterator>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Of one partition. A log that is well takes some 15 ms for each.
constexpr size_t kWaitingMax = 32;
constexpr milliseconds kReaderPatience{500};
// Of a thread that folds: it comes again, and ends in between where it has to.
constexpr milliseconds kFoldPatience{3'000};
constexpr milliseconds kApartPatience{30'000};

absl::Status Stopped() {
  return Error(StatusCode::kUnavailable, "log_unavailable",
               "stores are being closed, and compared with the log no more");
}

absl::Status Busy(const StoreSet::SlotPtr& slot) {
  return Error(StatusCode::kResourceExhausted, "stores_busy",
               "the store of organisation {} is being compared with the log: try again later",
               slot->org.value());
}

absl::Status NoAnswer(const StoreSet::SlotPtr& slot) {
  return Error(StatusCode::kUnavailable, "log_unavailable",
               "the store of organisation {} can't be compared with the log: it has not answered "
               "for {} ms; try again",
               slot->org.value(), kFoldPatience.count());
}

}  // namespace

HistoryComparer::HistoryComparer(Compare compare, StoreMetrics& metrics)
    : compare_(std::move(compare)), metrics_(metrics) {}

HistoryComparer::~HistoryComparer() { Stop(); }

void HistoryComparer::Stop() {
  std::vector<std::thread> threads;
  {
    absl::MutexLock lock(&mutex_);
    stopping_ = true;
    for (auto& [partition, lane] : lanes_) {
      for (const JobPtr& job : std::exchange(lane.waiting, {})) {
        job->status = Stopped();
        job->done = true;
      }
      threads.push_back(std::move(lane.thread));
    }
  }
  for (std::thread& thread : threads) {
    if (thread.joinable()) {
      thread.join();
    }
  }
}

bool HistoryComparer::MakeRoom(Lane& lane) {
  const auto last = std::find_if(lane.waiting.rbegin(), lane.waiting.rend(),
                                 [](const JobPtr& job) { return job->waiters == 0; });
  if (last == lane.waiting.rend()) {
    return false;
  }
  lane.waiting.erase(std::next(last).base());
  return true;
}

absl::StatusOr<HistoryComparer::JobPtr> HistoryComparer::Enqueue(const StoreSet::SlotPtr& slot,
                                                                 bool first) {
  if (stopping_) {
    return Stopped();
  }
  Lane& lane = lanes_[slot->registration.partition];
  if (lane.under_way != nullptr && lane.under_way->slot == slot) {
    return lane.under_way;
  }
  const auto found = std::ranges::find(lane.waiting, slot, &Job::slot);
  JobPtr job;
  if (found != lane.waiting.end()) {
    job = *found;
    if (!first) {
      return job;
    }
    lane.waiting.erase(found);
  } else if (lane.waiting.size() >= kWaitingMax && !(first && MakeRoom(lane))) {
    return Busy(slot);
  } else {
    job = std::make_shared<Job>(Job{.slot = slot});
  }
  if (!lane.thread.joinable()) {
    try {
      lane.thread = std::thread([this, &lane] { Run(lane); });
    } catch (const std::system_error& error) {
      return Error(StatusCode::kResourceExhausted, "no_threads",
                   "no thread to compare the stores of partition {} with the log: {}",
                   slot->registration.partition.value(), error.what());
    }
  }
  lane.waiting.insert(first ? lane.waiting.begin() : lane.waiting.end(), job);
  return job;
}

bool HistoryComparer::Ask(const StoreSet::SlotPtr& slot) {
  absl::MutexLock lock(&mutex_);
  return Enqueue(slot, /*first=*/false).ok();
}

absl::Status HistoryComparer::Await(const StoreSet::SlotPtr& slot) {
  return AwaitDone(slot, /*reader=*/false);
}

// Whoever comes again has the store compared anew, and under a quota one comparison may take longer
// than a try.
absl::Status HistoryComparer::AwaitApart(const StoreSet::SlotPtr& slot,
                                         absl::FunctionRef<bool()> stopping) {
  const Time until = steady_clock::now() + kApartPatience;
  absl::Status status = Await(slot);
  while (!status.ok() && !slot->checked && IsAsked(slot) && !stopping() &&
         steady_clock::now() < until) {
    status = Await(slot);
  }
  return slot->checked ? absl::OkStatus() : status;  // also where it has ended just now
}

bool HistoryComparer::IsAsked(const StoreSet::SlotPtr& slot) const {
  const absl::MutexLock lock(&mutex_);
  const auto found = lanes_.find(slot->registration.partition);
  return found != lanes_.end() &&
         ((found->second.under_way != nullptr && found->second.under_way->slot == slot) ||
          std::ranges::find(found->second.waiting, slot, &Job::slot) !=
              found->second.waiting.end());
}

absl::Status HistoryComparer::AwaitForReader(const StoreSet::SlotPtr& slot) {
  return AwaitDone(slot, /*reader=*/true);
}

// One that began before the store was doubted leaves it unchecked: then it is compared again.
absl::Status HistoryComparer::AwaitDone(const StoreSet::SlotPtr& slot, bool reader) {
  const Time called = steady_clock::now();
  absl::MutexLock lock(&mutex_);
  while (!slot->checked) {
    const absl::StatusOr<JobPtr> enqueued = Enqueue(slot, /*first=*/true);
    if (!enqueued.ok()) {
      metrics_.CountNotCompared();
      return enqueued.status();
    }
    const JobPtr& job = *enqueued;
    Time until = called + kFoldPatience;
    if (reader) {
      const Lane& lane = lanes_[slot->registration.partition];
      const Time since = lane.under_way == nullptr ? called : std::min(called, lane.began);
      until = since + kReaderPatience;
    }
    ++job->waiters;
    const bool done = mutex_.AwaitWithTimeout(absl::Condition(&job->done),
                                              absl::FromChrono(until - steady_clock::now()));
    --job->waiters;
    if (!done) {
      metrics_.CountNotCompared();
      return reader ? Busy(slot) : NoAnswer(slot);
    }
    RETURN_IF_ERROR(job->status);
  }
  return absl::OkStatus();
}

void HistoryComparer::Run(Lane& lane) {
  const auto called = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return stopping_ || !lane.waiting.empty();
  };
  absl::MutexLock lock(&mutex_);
  while (true) {
    mutex_.Await(absl::Condition(&called));
    if (stopping_) {
      return;
    }
    const JobPtr job = lane.waiting.front();
    lane.waiting.pop_front();
    lane.under_way = job;
    lane.began = steady_clock::now();
    mutex_.Unlock();
    absl::Status status = compare_(job->slot);
    mutex_.Lock();
    job->status = std::move(status);
    job->done = true;
    lane.under_way = nullptr;
  }
}

}  // namespace sluice::projectors

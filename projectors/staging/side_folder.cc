#include "projectors/staging/side_folder.h"

#include <algorithm>
#include <span>
#include <utility>

#include "absl/time/time.h"
#include "schemas/status.h"
#include "spdlog/spdlog.h"

namespace sluice::projectors {
namespace {

using std::chrono::milliseconds;

// How long a read waits at the end of the log, and the thread when it has nothing to do.
constexpr milliseconds kIdle{50};
constexpr milliseconds kBackoffMin{100};
constexpr milliseconds kBackoffMax{60'000};
// Events that wait for their turn, of all organisations together, in batches of the main thread's
// limit: with one that has a large event, others still get theirs.
constexpr size_t kBatchesHeld = 4;

}  // namespace

SideFolder::SideFolder(PartitionId partition, eventlog::Log& log, StoreManager& stores,
                       const Clock& clock, const StagingOptions& options, StagingMetrics& metrics)
    : partition_(partition),
      log_(log),
      stores_(stores),
      clock_(clock),
      options_(options),
      metrics_(metrics) {}

SideFolder::~SideFolder() { Stop(); }

void SideFolder::StartIfNeeded() {
  if (!thread_.joinable() && !stopping() && !stores_.ApartOf(partition_).empty()) {
    thread_ = std::thread([this] { Run(); });
  }
}

void SideFolder::RequestStop() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  if (reader_ != nullptr) {
    reader_->Cancel();
  }
}

void SideFolder::Stop() {
  RequestStop();
  if (thread_.joinable()) {
    thread_.join();
  }
}

bool SideFolder::stopping() const {
  absl::MutexLock lock(&mutex_);
  return stopping_;
}

void SideFolder::Run() {
  while (!stopping()) {
    const std::vector<ApartOrg> apart = stores_.ApartOf(partition_);
    const milliseconds wait = apart.empty() ? kIdle : Turn(apart);
    if (apart.empty()) {
      work_.clear();
      metrics_.ApartBytes(partition_, 0);
      absl::MutexLock lock(&mutex_);
      reader_.reset();
    }
    absl::MutexLock lock(&mutex_);
    if (wait > milliseconds(0)) {
      mutex_.AwaitWithTimeout(absl::Condition(&stopping_), absl::FromChrono(wait));
    }
  }
}

void SideFolder::Match(const std::vector<ApartOrg>& apart) {
  std::erase_if(work_, [&](const auto& entry) {
    return std::ranges::none_of(apart,
                                [&](const ApartOrg& a) { return a.org.value() == entry.first; });
  });
  for (const ApartOrg& a : apart) {
    const auto [found, added] =
        work_.try_emplace(a.org.value(), LetterBox(log_, clock_, partition_, metrics_));
    Work& work = found->second;
    if (added || work.generation != a.generation) {
      // New, or its store has gone back, or is to be built anew.
      work.generation = a.generation;
      work.through = a.next;
      work.events.clear();
      work.done = work.bytes = 0;
    }
  }
}

milliseconds SideFolder::Turn(const std::vector<ApartOrg>& apart) {
  Match(apart);
  size_t held = 0;
  bool worked = false;
  for (const ApartOrg& a : apart) {
    Work& work = work_.at(a.org.value());
    if (stopping()) {
      return milliseconds(0);
    }
    if (!work.events.empty() && work.retry_at <= clock_.SteadyNow()) {
      Step(a, work);
      worked = true;
    }
    held += work.bytes;
  }
  metrics_.ApartBytes(partition_, held);
  if (held >= kBatchesHeld * options_.batch_bytes_max) {
    return worked ? milliseconds(0) : kIdle;
  }
  const auto more = ReadMore(apart);
  if (!more.ok()) {
    if (!absl::IsCancelled(more.status())) {
      metrics_.Retried();
      spdlog::warn("staging_apart_read_failed partition={} code={} error=\"{}\"",
                   partition_.value(), ErrorCode(more.status()), Message(more.status()));
    }
    absl::MutexLock lock(&mutex_);
    reader_.reset();
    return kBackoffMin;
  }
  return *more || worked ? milliseconds(0) : kIdle;
}

void SideFolder::Step(const ApartOrg& apart, Work& work) {
  const absl::Status status = TryStep(apart, work);
  if (!status.ok()) {
    Fail(apart.org.value(), work, status);
    return;
  }
  work.backoff = milliseconds(0);
  work.retry_at = {};
}

absl::Status SideFolder::TryStep(const ApartOrg& apart, Work& work) {
  if (work.done < work.events.size()) {
    ApplyResult result;
    const SteadyTime start = clock_.SteadyNow();
    ASSIGN_OR_RETURN(
        const size_t taken,
        stores_.ApplyApart(partition_, apart, std::span(work.events).subspan(work.done), &result));
    work.letters.Add(work.events, result.rejected);
    work.done += taken;
    metrics_.StepApart(result.counters, result.rejected.size(), clock_.SteadyNow() - start);
  }
  if (work.done < work.events.size()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(work.letters.Write([this] { return stopping(); }));
  work.events.clear();
  work.done = work.bytes = 0;
  (void)stores_.AdvanceApart(partition_, apart, work.through);
  return absl::OkStatus();
}

void SideFolder::Fail(std::string_view org, Work& work, const absl::Status& status) {
  if (absl::IsCancelled(status) || ErrorCode(status) == "apart_changed") {
    return;
  }
  work.backoff = std::clamp(work.backoff * 2, kBackoffMin, kBackoffMax);
  work.retry_at = clock_.SteadyNow() + work.backoff;
  metrics_.Retried();
  spdlog::warn("staging_apart_failed partition={} org={} code={} error=\"{}\" retry_ms={}",
               partition_.value(), org, ErrorCode(status), Message(status), work.backoff.count());
}

absl::StatusOr<bool> SideFolder::ReadMore(const std::vector<ApartOrg>& apart) {
  std::vector<std::pair<const ApartOrg*, Work*>> waiting;
  bool idle = true;
  for (const ApartOrg& a : apart) {
    Work& work = work_.at(a.org.value());
    if (!work.events.empty()) {
      idle = idle && work.retry_at > clock_.SteadyNow();
    } else {
      waiting.emplace_back(&a, &work);
    }
  }
  if (waiting.empty()) {
    return false;
  }
  const Offset from = std::ranges::min(waiting, {}, [](const auto& w) {
                        return w.second->through;
                      }).second->through;
  eventlog::Reader* reader = nullptr;
  {
    absl::MutexLock lock(&mutex_);
    reader = reader_.get();
  }
  if (reader == nullptr || reader->next() != from) {
    ASSIGN_OR_RETURN(auto opened, log_.OpenReader(eventlog::Topic::kChanges, partition_, from));
    absl::MutexLock lock(&mutex_);
    reader_ = std::move(opened);
    reader = reader_.get();
    if (stopping_) {
      reader->Cancel();
    }
  }
  ASSIGN_OR_RETURN(const auto batch, reader->Read({.bytes_max = options_.batch_bytes_max,
                                                   .events_max = options_.batch_events_max,
                                                   .wait_max = idle ? kIdle : milliseconds(0)}));
  const Offset next = reader->next();
  for (const auto& [known, work] : waiting) {
    if (next < work->through) {
      continue;
    }
    for (const eventlog::StoredEvent& event : batch) {
      if (event.offset >= work->through && event.event.key == known->org.value()) {
        work->bytes += event.event.ByteSize();
        work->events.push_back(event);
      }
    }
    work->through = next;
    if (work->events.empty()) {
      (void)stores_.AdvanceApart(partition_, *known, next);
    }
  }
  return !batch.empty();
}

}  // namespace sluice::projectors

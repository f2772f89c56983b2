#include "projectors/staging/staging_projector.h"

#include <algorithm>
#include <map>
#include <set>
#include <string_view>
#include <system_error>
#include <thread>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "eventlog/partition_health.h"
#include "fmt/format.h"
#include "projectors/staging/partition_projector.h"
#include "projectors/staging/staging_metrics.h"
#include "schemas/base/collect.h"
#include "schemas/base/status.h"
#include "spdlog/spdlog.h"

namespace sluice::projectors {
namespace {

constexpr std::chrono::seconds kProbeInterval{1};
constexpr std::chrono::milliseconds kScrapeWait{250};  // for the ends of partitions
constexpr std::chrono::milliseconds kScrapeLook{1};
constexpr std::string_view kLostEvents = "offset_below_begin";

absl::Status NotServedHere(PartitionId partition) {
  return Error(StatusCode::kUnavailable, "not_served_here",
               "partition {} is not served by this node", partition.value());
}

}  // namespace

struct StagingProjector::Impl {
  Impl(eventlog::Log& log_in, eventlog::PartitionGroup& group_in, StoreWriter& stores_in,
       const Clock& clock_in, StagingOptions options_in)
      : log(log_in),
        group(group_in),
        stores(stores_in),
        clock(clock_in),
        options(std::move(options_in)),
        metrics(options.registry) {}

  using Projectors = std::map<PartitionId, std::shared_ptr<PartitionProjector>>;

  void Assign(const std::vector<PartitionId>& partitions) {
    absl::MutexLock lock(&mutex);
    assigned = true;
    for (const PartitionId partition : partitions) {
      if (!projectors.contains(partition)) {
        StartProjector(partition);
      }
    }
  }
  // Called on a thread of the group's, where nobody could catch: a process that can't have one more
  // thread goes on with the partitions that it has.
  void StartProjector(PartitionId partition) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    ++taken_over[partition];
    try {
      auto projector = std::make_shared<PartitionProjector>(
          partition, PartitionProjector::Context{log, group, stores, clock, options, metrics});
      projector->Start();
      projectors.emplace(partition, std::move(projector));
      lacking.erase(partition);
    } catch (const std::system_error& error) {
      lacking.insert(partition);
      metrics.Retried();
      spdlog::error("staging_no_threads partition={} error=\"{}\"", partition.value(),
                    error.what());
    }
  }
  void StartLacking() {
    absl::MutexLock lock(&mutex);
    for (const PartitionId partition : std::set<PartitionId>(lacking)) {
      StartProjector(partition);
    }
  }
  // Of the first partition whose threads can't be made.
  absl::Status Lacking() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex) {
    return lacking.empty() ? absl::OkStatus()
                           : Error(StatusCode::kResourceExhausted, "no_threads",
                                   "partition {} is not folded: the process can't have its "
                                   "threads; raise its limit (ulimit -u, or the container's)",
                                   lacking.begin()->value());
  }

  // Returns when the last checkpoints are written.
  void Revoke(const std::vector<PartitionId>& partitions) {
    Projectors leaving;
    {
      absl::MutexLock lock(&mutex);
      for (const PartitionId partition : partitions) {
        lacking.erase(partition);
        if (auto found = projectors.extract(partition); !found.empty()) {
          leaving.insert(std::move(found));
        }
      }
    }
    ServingChanged();  // answers end before another process begins
    for (const auto& [partition, projector] : leaving) {
      projector->RequestStop();
    }
    for (const auto& [partition, projector] : leaving) {
      projector->Stop();
      metrics.Revoked(partition);
    }
  }

  std::vector<PartitionId> Assigned() const {
    absl::MutexLock lock(&mutex);
    return Collect(projectors, [](const auto& entry) { return entry.first; });
  }
  Projectors AllProjectors() const {
    absl::MutexLock lock(&mutex);
    return projectors;
  }
  // Those that have yet to catch up, are not near their ends, or fail.
  static eventlog::TroubledPartitions NotWell(const Projectors& projectors) {
    eventlog::TroubledPartitions troubled;
    for (const auto& [partition, projector] : projectors) {
      absl::Status status = projector->Health();
      if (status.ok()) {
        status = projector->MayServe();
      }
      if (!status.ok()) {
        troubled.emplace_back(partition, std::move(status));
      }
    }
    return troubled;
  }
  absl::Status Health() {
    RETURN_IF_ERROR(group.Health());
    Projectors all;
    {
      absl::MutexLock lock(&mutex);
      if (!assigned) {
        return Error(StatusCode::kUnavailable, "staging_not_assigned",
                     "the group has not assigned partitions yet");
      }
      RETURN_IF_ERROR(Lacking());
      all = projectors;
    }
    return health.Of(NotWell(all), all.size());
  }
  std::shared_ptr<PartitionProjector> Find(PartitionId partition) const {
    absl::MutexLock lock(&mutex);
    const auto found = projectors.find(partition);
    return found == projectors.end() ? nullptr : found->second;
  }

  void ServingChanged() const {
    if (options.serving_changed) {
      options.serving_changed();
    }
  }
  // Once a second, until the end: makes the threads that could not be made, has the log asked for
  // the ends of the partitions, and tells of changes in who may be served. Waits for no partition.
  void Probe();
  // What MayServe() depends on.
  bool MayServeApart(const ApartOrg& apart) const;
  static std::string ReasonOf(const PartitionProjector* projector, const ApartOrg& apart);
  std::string ServingState();

  eventlog::Log& log;
  eventlog::PartitionGroup& group;
  StoreWriter& stores;
  const Clock& clock;
  const StagingOptions options;
  StagingMetrics metrics;
  eventlog::PartitionHealth health;

  std::thread prober;

  mutable absl::Mutex mutex;
  bool stopping ABSL_GUARDED_BY(mutex) = false;
  bool assigned ABSL_GUARDED_BY(mutex) = false;  // the group has answered once
  Projectors projectors ABSL_GUARDED_BY(mutex);
  std::set<PartitionId> lacking ABSL_GUARDED_BY(mutex);  // assigned, and without threads
  std::map<PartitionId, uint64_t> taken_over ABSL_GUARDED_BY(mutex);
};

// Rights that were taken away must not be shown for long by who still folds what came before.
bool StagingProjector::Impl::MayServeApart(const ApartOrg& apart) const {
  return !apart.hidden && apart.near.has_value() &&
         clock.SteadyNow() - *apart.near <= options.near_end;
}

// Why it is apart; or why it cannot come back.
std::string StagingProjector::Impl::ReasonOf(const PartitionProjector* projector,
                                             const ApartOrg& apart) {
  return projector != nullptr && projector->HasLostEvents(apart.org) ? std::string(kLostEvents)
                                                                     : apart.reason;
}

std::string StagingProjector::Impl::ServingState() {
  std::string state;
  std::map<std::string, size_t> apart;
  for (const PartitionId partition : Assigned()) {
    const auto projector = Find(partition);
    state += fmt::format("{}:{}", partition.value(),
                         projector == nullptr ? "" : ErrorCode(projector->MayServe()));
    for (const ApartOrg& org : stores.ApartOf(partition)) {
      ++apart[ReasonOf(projector.get(), org)];
      if (!MayServeApart(org)) {
        state += " " + org.org.value();
      }
    }
    state += "\n";
  }
  metrics.Apart(apart);
  return state;
}

void StagingProjector::Impl::Probe() {
  std::string state;
  while (true) {
    StartLacking();
    (void)Health();  // that all were well once is known whoever asks, and whether anybody does
    for (const PartitionId partition : Assigned()) {
      if (const auto projector = Find(partition); projector != nullptr) {
        projector->Probe();
      }
    }
    if (std::string now = ServingState(); now != state) {
      state = std::move(now);
      ServingChanged();
    }
    absl::MutexLock lock(&mutex);
    if (mutex.AwaitWithTimeout(absl::Condition(&stopping), absl::FromChrono(kProbeInterval))) {
      return;
    }
  }
}

StagingProjector::StagingProjector(eventlog::Log& log, eventlog::PartitionGroup& group,
                                   StoreWriter& stores, const Clock& clock, StagingOptions options)
    : impl_(std::make_unique<Impl>(log, group, stores, clock, std::move(options))) {}

StagingProjector::~StagingProjector() { Stop(); }

absl::Status StagingProjector::Start() {
  Impl* const impl = impl_.get();
  impl->prober = std::thread([impl] { impl->Probe(); });
  RETURN_IF_ERROR(impl->group.Start(
      {.on_assigned = [impl](const std::vector<PartitionId>& p) { impl->Assign(p); },
       .on_revoked = [impl](const std::vector<PartitionId>& p) { impl->Revoke(p); }}));
  absl::MutexLock lock(&impl->mutex);
  return impl->Lacking();
}

void StagingProjector::Stop() {
  {
    absl::MutexLock lock(&impl_->mutex);
    impl_->stopping = true;
  }
  if (impl_->prober.joinable()) {
    impl_->prober.join();
  }
  impl_->group.Stop();
  impl_->Revoke(impl_->Assigned());
}

absl::Status StagingProjector::Health() const { return impl_->Health(); }

bool StagingProjector::Serves(PartitionId partition) const {
  absl::MutexLock lock(&impl_->mutex);
  return impl_->projectors.contains(partition);
}

uint64_t StagingProjector::TakenOver(PartitionId partition) const {
  absl::MutexLock lock(&impl_->mutex);
  const auto found = impl_->taken_over.find(partition);
  return found == impl_->taken_over.end() ? 0 : found->second;
}

absl::Status StagingProjector::MayServe(PartitionId partition) const {
  const auto projector = impl_->Find(partition);
  if (projector == nullptr) {
    return NotServedHere(partition);
  }
  return projector->MayServe();
}

Offset StagingProjector::FoldedUntil(const OrgId& org) const {
  const PartitionId partition = impl_->log.PartitionFor(eventlog::Topic::kChanges, org.value());
  const auto projector = impl_->Find(partition);
  // In this order: who is given back in between has been folded as far as the partition was.
  const Offset next = projector == nullptr ? kNoOffset : projector->next();
  const auto apart = impl_->stores.ApartStateOf(partition, org);
  return apart.has_value() ? std::min(next, apart->next) : next;
}

std::optional<absl::StatusOr<Offset>> StagingProjector::EndSince(const OrgId& org,
                                                                 SteadyTime::duration ago) const {
  const PartitionId partition = impl_->log.PartitionFor(eventlog::Topic::kChanges, org.value());
  const auto projector = impl_->Find(partition);
  if (projector == nullptr) {
    return NotServedHere(partition);
  }
  return projector->EndSince(impl_->clock.SteadyNow() - ago);
}

absl::Status StagingProjector::MayServe(const OrgId& org) const {
  const PartitionId partition = impl_->log.PartitionFor(eventlog::Topic::kChanges, org.value());
  RETURN_IF_ERROR(MayServe(partition));
  const auto apart = impl_->stores.ApartStateOf(partition, org);
  if (!apart.has_value() || impl_->MayServeApart(*apart)) {
    return absl::OkStatus();
  }
  const auto projector = impl_->Find(partition);
  if (projector != nullptr && projector->HasLostEvents(org)) {
    return Error(StatusCode::kUnavailable, kLostEvents,
                 "the organisation's store cannot be built anew: the log no longer holds its "
                 "events; restore the log, or the store from a backup");
  }
  return Error(
      StatusCode::kUnavailable, "not_caught_up",
      "the organisation's store is behind the log, or is being built anew: try again later");
}

std::vector<StagingProjector::Troubled> StagingProjector::TroubledOrgs() const {
  std::vector<Troubled> troubled;
  for (const auto& [partition, status] : Impl::NotWell(impl_->AllProjectors())) {
    troubled.push_back({partition, ErrorCode(status), 0});
  }
  for (const PartitionId partition : impl_->Assigned()) {
    const auto projector = impl_->Find(partition);
    std::map<std::string, size_t> counts;
    for (const ApartOrg& org : impl_->stores.ApartOf(partition)) {
      if (!impl_->MayServeApart(org)) {
        ++counts[Impl::ReasonOf(projector.get(), org)];
      }
    }
    for (const auto& [code, count] : counts) {
      troubled.push_back({partition, code, count});
    }
  }
  return troubled;
}

void StagingProjector::RefreshMetrics() const {
  const Impl::Projectors projectors = impl_->AllProjectors();
  const SteadyTime since = impl_->clock.SteadyNow();
  const auto all_asked = [&] {
    bool all = true;
    for (const auto& [partition, projector] : projectors) {
      all = projector->EndSince(since).has_value() && all;  // all of them are asked at once
    }
    return all;
  };
  const auto until = std::chrono::steady_clock::now() + kScrapeWait;
  while (!all_asked() && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(kScrapeLook);
  }
  for (const auto& [partition, projector] : projectors) {
    impl_->metrics.Lag(partition, projector->lag());
  }
}

}  // namespace sluice::projectors

#include "gateways/sources/source_runner.h"

#include <prometheus/gauge.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "eventlog/partition_group.h"
#include "gateways/ingest/ingest_service.h"
#include "projectors/provisioning/provisioning.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kOrgsPerPage = 1'000;

std::map<std::string, Connector*> ByKind(const std::vector<Connector*>& connectors) {
  std::map<std::string, Connector*> by_kind;
  for (Connector* const connector : connectors) {
    by_kind.emplace(connector->kind(), connector);
  }
  return by_kind;
}

SinkDeps SinkDepsOf(const SourceRunnerOptions& options, const SourceRunnerDeps& deps,
                    const SourceMetrics& metrics) {
  return {
      .log = deps.log,
      .clock = deps.clock,
      .metrics = metrics,
      .in_flight =
          std::make_shared<InFlight>(options.in_flight_bytes_max, options.in_flight_events_max),
      .find = [&directory =
                   deps.directory.directory()](const OrgId& org) { return directory.Find(org); },
      .list = [&directory = deps.directory.directory()](
                  std::string_view after, size_t limit) { return directory.List(after, limit); },
      .request =
          [&directory = deps.directory](const OrgId& org, v1::ProvisioningRequest request,
                                        std::chrono::milliseconds timeout, eventlog::Cause cause) {
            return directory.Request(org, std::move(request), timeout, std::move(cause));
          },
      .may_append = [&directory = deps.directory](
                        PartitionId partition) { return directory.MayAppend(partition); },
      .applied = deps.applied};
}

}  // namespace

SourceRunner::SourceRunner(SourceRunnerOptions options, SourceRunnerDeps deps)
    : options_(std::move(options)),
      deps_(std::move(deps)),
      metrics_(deps_.registry),
      sink_(SinkDepsOf(options_, deps_, metrics_)),
      connectors_(ByKind(deps_.connectors)),
      entity_runs_(options_.entity_runs),
      whole_runs_(options_.whole_runs),
      worker_{
          .log = deps_.log,
          .clock = deps_.clock,
          .metrics = metrics_,
          .options = options_.worker,
          .sink = sink_,
          .connectors = connectors_,
          .entity_runs = entity_runs_,
          .whole_runs = whole_runs_,
          .sealer = deps_.sealer,
          .sources = [this](PartitionId partition) { return SourcesOf(partition); },
          .ready = [this](PartitionId partition) { return deps_.directory.CaughtUp(partition); }} {}

SourceRunner::~SourceRunner() { Stop(); }

absl::Status SourceRunner::Start() {
  return deps_.group.Start(
      {.on_assigned = [this](const std::vector<PartitionId>& partitions) { Assign(partitions); },
       .on_revoked = [this](const std::vector<PartitionId>& partitions) { Revoke(partitions); }});
}

void SourceRunner::Stop() {
  deps_.group.Stop();
  entity_runs_.Stop();
  whole_runs_.Stop();
}

void SourceRunner::Assign(const std::vector<PartitionId>& partitions) {
  for (const PartitionId partition : partitions) {
    if (partition == PartitionId(0) && deps_.owns_first) {
      deps_.owns_first(true);
    }
    auto worker = std::make_shared<PartitionWorker>(worker_, partition);
    worker->Start();
    const absl::MutexLock lock(&mutex_);
    workers_[partition] = std::move(worker);
  }
}

void SourceRunner::Revoke(const std::vector<PartitionId>& partitions) {
  if (deps_.owns_first && std::ranges::count(partitions, PartitionId(0)) > 0) {
    deps_.owns_first(false);
  }
  std::vector<std::shared_ptr<PartitionWorker>> revoked;
  {
    const absl::MutexLock lock(&mutex_);
    for (const PartitionId partition : partitions) {
      const auto found = workers_.find(partition);
      if (found != workers_.end()) {
        revoked.push_back(std::move(found->second));
        workers_.erase(found);
      }
    }
  }
  for (const auto& worker : revoked) {
    worker->RequestStop();
  }
  // One wait for all: a group that is kept waiting takes the process for dead.
  const absl::Time until = absl::Now() + absl::FromChrono(options_.worker.stop_patience);
  for (const auto& worker : revoked) {
    worker->Stop(until);
  }
}

std::vector<KnownSource> SourceRunner::SourcesOf(PartitionId partition) {
  const absl::MutexLock lock(&scan_mutex_);
  const SteadyTime now = deps_.clock.SteadyNow();
  // One look for all partitions.
  if (scanned_at_ == SteadyTime() || now - scanned_at_ >= options_.worker.tick / 2) {
    scanned_at_ = now;
    scan_.clear();
    std::string after;
    while (true) {
      const auto page = deps_.directory.directory().List(after, kOrgsPerPage);
      for (const auto& entry : page) {
        if (entry->sources.empty()) {
          continue;
        }
        std::vector<KnownSource>& known =
            scan_[deps_.log.PartitionFor(eventlog::Topic::kChanges, entry->org.value())];
        std::ranges::move(KnownSourcesOf(*entry), std::back_inserter(known));
      }
      if (page.size() < kOrgsPerPage) {
        break;
      }
      after = page.back()->org.value();
    }
  }
  const auto found = scan_.find(partition);
  return found == scan_.end() ? std::vector<KnownSource>() : found->second;
}

void SourceRunner::RefreshMetrics() const {
  metrics_.running.Set(static_cast<double>(entity_runs_.running() + whole_runs_.running()));
  metrics_.queued.Set(static_cast<double>(entity_runs_.queued() + whole_runs_.queued()));
  const absl::MutexLock lock(&mutex_);
  size_t not_ready = 0;
  size_t overdue = 0;
  for (const auto& [partition, worker] : workers_) {
    not_ready += worker->ready() ? 0 : 1;
    overdue += worker->overdue();
  }
  metrics_.partitions.Set(static_cast<double>(workers_.size()));
  metrics_.not_ready.Set(static_cast<double>(not_ready));
  metrics_.overdue.Set(static_cast<double>(overdue));
}

}  // namespace sluice::gateways

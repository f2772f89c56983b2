#include "gateways/admin/ingest_service.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <algorithm>

#include "absl/time/time.h"

namespace sluice::gateways {

bool InFlight::Acquire(size_t bytes, size_t events, absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto has_room = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return bytes_ == 0 || (bytes_ + bytes <= bytes_max_ && events_ + events <= events_max_);
  };
  if (!mutex_.AwaitWithDeadline(absl::Condition(&has_room), deadline)) {
    return false;
  }
  bytes_ += bytes;
  events_ += events;
  return true;
}

void InFlight::Release(size_t bytes, size_t events) {
  absl::MutexLock lock(&mutex_);
  bytes_ -= bytes;
  events_ -= events;
}

size_t InFlight::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

struct IngestService::Metrics {
  prometheus::Counter* sets = nullptr;
  prometheus::Counter* ops = nullptr;
  prometheus::Counter* bytes = nullptr;
  prometheus::Counter* duplicates = nullptr;
  prometheus::Family<prometheus::Counter>* rejected = nullptr;
  prometheus::Gauge* in_flight = nullptr;
};

IngestService::IngestService(IngestOptions options, eventlog::Log& log,
                             const projectors::Directory& directory,
                             projectors::StoreManager* stores, const Clock& clock,
                             const std::shared_ptr<prometheus::Registry>& registry)
    : options_(options),
      log_(log),
      directory_(directory),
      stores_(stores),
      clock_(clock),
      duplicates_(
          options.remembered_sets_max,
          stores == nullptr ? DuplicateFilter::Applied()
                            : [stores](const OrgId& org) { return stores->AppliedOf(org); },
          registry),
      in_flight_(
          std::make_shared<InFlight>(options.in_flight_bytes_max, options.in_flight_events_max)),
      metrics_(std::make_unique<Metrics>()) {
  if (registry == nullptr) {
    return;
  }
  const auto counter = [&](const char* name, const char* help) {
    return &prometheus::BuildCounter().Name(name).Help(help).Register(*registry).Add({});
  };
  metrics_->sets = counter("sluice_ingest_sets_total", "Change sets given to the log");
  metrics_->ops = counter("sluice_ingest_ops_total", "Operations of those change sets");
  metrics_->bytes = counter("sluice_ingest_bytes_total", "Bytes of those change sets as events");
  metrics_->duplicates =
      counter("sluice_ingest_duplicates_total", "Change sets that were there already");
  metrics_->rejected = &prometheus::BuildCounter()
                            .Name("sluice_ingest_rejected_total")
                            .Help("Change sets answered with an error, by code")
                            .Register(*registry);
  metrics_->in_flight = &prometheus::BuildGauge()
                             .Name("sluice_ingest_in_flight_bytes")
                             .Help("Bytes appended and not durable yet")
                             .Register(*registry)
                             .Add({});
  prometheus::BuildGauge()
      .Name("sluice_ingest_in_flight_bytes_limit")
      .Help("Bytes that may be appended and not durable; requests wait at the limit")
      .Register(*registry)
      .Add({})
      .Set(static_cast<double>(options.in_flight_bytes_max));
}

IngestService::~IngestService() = default;

void IngestService::CountAccepted(size_t ops, size_t bytes) {
  if (metrics_->sets != nullptr) {
    metrics_->sets->Increment();
    metrics_->ops->Increment(static_cast<double>(ops));
    metrics_->bytes->Increment(static_cast<double>(bytes));
    metrics_->in_flight->Set(static_cast<double>(in_flight_->bytes()));
  }
}

void IngestService::CountDuplicate() {
  if (metrics_->duplicates != nullptr) {
    metrics_->duplicates->Increment();
  }
}

void IngestService::CountRejected(const std::string& code) {
  if (metrics_->rejected != nullptr) {
    metrics_->rejected->Add({{"code", code}}).Increment();
  }
}

Offset IngestService::LastChange(const OrgId& org) const {
  absl::MutexLock lock(&mutex_);
  const auto found = last_changes_.find(org.value());
  return found == last_changes_.end() ? kNoOffset : found->second;
}

void IngestService::NoteChange(const OrgId& org, Offset offset) {
  absl::MutexLock lock(&mutex_);
  Offset& last = last_changes_.try_emplace(org.value(), kNoOffset).first->second;
  last = std::max(last, offset);
}

}  // namespace sluice::gateways

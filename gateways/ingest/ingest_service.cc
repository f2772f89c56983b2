#include "gateways/ingest/ingest_service.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <utility>

#include "absl/time/time.h"
#include "schemas/base/metrics.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

InFlight::InFlight(size_t bytes_max, size_t events_max,
                   const std::shared_ptr<prometheus::Registry>& registry)
    : bytes_max_(bytes_max), events_max_(events_max), registry_(registry) {
  if (registry == nullptr) {
    return;
  }
  const auto gauge = [&](const char* name, const char* help) {
    return &AddGauge(*registry, name, help);
  };
  bytes_gauge_ = gauge("sluice_ingest_in_flight_bytes", "Bytes appended and not durable yet");
  waiting_gauge_ = gauge("sluice_ingest_in_flight_waiting",
                         "Batches that wait for room among what is appended and not durable");
  gauge("sluice_ingest_in_flight_bytes_limit",
        "Bytes that may be appended and not durable; requests wait at the limit")
      ->Set(static_cast<double>(bytes_max));
}

void InFlight::Show() {
  if (bytes_gauge_ != nullptr) {
    bytes_gauge_->Set(static_cast<double>(bytes_));
    waiting_gauge_->Set(static_cast<double>(waiting_));
  }
}

// One that is larger than the limit would wait for ever: it is let in where nothing else is.
bool InFlight::Fits(size_t bytes, size_t events, std::optional<PartitionId> partition) const {
  if (bytes_ == 0) {
    return true;
  }
  if (bytes_ + bytes > bytes_max_ || events_ + events > events_max_) {
    return false;
  }
  const auto part = partition.has_value() ? parts_.find(*partition) : parts_.end();
  return part == parts_.end() || (part->second.bytes + bytes <= bytes_max_ - bytes_ - bytes &&
                                  part->second.events + events <= events_max_ - events_ - events);
}

bool InFlight::Acquire(size_t bytes, size_t events, absl::Time deadline,
                       std::optional<PartitionId> partition) {
  absl::MutexLock lock(&mutex_);
  ++waiting_;
  const auto has_room = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS {
    return Fits(bytes, events, partition);
  };
  if (!has_room()) {
    Show();
  }
  const bool room = mutex_.AwaitWithDeadline(absl::Condition(&has_room), deadline);
  --waiting_;
  if (room) {
    bytes_ += bytes;
    events_ += events;
    if (partition.has_value()) {
      Part& part = parts_[*partition];
      part.bytes += bytes;
      part.events += events;
    }
  }
  Show();
  return room;
}

void InFlight::Release(size_t bytes, size_t events, std::optional<PartitionId> partition) {
  absl::MutexLock lock(&mutex_);
  bytes_ -= bytes;
  events_ -= events;
  if (const auto part = partition.has_value() ? parts_.find(*partition) : parts_.end();
      part != parts_.end()) {
    part->second.bytes -= bytes;
    part->second.events -= events;
    if (part->second.bytes == 0 && part->second.events == 0) {
      parts_.erase(part);
    }
  }
  Show();
}

size_t InFlight::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

size_t InFlight::events() const {
  absl::MutexLock lock(&mutex_);
  return events_;
}

size_t InFlight::waiting() const {
  absl::MutexLock lock(&mutex_);
  return waiting_;
}

struct IngestService::Metrics {
  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter& sets =
      AddCounter(*registry, "sluice_ingest_sets_total", "Change sets given to the log");
  prometheus::Counter& ops =
      AddCounter(*registry, "sluice_ingest_ops_total", "Operations of those change sets");
  prometheus::Counter& bytes =
      AddCounter(*registry, "sluice_ingest_bytes_total", "Bytes of those change sets as events");
  prometheus::Counter& duplicates = AddCounter(*registry, "sluice_ingest_duplicates_total",
                                               "Change sets that were there already");
  prometheus::Family<prometheus::Counter>& rejected = CounterFamily(
      *registry, "sluice_ingest_rejected_total", "Change sets answered with an error, by code");
  prometheus::Family<prometheus::Counter>& relays =
      CounterFamily(*registry, "sluice_ingest_relays_total",
                    "Requests to the node that serves an organisation, for sets that "
                    "it has to answer, by result");
};

IngestService::IngestService(IngestOptions options, eventlog::Log& log,
                             const projectors::Directory& directory,
                             projectors::StoreReader* stores, const Clock& clock,
                             const std::shared_ptr<prometheus::Registry>& registry,
                             IngestServing serving)
    : options_(options),
      log_(log),
      directory_(directory),
      stores_(stores),
      clock_(clock),
      serving_(std::move(serving)),
      relay_(options.relay),
      duplicates_(options.remembered_sets_max, serving_.applied, registry),
      in_flight_(std::make_shared<InFlight>(options.in_flight_bytes_max,
                                            options.in_flight_events_max, registry)),
      metrics_(new Metrics{.registry = RegistryOrNew(registry)}) {}

IngestService::~IngestService() = default;

void IngestService::CountAccepted(size_t ops, size_t bytes) {
  metrics_->sets.Increment();
  metrics_->ops.Increment(static_cast<double>(ops));
  metrics_->bytes.Increment(static_cast<double>(bytes));
}

void IngestService::CountDuplicate() { metrics_->duplicates.Increment(); }

void IngestService::CountRejected(const std::string& code) {
  metrics_->rejected.Add({{"code", code}}).Increment();
}

void IngestService::CountRelay(bool answered) {
  metrics_->relays.Add({{"result", answered ? "answered" : "failed"}}).Increment();
}

absl::Status IngestService::MayServe(const OrgId& org) const {
  if (stores_ == nullptr) {
    return Error(absl::StatusCode::kUnavailable, "not_served_here", "this process keeps no stores");
  }
  return serving_.may_serve ? serving_.may_serve(org) : absl::OkStatus();
}

absl::Status IngestService::ReachDirectory(const OrgId& org, SteadyTime::duration ago,
                                           std::chrono::milliseconds patience) const {
  return serving_.reach_directory ? serving_.reach_directory(org, ago, patience) : absl::OkStatus();
}

absl::Status IngestService::MayAppend(PartitionId partition) const {
  return serving_.may_append ? serving_.may_append(partition) : absl::OkStatus();
}

std::optional<std::string> IngestService::ServedAt(const OrgId& org) const {
  return serving_.served_at ? serving_.served_at(org) : std::nullopt;
}

std::optional<std::string> IngestService::RelayTo(const OrgId& org) const {
  return serving_.relay_to ? serving_.relay_to(org) : std::nullopt;
}

absl::StatusOr<std::optional<Offset>> IngestService::FindInStore(const OrgId& org,
                                                                 std::string_view source,
                                                                 std::string_view id,
                                                                 Offset opened) const {
  if (stores_ == nullptr) {
    return std::nullopt;
  }
  ASSIGN_OR_RETURN(const auto found, stores_->FindChangeSet(org, source, id));
  // A store that has yet to come to the opening of this incarnation answers for the one before,
  // whose sets are gone with it.
  if (!found.has_value() || *found <= opened) {
    return std::nullopt;
  }
  // What a store applied that the log has lost since was not taken. Asked after the store, so
  // that a fault that is found while the store is read counts.
  const absl::Status may_serve = MayServe(org);
  if (eventlog::IsOtherHistory(may_serve)) {
    return may_serve;
  }
  RETURN_IF_ERROR(MayAppend(log().PartitionFor(eventlog::Topic::kChanges, org.value())));
  return found;
}

Offset IngestService::LastChange(const OrgId& org) const {
  absl::MutexLock lock(&mutex_);
  const auto found = last_changes_.find(org.value());
  return found == last_changes_.end() ? kNoOffset : found->second;
}

void IngestService::NoteChange(const OrgId& org, Offset offset) {
  absl::MutexLock lock(&mutex_);
  Offset& last = last_changes_.try_emplace(org.value(), kNoOffset).first->second;
  last = std::max(last, offset);  // requests end in any order, and a position never goes back
}

}  // namespace sluice::gateways

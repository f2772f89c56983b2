#include "gateways/admin/duplicate_filter.h"

#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <utility>

#include "absl/time/time.h"

namespace sluice::gateways {
namespace {

// How many of the oldest are looked at for each one that enters: more than one, so that the filter
// shrinks again after a burst.
constexpr size_t kTrimPerEntry = 2;

std::string KeyOf(const OrgId& org, uint32_t incarnation, std::string_view source,
                  std::string_view id) {
  std::string key;
  key.reserve(org.value().size() + source.size() + id.size() + 16);
  key.append(org.value()).push_back('\0');
  key.append(std::to_string(incarnation)).push_back('\0');
  key.append(source).push_back('\0');
  key.append(id);
  return key;
}

}  // namespace

void SetTicket::Resolve(absl::StatusOr<Offset> offset) {
  absl::MutexLock lock(&mutex_);
  if (!result_.has_value()) {
    result_ = std::move(offset);
  }
}

std::optional<absl::StatusOr<Offset>> SetTicket::WaitUntil(absl::Time deadline) {
  absl::MutexLock lock(&mutex_);
  const auto resolved = [&]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return result_.has_value(); };
  mutex_.AwaitWithDeadline(absl::Condition(&resolved), deadline);
  return result_;
}

std::optional<absl::StatusOr<Offset>> SetTicket::Peek() {
  absl::MutexLock lock(&mutex_);
  return result_;
}

struct DuplicateFilter::Metrics {
  prometheus::Gauge* sets = nullptr;
};

DuplicateFilter::DuplicateFilter(size_t sets_max, Applied applied,
                                 const std::shared_ptr<prometheus::Registry>& registry)
    : sets_max_(sets_max), applied_(std::move(applied)), metrics_(std::make_unique<Metrics>()) {
  if (registry != nullptr) {
    metrics_->sets = &prometheus::BuildGauge()
                          .Name("sluice_ingest_remembered_sets")
                          .Help("Change sets in flight or not applied yet, remembered by id")
                          .Register(*registry)
                          .Add({});
    prometheus::BuildGauge()
        .Name("sluice_ingest_remembered_sets_limit")
        .Help("Change sets that are remembered by id at most")
        .Register(*registry)
        .Add({})
        .Set(static_cast<double>(sets_max));
  }
}

DuplicateFilter::~DuplicateFilter() = default;

void DuplicateFilter::Trim() {
  for (size_t i = 0; i < kTrimPerEntry && !order_.empty(); ++i) {
    const Remembered& oldest = order_.front();
    const auto known = sets_.find(oldest.key);
    const bool current = known != sets_.end() && known->second == oldest.ticket;
    if (current) {
      const auto result = oldest.ticket->Peek();
      if (!result.has_value()) {
        return;  // in flight, and so are most behind it
      }
      const bool applied = result->ok() && applied_ && applied_(oldest.org) >= **result;
      if (!applied && sets_.size() < sets_max_) {
        return;
      }
      sets_.erase(known);
    }
    order_.pop_front();
  }
}

std::shared_ptr<SetTicket> DuplicateFilter::Find(const OrgId& org, uint32_t incarnation,
                                                 std::string_view source, std::string_view id) {
  const std::string key = KeyOf(org, incarnation, source, id);
  absl::MutexLock lock(&mutex_);
  const auto known = sets_.find(key);
  if (known == sets_.end()) {
    return nullptr;
  }
  const auto result = known->second->Peek();
  return !result.has_value() || result->ok() ? known->second : nullptr;
}

DuplicateFilter::Claim DuplicateFilter::Enter(const OrgId& org, uint32_t incarnation,
                                              std::string_view source, std::string_view id) {
  std::string key = KeyOf(org, incarnation, source, id);
  absl::MutexLock lock(&mutex_);
  if (const auto known = sets_.find(key); known != sets_.end()) {
    const auto result = known->second->Peek();
    if (!result.has_value() || result->ok()) {
      return {known->second, false};
    }
    sets_.erase(known);
  }
  Trim();
  Claim claim{std::make_shared<SetTicket>(), true};
  if (sets_.size() < sets_max_) {
    sets_.emplace(key, claim.ticket);
    order_.push_back({org, std::move(key), claim.ticket});
  }
  if (metrics_->sets != nullptr) {
    metrics_->sets->Set(static_cast<double>(sets_.size()));
  }
  return claim;
}

}  // namespace sluice::gateways

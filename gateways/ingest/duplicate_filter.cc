#include "gateways/ingest/duplicate_filter.h"

#include <fmt/format.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <algorithm>
#include <iterator>

#include "schemas/base/metrics.h"
#include "schemas/base/sha256.h"

namespace sluice::gateways {
namespace {

// How many of the oldest are looked at for each one that enters: more than one, so that the filter
// shrinks again after a burst.
constexpr size_t kTrimPerEntry = 2;

}  // namespace

void TicketWaker::Wake() {
  absl::MutexLock lock(&mutex_);
  if (wake_) {
    wake_();
  }
}

void TicketWaker::Close() {
  absl::MutexLock lock(&mutex_);
  wake_ = nullptr;
}

void SetTicket::Resolve(absl::StatusOr<Offset> offset) {
  std::forward_list<std::weak_ptr<TicketWaker>> wakers;
  {
    absl::MutexLock lock(&mutex_);
    if (!result_.has_value()) {
      result_ = std::move(offset);
    }
    wakers.swap(wakers_);
  }
  for (const auto& weak : wakers) {
    if (const auto waker = weak.lock(); waker != nullptr) {
      waker->Wake();
    }
  }
}

bool SetTicket::WakeWhenResolved(const std::shared_ptr<TicketWaker>& waker) {
  absl::MutexLock lock(&mutex_);
  if (result_.has_value()) {
    return false;
  }
  wakers_.push_front(waker);
  return true;
}

std::optional<absl::StatusOr<Offset>> SetTicket::Peek() {
  absl::MutexLock lock(&mutex_);
  return result_;
}

DuplicateFilter::DuplicateFilter(size_t sets_max, Applied applied,
                                 const std::shared_ptr<prometheus::Registry>& registry)
    : sets_max_(sets_max),
      applied_(std::move(applied)),
      registry_(RegistryOrNew(registry)),
      size_gauge_(AddGauge(*registry_, "sluice_ingest_remembered_sets",
                           "Change sets in flight or not applied yet, remembered by id")) {
  AddGauge(*registry_, "sluice_ingest_remembered_sets_limit",
           "Change sets that are remembered by id at most")
      .Set(static_cast<double>(sets_max));
}

DuplicateFilter::Key DuplicateFilter::KeyOf(const OrgId& org, uint32_t incarnation,
                                            std::string_view source, std::string_view id) {
  // With lengths, so that no two sets have one text.
  const Sha256Digest digest =
      Sha256(fmt::format("{}:{} {} {}:{} {}", org.value().size(), org.value(), incarnation,
                         source.size(), source, id));
  Key key;
  std::copy_n(digest.begin(), key.size(), key.begin());
  return key;
}

bool DuplicateFilter::IsApplied(const OrgId& org,
                                const std::optional<absl::StatusOr<Offset>>& result) const {
  return result.has_value() && result->ok() && applied_ && applied_(org) >= **result;
}

std::shared_ptr<SetTicket> DuplicateFilter::TicketOf(const Key& key) {
  const auto known = sets_.find(key);
  return known == sets_.end() ? nullptr : known->second->ticket;
}

// Nothing where the set has been claimed anew since `ticket` was looked at.
void DuplicateFilter::Forget(const Key& key, const SetTicket* ticket) {
  const auto known = sets_.find(key);
  if (known == sets_.end() || known->second->ticket.get() != ticket) {
    return;
  }
  if (const auto org = known->second->org; --org->second == 0) {
    orgs_.erase(org);
  }
  order_.erase(known->second);
  sets_.erase(known);
}

void DuplicateFilter::ShowSize() { size_gauge_.Set(static_cast<double>(sets_.size())); }

void DuplicateFilter::Trim() {
  for (size_t i = 0; i < kTrimPerEntry; ++i) {
    if (!TrimOldest()) {
      return;
    }
  }
}

// False where the oldest has to stay, as most behind it do then.
bool DuplicateFilter::TrimOldest() {
  std::shared_ptr<SetTicket> ticket;
  Key key;
  OrgId org;
  bool full = false;
  {
    absl::MutexLock lock(&mutex_);
    if (order_.empty()) {
      return false;
    }
    ticket = order_.front().ticket;
    key = order_.front().key;
    org = order_.front().org->first;
    full = sets_.size() >= sets_max_;
  }
  const auto result = ticket->Peek();
  if (!result.has_value() || (result->ok() && !full && !IsApplied(org, result))) {
    return false;
  }
  absl::MutexLock lock(&mutex_);
  Forget(key, ticket.get());
  return true;
}

std::shared_ptr<SetTicket> DuplicateFilter::Known(const OrgId& org, const Key& key) {
  std::shared_ptr<SetTicket> ticket;
  {
    absl::MutexLock lock(&mutex_);
    ticket = TicketOf(key);
  }
  if (ticket == nullptr) {
    return nullptr;
  }
  const auto result = ticket->Peek();
  if (!result.has_value() || (result->ok() && !IsApplied(org, result))) {
    return ticket;
  }
  absl::MutexLock lock(&mutex_);
  Forget(key, ticket.get());
  ShowSize();
  return nullptr;
}

std::shared_ptr<SetTicket> DuplicateFilter::Find(const OrgId& org, uint32_t incarnation,
                                                 std::string_view source, std::string_view id) {
  return Known(org, KeyOf(org, incarnation, source, id));
}

DuplicateFilter::Claim DuplicateFilter::Enter(const OrgId& org, uint32_t incarnation,
                                              std::string_view source, std::string_view id) {
  const Key key = KeyOf(org, incarnation, source, id);
  if (auto ticket = Known(org, key); ticket != nullptr) {
    return {std::move(ticket), false};
  }
  Trim();
  absl::MutexLock lock(&mutex_);
  if (auto ticket = TicketOf(key); ticket != nullptr) {
    return {std::move(ticket), false};  // claimed between the two looks
  }
  Claim claim{std::make_shared<SetTicket>(), true};
  if (sets_.size() < sets_max_) {
    const auto counted = orgs_.try_emplace(org, 0).first;
    ++counted->second;
    order_.push_back({key, counted, claim.ticket});
    sets_.emplace(key, std::prev(order_.end()));
  }
  ShowSize();
  return claim;
}

}  // namespace sluice::gateways

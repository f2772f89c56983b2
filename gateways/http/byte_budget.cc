#include "gateways/http/byte_budget.h"

#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include "schemas/base/metrics.h"

namespace sluice::gateways {
namespace {

constexpr size_t kOwnerPart = 4;
constexpr size_t kCallerPart = 2;

}  // namespace

ByteBudget::ByteBudget(size_t bytes_max, const std::string& name, const std::string& help,
                       const std::string& listener,
                       const std::shared_ptr<prometheus::Registry>& registry)
    : bytes_max_(bytes_max),
      registry_(RegistryOrNew(registry)),
      gauge_(AddGauge(*registry_, name, help, {{"listener", listener}})) {
  AddGauge(*registry_, name + "_limit", "The most that " + name + " may be",
           {{"listener", listener}})
      .Set(static_cast<double>(bytes_max));
}

bool ByteBudget::TryAcquire(const Owner& owner, size_t own, size_t bytes) {
  absl::MutexLock lock(&mutex_);
  const size_t held = held_.load(std::memory_order_relaxed);
  if (bytes > bytes_max_ || held > bytes_max_ - bytes) {
    return false;
  }
  if (const auto found = owners_.find(owner.name); found != owners_.end()) {
    const Held& of = found->second;
    if (of.bytes > own && of.bytes + bytes > bytes_max_ / kOwnerPart) {
      return false;
    }
    const auto caller = of.callers.find(owner.caller);
    if (caller != of.callers.end() && caller->second > own &&
        caller->second + bytes > bytes_max_ / kOwnerPart / kCallerPart) {
      return false;
    }
  }
  if (bytes > 0) {
    Held& of = owners_[owner.name];
    of.bytes += bytes;
    if (!owner.caller.empty()) {
      of.callers[owner.caller] += bytes;
    }
  }
  held_.store(held + bytes, std::memory_order_relaxed);
  gauge_.Set(static_cast<double>(held + bytes));
  return true;
}

void ByteBudget::Release(const Owner& owner, size_t bytes) {
  absl::MutexLock lock(&mutex_);
  const auto found = owners_.find(owner.name);
  Held& of = found->second;
  if (!owner.caller.empty()) {
    const auto caller = of.callers.find(owner.caller);
    caller->second -= bytes;
    if (caller->second == 0) {
      of.callers.erase(caller);
    }
  }
  of.bytes -= bytes;
  if (of.bytes == 0) {
    owners_.erase(found);
  }
  const size_t held = held_.load(std::memory_order_relaxed) - bytes;
  held_.store(held, std::memory_order_relaxed);
  gauge_.Set(static_cast<double>(held));
}

}  // namespace sluice::gateways

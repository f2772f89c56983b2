#include "gateways/http/byte_budget.h"

#include <prometheus/gauge.h>
#include <prometheus/registry.h>

namespace sluice::gateways {

ByteBudget::ByteBudget(size_t bytes_max, const std::string& name, const std::string& help,
                       const std::string& listener,
                       const std::shared_ptr<prometheus::Registry>& registry)
    : bytes_max_(bytes_max), registry_(registry) {
  if (registry == nullptr) {
    return;
  }
  gauge_ = &prometheus::BuildGauge().Name(name).Help(help).Register(*registry).Add(
      {{"listener", listener}});
  prometheus::BuildGauge()
      .Name(name + "_limit")
      .Help("The most that " + name + " may be")
      .Register(*registry)
      .Add({{"listener", listener}})
      .Set(static_cast<double>(bytes_max));
}

bool ByteBudget::TryAcquire(size_t bytes) {
  size_t held = held_.load(std::memory_order_relaxed);
  do {
    if (bytes > bytes_max_ || held > bytes_max_ - bytes) {
      return false;
    }
  } while (!held_.compare_exchange_weak(held, held + bytes, std::memory_order_relaxed));
  if (gauge_ != nullptr) {
    gauge_->Set(static_cast<double>(held + bytes));
  }
  return true;
}

void ByteBudget::Release(size_t bytes) {
  const size_t before = held_.fetch_sub(bytes, std::memory_order_relaxed);
  if (gauge_ != nullptr) {
    gauge_->Set(static_cast<double>(before - bytes));
  }
}

}  // namespace sluice::gateways

#pragma once

#include <memory>
#include <utility>

#include "schemas/base/metrics.h"

namespace sluice::gateways {

// The module's metrics; all are thread-safe and live as long as the registry.
struct AuthMetrics {
  // Registers them; without a registry they are counted in one that nobody reads.
  explicit AuthMetrics(std::shared_ptr<prometheus::Registry> given)
      : registry(RegistryOrNew(std::move(given))) {}

  prometheus::Counter& Requests(const char* result) const {
    return AddCounter(*registry, "sluice_auth_requests_total",
                      "Requests by what became of their token", {{"result", result}});
  }
  prometheus::Counter& Loads(const char* result) const {
    return AddCounter(*registry, "sluice_auth_key_loads_total",
                      "Times the keys were read or fetched, by outcome", {{"result", result}});
  }

  const std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter& cached = Requests("cached");
  prometheus::Counter& verified = Requests("verified");
  prometheus::Counter& missing = Requests("token_missing");
  prometheus::Counter& invalid = Requests("token_invalid");
  prometheus::Counter& expired = Requests("token_expired");
  prometheus::Counter& unavailable = Requests("unavailable");
  prometheus::Counter& evicted = AddCounter(*registry, "sluice_auth_cache_evictions_total",
                                            "Verified tokens that were forgotten to make room");
  prometheus::Gauge& cache_entries =
      AddGauge(*registry, "sluice_auth_cache_tokens", "Verified tokens remembered");
  prometheus::Gauge& cache_limit =
      AddGauge(*registry, "sluice_auth_cache_tokens_limit", "Verified tokens remembered at most");
  prometheus::Gauge& cache_bytes =
      AddGauge(*registry, "sluice_auth_cache_bytes", "Memory of the remembered tokens, roughly");
  prometheus::Counter& keys_loaded = Loads("changed");
  prometheus::Counter& keys_unchanged = Loads("unchanged");
  prometheus::Counter& keys_failed = Loads("failed");
  prometheus::Gauge& keys =
      AddGauge(*registry, "sluice_auth_keys", "Keys that tokens are checked with");
};

}  // namespace sluice::gateways

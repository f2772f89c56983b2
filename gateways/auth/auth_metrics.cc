#include "gateways/auth/auth_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <utility>

#include "schemas/base/metrics.h"

namespace sluice::gateways {
AuthMetrics::AuthMetrics(std::shared_ptr<prometheus::Registry> given)
    : registry(RegistryOrNew(std::move(given))) {
  auto& requests = CounterFamily(*registry, "sluice_auth_requests_total",
                                 "Requests by what became of their token");
  cached = &requests.Add({{"result", "cached"}});
  verified = &requests.Add({{"result", "verified"}});
  missing = &requests.Add({{"result", "token_missing"}});
  invalid = &requests.Add({{"result", "token_invalid"}});
  expired = &requests.Add({{"result", "token_expired"}});
  unavailable = &requests.Add({{"result", "unavailable"}});
  evicted = &AddCounter(*registry, "sluice_auth_cache_evictions_total",
                        "Verified tokens that were forgotten to make room");
  cache_entries = &AddGauge(*registry, "sluice_auth_cache_tokens", "Verified tokens remembered");
  cache_limit =
      &AddGauge(*registry, "sluice_auth_cache_tokens_limit", "Verified tokens remembered at most");
  cache_bytes =
      &AddGauge(*registry, "sluice_auth_cache_bytes", "Memory of the remembered tokens, roughly");
  auto& loads = CounterFamily(*registry, "sluice_auth_key_loads_total",
                              "Times the keys were read or fetched, by outcome");
  keys_loaded = &loads.Add({{"result", "changed"}});
  keys_unchanged = &loads.Add({{"result", "unchanged"}});
  keys_failed = &loads.Add({{"result", "failed"}});
  keys = &AddGauge(*registry, "sluice_auth_keys", "Keys that tokens are checked with");
}

}  // namespace sluice::gateways

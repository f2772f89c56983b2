#include "gateways/auth/auth_metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <utility>

namespace sluice::gateways {
namespace {

prometheus::Gauge* NewGauge(prometheus::Registry& registry, const char* name, const char* help) {
  return &prometheus::BuildGauge().Name(name).Help(help).Register(registry).Add({});
}

}  // namespace

AuthMetrics::AuthMetrics(std::shared_ptr<prometheus::Registry> given)
    : registry(given != nullptr ? std::move(given) : std::make_shared<prometheus::Registry>()) {
  auto& requests = prometheus::BuildCounter()
                       .Name("sluice_auth_requests_total")
                       .Help("Requests by what became of their token")
                       .Register(*registry);
  cached = &requests.Add({{"result", "cached"}});
  verified = &requests.Add({{"result", "verified"}});
  missing = &requests.Add({{"result", "token_missing"}});
  invalid = &requests.Add({{"result", "token_invalid"}});
  expired = &requests.Add({{"result", "token_expired"}});
  unavailable = &requests.Add({{"result", "unavailable"}});
  evicted = &prometheus::BuildCounter()
                 .Name("sluice_auth_cache_evictions_total")
                 .Help("Verified tokens that were forgotten to make room")
                 .Register(*registry)
                 .Add({});
  cache_entries = NewGauge(*registry, "sluice_auth_cache_tokens", "Verified tokens remembered");
  cache_limit =
      NewGauge(*registry, "sluice_auth_cache_tokens_limit", "Verified tokens remembered at most");
  cache_bytes =
      NewGauge(*registry, "sluice_auth_cache_bytes", "Memory of the remembered tokens, roughly");
  auto& loads = prometheus::BuildCounter()
                    .Name("sluice_auth_key_loads_total")
                    .Help("Times the keys were read or fetched, by outcome")
                    .Register(*registry);
  keys_loaded = &loads.Add({{"result", "changed"}});
  keys_unchanged = &loads.Add({{"result", "unchanged"}});
  keys_failed = &loads.Add({{"result", "failed"}});
  keys = NewGauge(*registry, "sluice_auth_keys", "Keys that tokens are checked with");
}

}  // namespace sluice::gateways

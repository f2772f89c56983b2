#pragma once

#include <memory>

namespace prometheus {
class Counter;
class Gauge;
class Registry;
}  // namespace prometheus

namespace sluice::gateways {

// The module's metrics; all are thread-safe and live as long as the registry.
struct AuthMetrics {
  // Registers them; without a registry they are counted in one that nobody reads.
  explicit AuthMetrics(std::shared_ptr<prometheus::Registry> registry);

  std::shared_ptr<prometheus::Registry> registry;
  prometheus::Counter* cached;          // sluice_auth_requests_total{result="cached"}
  prometheus::Counter* verified;        // ... {result="verified"}
  prometheus::Counter* missing;         // ... {result="token_missing"}
  prometheus::Counter* invalid;         // ... {result="token_invalid"}
  prometheus::Counter* expired;         // ... {result="token_expired"}
  prometheus::Counter* unavailable;     // ... {result="unavailable"}
  prometheus::Counter* evicted;         // sluice_auth_cache_evictions_total
  prometheus::Gauge* cache_entries;     // sluice_auth_cache_tokens
  prometheus::Gauge* cache_limit;       // sluice_auth_cache_tokens_limit
  prometheus::Gauge* cache_bytes;       // sluice_auth_cache_bytes
  prometheus::Counter* keys_loaded;     // sluice_auth_key_loads_total{result="changed"}
  prometheus::Counter* keys_unchanged;  // ... {result="unchanged"}
  prometheus::Counter* keys_failed;     // ... {result="failed"}
  prometheus::Gauge* keys;              // sluice_auth_keys
};

}  // namespace sluice::gateways

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace prometheus {
class Gauge;
class Registry;
}  // namespace prometheus

namespace sluice::gateways {

// The bytes of requests' heads whose callers are not known, of a listener. Past the limit those
// that began first make room: a head of somebody who means it is complete with the next packet, one
// that is kept back costs its sender the connection, and nobody is turned away for another's sake.
// Thread-safe.
class PendingHeads {
 public:
  // Shown as the gauges sluice_http_head_bytes and …_limit with the label `listener`; `registry`
  // may be null.
  PendingHeads(size_t bytes_max, const std::string& listener,
               const std::shared_ptr<prometheus::Registry>& registry);

  // The head on connection `id` takes `bytes` by now, 0: none any more. Returns the connections
  // that have to be closed for it; their heads are forgotten. One alone has what it asks for.
  [[nodiscard]] std::vector<uint64_t> Hold(uint64_t id, size_t bytes);
  [[nodiscard]] size_t bytes() const;

 private:
  struct Head {
    uint64_t turn = 0;  // in the order in which they began
    size_t bytes = 0;
  };
  void Set(uint64_t id, size_t bytes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Another than `id`; there is one.
  uint64_t Oldest(uint64_t id) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const size_t bytes_max_;
  std::shared_ptr<prometheus::Registry> registry_;  // keeps the gauge
  prometheus::Gauge& gauge_;
  mutable absl::Mutex mutex_;
  uint64_t next_turn_ ABSL_GUARDED_BY(mutex_) = 0;
  size_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::unordered_map<uint64_t, Head> heads_ ABSL_GUARDED_BY(mutex_);  // none with 0 bytes
  std::map<uint64_t, uint64_t> order_ ABSL_GUARDED_BY(mutex_);        // ids by turn
};

}  // namespace sluice::gateways

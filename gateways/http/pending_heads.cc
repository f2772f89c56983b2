#include "gateways/http/pending_heads.h"

#include <prometheus/gauge.h>
#include <prometheus/registry.h>

#include <iterator>

#include "schemas/base/metrics.h"

namespace sluice::gateways {

PendingHeads::PendingHeads(size_t bytes_max, const std::string& listener,
                           const std::shared_ptr<prometheus::Registry>& registry)
    : bytes_max_(bytes_max),
      registry_(RegistryOrNew(registry)),
      gauge_(AddGauge(*registry_, "sluice_http_head_bytes",
                      "Bytes of heads whose callers are not known", {{"listener", listener}})) {
  AddGauge(*registry_, "sluice_http_head_bytes_limit",
           "The most that sluice_http_head_bytes may be", {{"listener", listener}})
      .Set(static_cast<double>(bytes_max));
}

void PendingHeads::Set(uint64_t id, size_t bytes) {
  const auto found = heads_.find(id);
  const bool known = found != heads_.end();
  bytes_ = bytes_ - (known ? found->second.bytes : 0) + bytes;
  if (bytes == 0) {
    if (known) {
      order_.erase(found->second.turn);
      heads_.erase(found);
    }
  } else if (known) {
    found->second.bytes = bytes;
  } else {
    heads_[id] = Head{.turn = next_turn_, .bytes = bytes};
    order_[next_turn_++] = id;
  }
}

uint64_t PendingHeads::Oldest(uint64_t id) const {
  const auto first = order_.begin();
  return first->second != id ? first->second : std::next(first)->second;
}

std::vector<uint64_t> PendingHeads::Hold(uint64_t id, size_t bytes) {
  absl::MutexLock lock(&mutex_);
  Set(id, bytes);
  std::vector<uint64_t> closed;
  while (bytes > 0 && bytes_ > bytes_max_ && heads_.size() > 1) {
    closed.push_back(Oldest(id));
    Set(closed.back(), 0);
  }
  gauge_.Set(static_cast<double>(bytes_));
  return closed;
}

size_t PendingHeads::bytes() const {
  absl::MutexLock lock(&mutex_);
  return bytes_;
}

}  // namespace sluice::gateways

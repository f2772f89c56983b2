#include "gateways/sources/applied_gate.h"

namespace sluice::gateways {

void AppliedGate::Note(Offset offset, size_t bytes) {
  if (ask_) {
    sets_.emplace_back(offset, bytes);
    bytes_ += bytes;
  }
}

bool AppliedGate::IsOpen() {
  if (bytes_ < kHereBytesMax) {
    return true;
  }
  const std::optional<Applied> applied = ask_(org_);
  if (!applied.has_value()) {
    sets_.clear();
    bytes_ = 0;
    return true;
  }
  while (!sets_.empty() && sets_.front().first < applied->next) {
    bytes_ -= sets_.front().second;
    sets_.pop_front();
  }
  return bytes_ < (applied->here ? kHereBytesMax : kElsewhereBytesMax);
}

}  // namespace sluice::gateways

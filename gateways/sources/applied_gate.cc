#include "gateways/sources/applied_gate.h"

#include <algorithm>

namespace sluice::gateways {
namespace {

// Sets are counted together up to so much: there may be thousands of organisations.
constexpr size_t kTogetherBytesMax = AppliedGate::kHereBytesMax / 16;

}  // namespace

void AppliedGate::Note(const OrgId& org, Offset offset, size_t bytes) {
  if (!ask_) {
    return;
  }
  Taken& taken = orgs_[org];
  taken.bytes += bytes;
  if (!taken.sets.empty() && taken.sets.back().second + bytes <= kTogetherBytesMax) {
    taken.sets.back().first = std::max(taken.sets.back().first, offset);
    taken.sets.back().second += bytes;
  } else {
    taken.sets.emplace_back(offset, bytes);
  }
}

bool AppliedGate::IsOpen(const OrgId& org) {
  const auto found = orgs_.find(org);
  if (found == orgs_.end() || found->second.bytes < kHereBytesMax) {
    return true;
  }
  Taken& taken = found->second;
  const std::optional<Applied> applied = ask_(org);
  if (!applied.has_value()) {
    orgs_.erase(found);
    return true;
  }
  while (!taken.sets.empty() && taken.sets.front().first < applied->next) {
    taken.bytes -= taken.sets.front().second;
    taken.sets.pop_front();
  }
  if (taken.sets.empty()) {
    orgs_.erase(found);
    return true;
  }
  return taken.bytes < (applied->here ? kHereBytesMax : kElsewhereBytesMax);
}

}  // namespace sluice::gateways

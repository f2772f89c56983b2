#include "projectors/provisioning/rule_counts.h"

#include <utility>
#include <vector>

namespace sluice::projectors {

const RuleCounts::Held& RuleCounts::Get(const Schemas& schemas,
                                        const std::shared_ptr<const v1::Profile>& profile) {
  Held& held = held_[profile->name()];
  // What was decided on comes back as an object of its own.
  if (held.profile != nullptr && held.profile != profile &&
      held.profile->SerializeAsString() == profile->SerializeAsString()) {
    held.profile = profile;
  }
  if (held.profile != profile || !held.uses.HoldFor(schemas)) {
    const std::vector<std::shared_ptr<const SyncRule>> none;
    const auto rules = ProfileCompiler(schemas, none).Compile(profile);
    held = {profile, rules->uses, rules->counts};
    ++compiled_;
  }
  return held;
}

RuleCounts::Sums RuleCounts::Of(const Schemas& schemas, const Definitions<v1::Profile>& profiles) {
  absl::MutexLock lock(&mutex_);
  std::erase_if(held_, [&profiles](const auto& held) { return !profiles.contains(held.first); });
  Sums sums;
  for (const auto& [name, profile] : profiles) {
    for (const auto& [entity, count] : Get(schemas, profile).counts) {
      sums.of_entity[entity] += count;
      sums.all += count;
    }
  }
  return sums;
}

bool RuleCounts::SameBy(const Schemas& schemas, const Schemas& next,
                        const std::shared_ptr<const v1::Profile>& profile) {
  absl::MutexLock lock(&mutex_);
  return Get(schemas, profile).uses.HoldFor(next);
}

size_t RuleCounts::compiled() const {
  absl::MutexLock lock(&mutex_);
  return compiled_;
}

}  // namespace sluice::projectors

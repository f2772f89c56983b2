#include "projectors/provisioning/rule_counts.h"

#include <utility>
#include <vector>

namespace sluice::projectors {

void RuleCounts::Add(const Held& held) {
  sums_.filter_bytes += held.filter_bytes;
  for (const auto& [entity, rules] : held.rules) {
    for (const BucketKey rule : rules) {
      if (profiles_of_[rule]++ == 0) {
        ++sums_.of_entity[entity];
        ++sums_.all;
      }
    }
  }
  for (const auto& [entity, count] : held.barren) {
    sums_.of_entity[entity] += count;
    sums_.all += count;
  }
}

void RuleCounts::Take(const Held& held) {
  sums_.filter_bytes -= held.filter_bytes;
  for (const auto& [entity, rules] : held.rules) {
    for (const BucketKey rule : rules) {
      if (--profiles_of_[rule] == 0) {
        profiles_of_.erase(rule);
        --sums_.of_entity[entity];
        --sums_.all;
      }
    }
  }
  for (const auto& [entity, count] : held.barren) {
    sums_.of_entity[entity] -= count;
    sums_.all -= count;
  }
}

const RuleCounts::Held& RuleCounts::Get(const Schemas& schemas,
                                        const std::shared_ptr<const v1::Profile>& profile) {
  Held& held = held_[profile->name()];
  // What was decided on comes back as an object of its own.
  if (held.profile != nullptr && held.profile != profile &&
      held.profile->SerializeAsString() == profile->SerializeAsString()) {
    held.profile = profile;
  }
  if (held.profile == profile && held.uses.HoldFor(schemas)) {
    return held;
  }
  const std::vector<std::shared_ptr<const SyncRule>> none;
  const auto compiled = ProfileCompiler(schemas, none).Compile(profile);
  std::map<EntityId, std::string_view> names;
  for (const v1::EntityRules& entity : profile->entities()) {
    if (const auto schema = schemas.find(entity.entity()); schema != schemas.end()) {
      names.emplace(schema->second->id(), entity.entity());
    }
  }
  Take(held);
  held = {.profile = profile,
          .uses = compiled->uses,
          .rules = {},
          .barren = compiled->barren,
          .filter_bytes = compiled->filter_bytes};
  for (const auto& rule : compiled->rules) {
    held.rules[std::string(names[rule->entity])].push_back(BucketKey::OfName(rule->id));
  }
  Add(held);
  ++compiled_;
  return held;
}

RuleCounts::Sums RuleCounts::Of(const Schemas& schemas, const Definitions<v1::Profile>& profiles) {
  absl::MutexLock lock(&mutex_);
  for (auto held = held_.begin(); held != held_.end();) {
    if (profiles.contains(held->first)) {
      ++held;
    } else {
      Take(held->second);
      held = held_.erase(held);
    }
  }
  for (const auto& [name, profile] : profiles) {
    Get(schemas, profile);
  }
  std::erase_if(sums_.of_entity, [](const auto& entity) { return entity.second == 0; });
  return sums_;
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

#include "projectors/provisioning/rule_counts.h"

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
  for (const auto& attribute : held.through) {
    sums_.through[attribute.first] += profiles_through_[attribute]++ == 0 ? 1 : 0;
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
  for (const auto& attribute : held.through) {
    const auto profiles = profiles_through_.find(attribute);
    if (--profiles->second == 0) {
      profiles_through_.erase(profiles);
      --sums_.through[attribute.first];
    }
  }
}

const RuleCounts::Held& RuleCounts::Get(const Schemas& schemas,
                                        const std::shared_ptr<const v1::Profile>& profile,
                                        SchemaHashes* hashes) {
  Held& held = held_[profile->name()];
  // What was decided on comes back as an object of its own.
  if (held.profile != nullptr && held.profile != profile &&
      held.profile->SerializeAsString() == profile->SerializeAsString()) {
    held.profile = profile;
  }
  if (held.profile == profile && held.uses.HoldFor(schemas, hashes)) {
    held.uses.HeldFor(schemas);
    return held;
  }
  const std::vector<std::shared_ptr<const SyncRule>> none;
  const auto compiled = ProfileCompiler(schemas, none, hashes).Compile(profile);
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
          .through = {},
          .filter_bytes = compiled->filter_bytes};
  for (const auto& rule : compiled->rules) {
    held.rules[std::string(names[rule->entity])].push_back(BucketKey::OfName(rule->id));
    if (rule->kind == v1::RULE_KIND_RELATED) {
      // Both have rules in the profile: no row comes by those of an entity that has none.
      held.through.emplace(names[rule->down ? rule->entity : rule->source_entity], rule->attribute);
    }
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
  SchemaHashes hashes;
  for (const auto& [name, profile] : profiles) {
    Get(schemas, profile, &hashes);
  }
  hashed_ += hashes.made();
  const auto none = [](const auto& entity) { return entity.second == 0; };
  std::erase_if(sums_.of_entity, none);
  std::erase_if(sums_.through, none);
  return sums_;
}

std::vector<std::shared_ptr<const v1::Profile>> RuleCounts::ChangedBy(
    const Schemas& schemas, const Schemas& next, const Definitions<v1::Profile>& profiles) {
  absl::MutexLock lock(&mutex_);
  SchemaHashes hashes;
  std::vector<std::shared_ptr<const v1::Profile>> changed;
  for (const auto& [name, profile] : profiles) {
    if (!Get(schemas, profile, &hashes).uses.HoldFor(next, &hashes)) {
      changed.push_back(profile);
    }
  }
  hashed_ += hashes.made();
  return changed;
}

size_t RuleCounts::compiled() const {
  absl::MutexLock lock(&mutex_);
  return compiled_;
}

size_t RuleCounts::hashed() const {
  absl::MutexLock lock(&mutex_);
  return hashed_;
}

}  // namespace sluice::projectors

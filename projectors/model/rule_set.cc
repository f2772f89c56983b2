#include "projectors/model/rule_set.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "schemas/base/collect.h"

namespace sluice::projectors {
namespace {

uint32_t NumberOf(const SyncRule* rule) { return rule->number; }

bool SameSchemas(const std::map<EntityId, RuleSet::Entity>& entities, const Schemas& schemas) {
  return entities.size() == schemas.size() &&
         std::ranges::all_of(schemas, [&entities](const auto& schema) {
           const auto found = entities.find(schema.second->id());
           return found != entities.end() && found->second.schema == schema.second;
         });
}

}  // namespace

std::span<const SyncRule* const> RuleSet::Entity::At(uint32_t depth) const {
  const auto [first, last] =
      std::ranges::equal_range(rules, depth, {}, [](const SyncRule* rule) { return rule->depth; });
  return {first, last};
}

size_t RuleSet::Entity::ComparisonsAt(uint32_t depth) const {
  return depth == 0 || depth > comparisons.size() ? 0 : comparisons[depth - 1];
}

size_t RuleSet::Entity::SearchesAt(uint32_t depth) const {
  return depth == 0 || depth > searches.size() ? 0 : searches[depth - 1];
}

std::span<const SyncRule* const> RuleSet::Entity::FeedsOf(uint32_t source) const {
  const auto [first, last] = std::ranges::equal_range(
      feeds, source, {}, [](const SyncRule* rule) { return rule->source; });
  return {first, last};
}

std::shared_ptr<const RuleSet> RuleSet::None() {
  return std::shared_ptr<const RuleSet>(new RuleSet());
}

std::shared_ptr<const RuleSet> RuleSet::Make(const Schemas& schemas,
                                             const Definitions<v1::Profile>& profiles,
                                             const Numbers& numbers, uint32_t next_number) {
  std::shared_ptr<RuleSet> set(new RuleSet());
  set->next_number_ = next_number;
  set->Compile(schemas, profiles, RuleSet(), numbers);
  set->Index(schemas);
  return set;
}

std::shared_ptr<const RuleSet> RuleSet::Next(const Schemas& schemas,
                                             const Definitions<v1::Profile>& profiles) const {
  std::shared_ptr<RuleSet> set(new RuleSet());
  set->next_number_ = next_number_;
  set->Compile(schemas, profiles, *this, {});
  set->Index(schemas);
  return set;
}

void RuleSet::Compile(const Schemas& schemas, const Definitions<v1::Profile>& profiles,
                      const RuleSet& before, const Numbers& numbers) {
  const bool same_schemas = SameSchemas(before.entities_, schemas);
  SchemaHashes hashes;
  ProfileCompiler compiler(schemas, before.rules_, &hashes);
  for (const auto& [name, profile] : profiles) {
    const auto held = before.profiles_.find(name);
    if (held != before.profiles_.end() && held->second->profile == profile &&
        (same_schemas || held->second->uses.HoldFor(schemas, &hashes))) {
      profiles_.emplace_hint(profiles_.end(), name, held->second);
      continue;
    }
    ++profiles_compiled_;
    const ProfileRules* const made = held == before.profiles_.end() ? nullptr : held->second.get();
    profiles_.emplace_hint(profiles_.end(), name, compiler.Compile(profile, made));
  }
  filters_parsed_ = compiler.parsed();
  schemas_hashed_ = hashes.made();
  // A source has its number, or gets it here, before it is asked for it.
  for (auto& [id, fresh] : compiler.fresh()) {
    const auto known = numbers.find(id);
    fresh.rule->number = known != numbers.end() ? known->second : next_number_++;
  }
  for (auto& [id, fresh] : compiler.fresh()) {
    if (fresh.source != nullptr) {
      fresh.rule->source = fresh.source->number;
    }
  }
  for (const auto& [name, profile] : profiles_) {
    for (const std::shared_ptr<const SyncRule>& rule : profile->rules) {
      by_number_.push_back(rule.get());
    }
  }
  std::ranges::sort(by_number_, {}, NumberOf);
  by_number_.erase(std::unique(by_number_.begin(), by_number_.end()), by_number_.end());
  // Both are ascending by id: nothing has to be sorted by that, which is long.
  std::ranges::copy_if(before.rules_, std::back_inserter(rules_),
                       [this](const auto& rule) { return FindRule(rule->number) == rule.get(); });
  const auto kept = static_cast<std::ptrdiff_t>(rules_.size());
  for (auto& [id, fresh] : compiler.fresh()) {
    rules_.push_back(std::move(fresh.rule));
  }
  std::ranges::inplace_merge(
      rules_, rules_.begin() + kept, {},
      [](const std::shared_ptr<const SyncRule>& rule) -> const std::string& { return rule->id; });
}

void RuleSet::Index(const Schemas& schemas) {
  for (const auto& [name, schema] : schemas) {
    entities_[schema->id()].schema = schema;
  }
  for (const std::shared_ptr<const SyncRule>& rule : rules_) {
    Entity& entity = entities_[rule->entity];
    entity.rules.push_back(rule.get());
    depth_max_ = std::max(depth_max_, rule->depth);
    entity.comparisons.resize(std::max<size_t>(entity.comparisons.size(), rule->depth));
    entity.comparisons[rule->depth - 1] += rule->comparisons;
    entity.searches.resize(entity.comparisons.size());
    entity.searches[rule->depth - 1] += rule->searches;
    if (rule->kind != v1::RULE_KIND_RELATED) {
      continue;
    }
    Entity& source = entities_[rule->source_entity];
    source.feeds.push_back(rule.get());
    if (rule->down) {
      entity.links.push_back(rule->attribute);
      entity.references.push_back({rule->attribute, rule->source_entity, rule->depth, true});
    } else {
      source.ups.push_back(rule->attribute);
      source.references.push_back({rule->attribute, rule->entity, rule->depth - 1, false});
    }
  }
  for (auto& [id, entity] : entities_) {
    std::ranges::stable_sort(entity.rules, {}, &SyncRule::depth);
    std::ranges::stable_sort(entity.feeds, {}, &SyncRule::source);
    SortUnique(&entity.links);
    SortUnique(&entity.ups);
    SortUnique(&entity.references);
    for (const Reference& reference : entity.references) {
      if (entity.referenced.empty() || entity.referenced.back() != reference.attribute) {
        entity.referenced.push_back(reference.attribute);
      }
    }
  }
}

const RuleSet::Entity* RuleSet::Find(EntityId entity) const {
  const auto found = entities_.find(entity);
  return found == entities_.end() ? nullptr : &found->second;
}

const SyncRule* RuleSet::FindRule(uint32_t number) const {
  const auto found = std::ranges::lower_bound(by_number_, number, {}, NumberOf);
  return found == by_number_.end() || (*found)->number != number ? nullptr : *found;
}

const RuleSet::Rules& RuleSet::OfProfile(std::string_view profile) const {
  static const Rules kNone;
  const auto found = profiles_.find(profile);
  return found == profiles_.end() ? kNone : found->second->rules;
}

// Numbers are never given again.
bool RuleSet::SameAs(const RuleSet& other) const {
  const auto same_entity = [](const auto& a, const auto& b) { return a.first == b.first; };
  return this == &other ||
         (std::ranges::equal(by_number_, other.by_number_, {}, NumberOf, NumberOf) &&
          std::ranges::equal(entities_, other.entities_, same_entity));
}

}  // namespace sluice::projectors

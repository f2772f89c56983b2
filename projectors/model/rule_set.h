#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "projectors/model/profile_rules.h"
#include "projectors/model/sync_rules.h"

namespace sluice::projectors {

// All rules of one model. Immutable, so thread-safe.
class RuleSet {
 public:
  using Rules = std::vector<std::shared_ptr<const SyncRule>>;
  // Of rules by id.
  using Numbers = std::map<std::string, uint32_t, std::less<>>;

  // The rows of another entity that a row points at by one of its own attributes.
  struct Reference {
    AttributeId attribute{};
    EntityId entity{};
    uint32_t round = 0;  // in which the fold looks at them
    bool down = false;   // for what they give the row; otherwise for what it gives them
    friend auto operator<=>(const Reference&, const Reference&) = default;
  };

  // What concerns the rows of one entity. Rules can be many times as many as attributes: what has
  // to be found for a row is here by attribute, each once.
  struct Entity {
    std::shared_ptr<const EntitySchema> schema;
    std::vector<const SyncRule*> rules;   // that bring its rows, ascending by (depth, id)
    std::vector<const SyncRule*> feeds;   // related ones whose sources those are, by FeedsOf()
    std::vector<AttributeId> links;       // references by which children are found, ascending
    std::vector<AttributeId> ups;         // of `feeds` that go up, ascending
    std::vector<Reference> references;    // of `rules` that go down and `feeds` up, ascending
    std::vector<AttributeId> referenced;  // of `references`, ascending
    std::vector<size_t> comparisons;      // by depth less one: about how many its rules make
    std::vector<size_t> searches;         // likewise, of those that may read a whole value
    // Its rules of one depth.
    std::span<const SyncRule* const> At(uint32_t depth) const;
    size_t ComparisonsAt(uint32_t depth) const;
    size_t SearchesAt(uint32_t depth) const;
    // Of `feeds`, those whose source is the rule of that number.
    std::span<const SyncRule* const> FeedsOf(uint32_t source) const;
  };

  // Of an organisation without rules, whose first one gets the number 1.
  [[nodiscard]] static std::shared_ptr<const RuleSet> None();
  // As they were stored: rules that are in `numbers` have those.
  [[nodiscard]] static std::shared_ptr<const RuleSet> Make(const Schemas& schemas,
                                                           const Definitions<v1::Profile>& profiles,
                                                           const Numbers& numbers,
                                                           uint32_t next_number);
  // The rules after these: a rule that stays keeps its number, new ones get the next, ascending by
  // id. Makes the rules of those profiles anew that have changed, or of which a schema has changed
  // in what they use of it; what else it takes is linear in the number of rules.
  [[nodiscard]] std::shared_ptr<const RuleSet> Next(const Schemas& schemas,
                                                    const Definitions<v1::Profile>& profiles) const;
  RuleSet(const RuleSet&) = delete;
  RuleSet& operator=(const RuleSet&) = delete;

  const Entity* Find(EntityId entity) const;        // nullptr where there is none
  const SyncRule* FindRule(uint32_t number) const;  // nullptr where there is none
  const std::map<EntityId, Entity>& entities() const { return entities_; }
  const Rules& rules() const { return rules_; }  // ascending by id
  // Ascending by depth: sources come before what derives from them.
  const Rules& OfProfile(std::string_view profile) const;
  uint32_t depth_max() const { return depth_max_; }
  uint32_t next_number() const { return next_number_; }
  // Of how many profiles the rules were made for this set, others being there already.
  size_t profiles_compiled() const { return profiles_compiled_; }
  // And how many filters were parsed for that.
  size_t filters_parsed() const { return filters_parsed_; }
  // And how many schemas were compared as a whole, or are to be.
  size_t schemas_hashed() const { return schemas_hashed_; }
  // Would the fold treat every row alike under both? Of two models of one incarnation.
  [[nodiscard]] bool SameAs(const RuleSet& other) const;

 private:
  RuleSet() = default;
  void Compile(const Schemas& schemas, const Definitions<v1::Profile>& profiles,
               const RuleSet& before, const Numbers& numbers);
  void Index(const Schemas& schemas);

  std::map<std::string, std::shared_ptr<const ProfileRules>, std::less<>> profiles_;
  Rules rules_;
  std::vector<const SyncRule*> by_number_;  // ascending
  std::map<EntityId, Entity> entities_;
  uint32_t depth_max_ = 0;
  uint32_t next_number_ = 1;
  size_t profiles_compiled_ = 0;
  size_t filters_parsed_ = 0;
  size_t schemas_hashed_ = 0;
};

}  // namespace sluice::projectors

#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "projectors/model/sync_rules.h"
#include "schemas/entity_schema.h"

// From one profile's definition to the rules that the fold evaluates.
namespace sluice::projectors {

using Schemas = std::map<std::string, std::shared_ptr<const EntitySchema>, std::less<>>;
// By name; models that follow one another share those that are the same.
template <typename Definition>
using Definitions = std::map<std::string, std::shared_ptr<const Definition>, std::less<>>;

// Hashes of whole schemas, of which each is made once: many profiles may depend on all of a large
// one. For one look at definitions, whose schemas must outlive it. Not thread-safe.
class SchemaHashes {
 public:
  const std::string& Of(const EntitySchema& schema);
  size_t made() const { return hashes_.size(); }

 private:
  std::map<const EntitySchema*, std::string> hashes_;
};

// What was read of schemas to make something: it is the same by others of which that is the same.
// A copy, so that it keeps no schema that has been replaced. Not thread-safe while it is made.
class SchemaUses {
 public:
  // nullptr where there is none of that name, which is remembered too.
  const EntitySchema* Find(const Schemas& schemas, std::string_view name);
  // An attribute of an entity that was found.
  void Use(const EntitySchema& entity, AttributeId attribute);
  // It may depend on anything that the entity has.
  void UseAll(const EntitySchema& entity, SchemaHashes* hashes);

  [[nodiscard]] bool HoldFor(const Schemas& schemas, SchemaHashes* hashes) const;
  // Is the entity the one that was found, and are these the attributes that were used of it?
  [[nodiscard]] bool HoldFor(const EntitySchema& entity,
                             const std::vector<AttributeId>& attributes) const;
  // They hold for these: who asks for the same objects again need not compare what they say.
  void HeldFor(const Schemas& schemas);

 private:
  struct Entity {
    EntityId id{};  // 0: there was none
    v1::Ownership ownership;
    std::map<AttributeId, schemas::Attribute> attributes;
    std::string whole;  // a hash of the schema, where anything of it counts
    // One that all this was said of; it is not kept by it, and no other one is taken for it.
    std::weak_ptr<const EntitySchema> seen;
  };
  static bool Holds(const Entity& used, const std::shared_ptr<const EntitySchema>& schema,
                    SchemaHashes* hashes);

  std::map<std::string, Entity, std::less<>> entities_;
};

// What a filter's text became: the same by each schema that has the same attributes.
struct FilterRules {
  std::vector<std::shared_ptr<const SyncRule>> rules;  // one for each of its alternatives
  std::vector<AttributeId> attributes;                 // all that it names, ascending
  size_t bytes = 0;                                    // as ProfileRules::filter_bytes
};

// The rules of one profile. Immutable once numbered, so safe to share.
struct ProfileRules {
  // An entity's, and its text, which `profile` holds.
  using FilterKey = std::pair<EntityId, std::string_view>;
  using Filters = absl::flat_hash_map<FilterKey, std::shared_ptr<const FilterRules>>;

  std::shared_ptr<const v1::Profile> profile;          // what they were made from
  SchemaUses uses;                                     // with that
  std::vector<std::shared_ptr<const SyncRule>> rules;  // ascending by (depth, id)
  // By entity, how many of the declared ones make no rule.
  std::map<std::string, size_t, std::less<>> barren;
  Filters filters;  // that have all of their rules
  // Of all of its filters: of the text, or of the canonical texts of its alternatives together
  // where that is more. What it takes to compile them goes by it.
  size_t filter_bytes = 0;
};

// Makes the rules of several profiles, each rule once. Rules of entities that do not exist, of
// ownership that the entity lacks, of filters and references that no longer fit, chains that are
// too long and circles make no rule: a sequencer refuses them, and a log that has them all the same
// must not stop the fold. Not thread-safe.
class ProfileCompiler {
 public:
  // A rule that did not exist before, and where it is a related one, its source.
  struct Fresh {
    std::shared_ptr<SyncRule> rule;  // without its number, and that of its source
    std::shared_ptr<const SyncRule> source;
  };

  // `schemas`, `known` (ascending by id: rules that there are already, with their numbers) and
  // `hashes`, of these schemas, must outlive the compiler.
  ProfileCompiler(const Schemas& schemas, const std::vector<std::shared_ptr<const SyncRule>>& known,
                  SchemaHashes* hashes)
      : schemas_(schemas), known_(known), hashes_(hashes) {}

  // `before`: what it was until now, whose rules are among `known`; may be nullptr. A filter that
  // is in there and means the same still is not parsed.
  [[nodiscard]] std::shared_ptr<const ProfileRules> Compile(
      std::shared_ptr<const v1::Profile> profile, const ProfileRules* before = nullptr);
  // The rules that were not known, by id: to be numbered before anybody else sees them.
  std::map<std::string_view, Fresh>& fresh() { return fresh_; }
  // How many filters were parsed.
  size_t parsed() const { return parsed_; }

 private:
  using Rules = std::vector<std::shared_ptr<const SyncRule>>;
  using Filters = ProfileRules::Filters;
  struct Profile;

  const Rules& CompileEntity(std::string_view name, Profile& profile);
  void CompileRule(const v1::Rule& rule, const EntitySchema& schema, Profile& profile, Rules* out);
  void CompileOwnership(v1::RuleKind kind, const EntitySchema& schema, Profile& profile,
                        Rules* out);
  void CompileFilter(const v1::Rule& rule, const EntitySchema& schema, Profile& profile,
                     Rules* out);
  // What it becomes, as far as the profile's limit lets it; nullptr where it does not fit.
  std::shared_ptr<const FilterRules> ParseFilter(const v1::Rule& rule, const EntitySchema& schema,
                                                 Profile& profile, Rules* out);
  void CompileRelated(const v1::Rule& rule, const EntitySchema& schema, Profile& profile,
                      Rules* out);
  void Add(SyncRule rule, const std::shared_ptr<const SyncRule>& source, Profile& profile,
           Rules* out);

  const Schemas& schemas_;
  const Rules& known_;
  SchemaHashes* const hashes_;
  std::map<std::string_view, Fresh> fresh_;
  size_t parsed_ = 0;
};

}  // namespace sluice::projectors


#include <algorithm>
#include <set>
#include <utility>

#include "fmt/format.h"
#include "projectors/staging/sync_rules.h"
#include "schemas/sha256.h"

// From the profiles' definitions to the rules that the fold evaluates.
namespace sluice::projectors {
namespace {

std::string_view OwnershipName(v1::RuleKind kind) {
  return kind == v1::RULE_KIND_USER   ? "user"
         : kind == v1::RULE_KIND_TEAM ? "team"
                                      : "business_unit";
}

AttributeId OwnershipAttribute(v1::RuleKind kind, const v1::Ownership& ownership) {
  return AttributeId(kind == v1::RULE_KIND_USER   ? ownership.user()
                     : kind == v1::RULE_KIND_TEAM ? ownership.team()
                                                  : ownership.business_unit());
}

// Filters can be long, and names of buckets begin with the rule's id. Two filters of one id would
// be one rule, so that whoever writes values into a filter must not be able to make it another's.
std::string TextHash(std::string_view text) {
  const Sha256Digest digest = Sha256(text);
  return fmt::format("{:016x}{:016x}", DigestWord(digest, 0), DigestWord(digest, 8));
}

// A filter as messages show it: every model of every holder has this text of every rule.
std::string ShownFilter(std::string_view where) {
  constexpr size_t kShownBytesMax = 256;
  if (where.size() <= kShownBytesMax) {
    return fmt::format("filter \"{}\"", where);
  }
  size_t end = kShownBytesMax;
  while (end > 0 && (static_cast<unsigned char>(where[end]) & 0xc0) == 0x80) {
    --end;  // not within a character
  }
  return fmt::format("filter \"{}...\"", where.substr(0, end));
}

}  // namespace

// Makes one RuleSet.
class RuleCompiler {
 public:
  RuleCompiler(const RuleSet::Schemas& schemas, RuleSet* set) : schemas_(schemas), set_(*set) {}

  void Compile(const RuleSet::Profiles& profiles) {
    for (const auto& [name, schema] : schemas_) {
      set_.entities_[schema->id()].schema = schema;
    }
    for (const auto& [name, profile] : profiles) {
      CompileProfile(name, profile);
    }
  }

  void Number(const RuleSet::Numbers& numbers, uint32_t next_number) {
    set_.next_number_ = next_number;
    for (const auto& [id, rule] : by_id_) {
      const auto known = numbers.find(id);
      rule->number = known != numbers.end() ? known->second : set_.next_number_++;
      set_.numbers_.emplace(id, rule->number);
      set_.by_number_.emplace(rule->number, rule);
    }
    for (const auto& [rule, source] : sources_) {
      rule->source = source->number;
    }
  }

  void Index() {
    for (const auto& [id, rule] : by_id_) {
      RuleSet::Entity& entity = set_.entities_[rule->entity];
      entity.rules.push_back(rule);
      if (rule->kind == v1::RULE_KIND_RELATED) {
        set_.entities_[rule->source_entity].feeds.push_back(rule);
        if (rule->down) {
          entity.links.push_back(rule->attribute);
        }
      }
      set_.depth_max_ = std::max(set_.depth_max_, rule->depth);
    }
    for (auto& [id, entity] : set_.entities_) {
      std::stable_sort(entity.rules.begin(), entity.rules.end(),
                       [](const auto* a, const auto* b) { return a->depth < b->depth; });
      std::sort(entity.links.begin(), entity.links.end());
      entity.links.erase(std::unique(entity.links.begin(), entity.links.end()), entity.links.end());
    }
  }

 private:
  using Rules = std::vector<SyncRule*>;

  struct ProfileRules {
    std::map<std::string_view, std::vector<const v1::Rule*>> declared;  // by entity
    std::map<std::string_view, Rules> compiled;
    std::set<std::string_view> under_way;
    size_t count = 0;
  };

  void CompileProfile(const std::string& name, const v1::Profile& profile) {
    ProfileRules rules;
    for (const v1::EntityRules& entity : profile.entities()) {
      for (const v1::Rule& rule : entity.rules()) {
        rules.declared[entity.entity()].push_back(&rule);
      }
    }
    std::set<std::pair<std::pair<uint32_t, std::string_view>, const SyncRule*>> all;
    for (const auto& [entity, declared] : rules.declared) {
      for (const SyncRule* rule : CompileEntity(entity, rules)) {
        all.insert({{rule->depth, rule->id}, rule});
      }
    }
    std::vector<const SyncRule*>& list = set_.of_profile_[name];
    for (const auto& [order, rule] : all) {
      list.push_back(rule);
    }
  }

  const Rules& CompileEntity(std::string_view name, ProfileRules& rules) {
    static const Rules kNone;
    if (const auto done = rules.compiled.find(name); done != rules.compiled.end()) {
      return done->second;
    }
    const auto schema = schemas_.find(name);
    const auto declared = rules.declared.find(name);
    if (schema == schemas_.end() || declared == rules.declared.end() ||
        !rules.under_way.insert(declared->first).second) {
      return kNone;
    }
    Rules compiled;
    for (const v1::Rule* rule : declared->second) {
      CompileRule(*rule, *schema->second, rules, &compiled);
    }
    std::sort(compiled.begin(), compiled.end(),
              [](const auto* a, const auto* b) { return a->id < b->id; });
    compiled.erase(std::unique(compiled.begin(), compiled.end()), compiled.end());
    rules.under_way.erase(declared->first);
    return rules.compiled[declared->first] = std::move(compiled);
  }

  void CompileRule(const v1::Rule& rule, const EntitySchema& schema, ProfileRules& rules,
                   Rules* out) {
    switch (rule.kind()) {
      case v1::RULE_KIND_ALL:
        Add({.id = fmt::format("e{}|all", schema.id().value()),
             .text = "all",
             .entity = schema.id(),
             .kind = rule.kind()},
            rules, out);
        break;
      case v1::RULE_KIND_USER:
      case v1::RULE_KIND_TEAM:
      case v1::RULE_KIND_BUSINESS_UNIT:
        CompileOwnership(rule.kind(), schema, rules, out);
        break;
      case v1::RULE_KIND_FILTER:
        CompileFilter(rule, schema, rules, out);
        break;
      case v1::RULE_KIND_RELATED:
        CompileRelated(rule, schema, rules, out);
        break;
      default:
        break;  // of a later version
    }
  }

  void CompileOwnership(v1::RuleKind kind, const EntitySchema& schema, ProfileRules& rules,
                        Rules* out) {
    const AttributeId attribute = OwnershipAttribute(kind, schema.proto().ownership());
    if (schema.Find(attribute) != nullptr) {
      Add({.id = fmt::format("e{}|{}:a{}", schema.id().value(), OwnershipName(kind),
                             attribute.value()),
           .text = std::string(OwnershipName(kind)),
           .entity = schema.id(),
           .kind = kind,
           .attribute = attribute},
          rules, out);
    }
  }

  void CompileFilter(const v1::Rule& rule, const EntitySchema& schema, ProfileRules& rules,
                     Rules* out) {
    const auto filter = Filter::Parse(rule.where(), schema);
    if (!filter.ok()) {
      return;
    }
    for (const FilterAlternative& alternative : (*filter)->alternatives()) {
      Add({.id = fmt::format("e{}|filter:{}", schema.id().value(), TextHash(alternative.canonical)),
           .text = ShownFilter(rule.where()),
           .entity = schema.id(),
           .kind = rule.kind(),
           .filter = {alternative.terms, alternative.condition, {}}},
          rules, out);
    }
  }

  void CompileRelated(const v1::Rule& rule, const EntitySchema& schema, ProfileRules& rules,
                      Rules* out) {
    const size_t dot = rule.through().find('.');
    if (dot == std::string::npos) {
      return;
    }
    const auto holder = schemas_.find(std::string_view(rule.through()).substr(0, dot));
    const schemas::Attribute* attribute =
        holder == schemas_.end()
            ? nullptr
            : holder->second->Find(std::string_view(rule.through()).substr(dot + 1));
    if (attribute == nullptr) {
      return;
    }
    const bool down = holder->first == schema.name();
    const auto source = down ? schemas_.find(std::string_view(attribute->references)) : holder;
    if (source == schemas_.end() || (!down && attribute->references != schema.name())) {
      return;
    }
    for (SyncRule* from : CompileEntity(source->first, rules)) {
      if (from->depth == kRuleDepthMax) {
        continue;
      }
      SyncRule* added =
          Add({.id = fmt::format("e{}|related:e{}.a{}<{}", schema.id().value(),
                                 holder->second->id().value(), attribute->id.value(), from->id),
               .text = fmt::format("related through {}", rule.through()),
               .entity = schema.id(),
               .kind = rule.kind(),
               .depth = from->depth + 1,
               .attribute = attribute->id,
               .down = down,
               .source_entity = source->second->id()},
              rules, out);
      if (added != nullptr) {
        sources_[added] = from;
      }
    }
  }

  // The rule of that id, this one if there is none yet; nullptr past the profile's limit.
  SyncRule* Add(SyncRule rule, ProfileRules& rules, Rules* out) {
    if (rules.count == kRulesPerProfileMax) {
      return nullptr;
    }
    ++rules.count;
    SyncRule*& known = by_id_[rule.id];
    if (known == nullptr) {
      known = set_.rules_.emplace_back(std::make_unique<SyncRule>(std::move(rule))).get();
    }
    out->push_back(known);
    return known;
  }

  const RuleSet::Schemas& schemas_;
  RuleSet& set_;
  std::map<std::string, SyncRule*> by_id_;
  std::map<SyncRule*, const SyncRule*> sources_;
};

std::span<const SyncRule* const> RuleSet::Entity::At(uint32_t depth) const {
  const auto [first, last] =
      std::ranges::equal_range(rules, depth, {}, [](const SyncRule* rule) { return rule->depth; });
  return {first, last};
}

std::shared_ptr<const RuleSet> RuleSet::Make(const Schemas& schemas, const Profiles& profiles,
                                             const Numbers& numbers, uint32_t next_number) {
  std::shared_ptr<RuleSet> set(new RuleSet());
  RuleCompiler compiler(schemas, set.get());
  compiler.Compile(profiles);
  compiler.Number(numbers, next_number);
  compiler.Index();
  return set;
}

const RuleSet::Entity* RuleSet::Find(EntityId entity) const {
  const auto found = entities_.find(entity);
  return found == entities_.end() ? nullptr : &found->second;
}

const SyncRule* RuleSet::FindRule(uint32_t number) const {
  const auto found = by_number_.find(number);
  return found == by_number_.end() ? nullptr : found->second;
}

std::span<const SyncRule* const> RuleSet::OfProfile(std::string_view profile) const {
  const auto found = of_profile_.find(profile);
  return found == of_profile_.end() ? std::span<const SyncRule* const>() : found->second;
}

}  // namespace sluice::projectors

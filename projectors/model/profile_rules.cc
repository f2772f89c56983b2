#include "projectors/model/profile_rules.h"

#include <algorithm>

#include "fmt/format.h"
#include "schemas/base/sha256.h"

namespace sluice::projectors {
namespace {

// Of a filter's canonical text: "a3 eq 'open' or " has one.
constexpr size_t kComparisonBytes = 16;

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

bool SameAttribute(const schemas::Attribute& a, const schemas::Attribute& b) {
  return a.id == b.id && a.name == b.name && a.type == b.type && a.references == b.references;
}

}  // namespace

const std::string& SchemaHashes::Of(const EntitySchema& schema) {
  std::string& hash = hashes_[&schema];
  if (hash.empty()) {
    hash = TextHash(schema.proto().SerializeAsString());
  }
  return hash;
}

const EntitySchema* SchemaUses::Find(const Schemas& schemas, std::string_view name) {
  const auto found = schemas.find(name);
  const auto [entity, added] = entities_.try_emplace(std::string(name));
  if (found == schemas.end()) {
    return nullptr;
  }
  if (added) {
    entity->second.id = found->second->id();
    entity->second.ownership = found->second->proto().ownership();
    entity->second.seen = found->second;
  }
  return found->second.get();
}

void SchemaUses::Use(const EntitySchema& entity, AttributeId attribute) {
  if (const schemas::Attribute* used = entity.Find(attribute); used != nullptr) {
    entities_.find(entity.name())->second.attributes.try_emplace(attribute, *used);
  }
}

void SchemaUses::UseAll(const EntitySchema& entity, SchemaHashes* hashes) {
  std::string& whole = entities_.find(entity.name())->second.whole;
  if (whole.empty()) {
    whole = hashes->Of(entity);
  }
}

bool SchemaUses::Holds(const Entity& used, const std::shared_ptr<const EntitySchema>& schema,
                       SchemaHashes* hashes) {
  if (schema != nullptr && !used.seen.owner_before(schema) && !schema.owner_before(used.seen)) {
    return true;
  }
  if (schema == nullptr || used.id == EntityId()) {
    return schema == nullptr && used.id == EntityId();
  }
  const v1::Ownership& ownership = schema->proto().ownership();
  return used.id == schema->id() && used.ownership.user() == ownership.user() &&
         used.ownership.team() == ownership.team() &&
         used.ownership.business_unit() == ownership.business_unit() &&
         (used.whole.empty() || used.whole == hashes->Of(*schema)) &&
         std::ranges::all_of(used.attributes, [&schema](const auto& attribute) {
           const schemas::Attribute* now = schema->Find(attribute.first);
           return now != nullptr && SameAttribute(*now, attribute.second);
         });
}

bool SchemaUses::HoldFor(const Schemas& schemas, SchemaHashes* hashes) const {
  return std::ranges::all_of(entities_, [&](const auto& used) {
    const auto found = schemas.find(used.first);
    return Holds(used.second, found == schemas.end() ? nullptr : found->second, hashes);
  });
}

bool SchemaUses::HoldFor(const EntitySchema& entity,
                         const std::vector<AttributeId>& attributes) const {
  const auto found = entities_.find(entity.name());
  return found != entities_.end() && found->second.id == entity.id() &&
         std::ranges::all_of(attributes, [&](AttributeId attribute) {
           const auto used = found->second.attributes.find(attribute);
           const schemas::Attribute* const now = entity.Find(attribute);
           return used != found->second.attributes.end() && now != nullptr &&
                  SameAttribute(*now, used->second);
         });
}

void SchemaUses::HeldFor(const Schemas& schemas) {
  for (auto& [name, used] : entities_) {
    if (const auto found = schemas.find(name); found != schemas.end()) {
      used.seen = found->second;
    }
  }
}

// One profile, while it is compiled.
struct ProfileCompiler::Profile {
  const ProfileRules* before = nullptr;
  std::map<std::string_view, std::vector<const v1::Rule*>> declared;  // by entity
  std::map<std::string_view, Rules> compiled;
  std::set<std::string_view> under_way;
  size_t count = 0;
  SchemaUses uses;
  std::map<std::string, size_t, std::less<>> barren;
  Filters filters;
  size_t filter_bytes = 0;

  // What the filter became, if that is known; nullptr otherwise.
  std::shared_ptr<const FilterRules> Find(const ProfileRules::FilterKey& key,
                                          const EntitySchema& schema) const;
};

std::shared_ptr<const FilterRules> ProfileCompiler::Profile::Find(
    const ProfileRules::FilterKey& key, const EntitySchema& schema) const {
  if (const auto found = filters.find(key); found != filters.end()) {
    return found->second;
  }
  if (before == nullptr) {
    return nullptr;
  }
  const auto found = before->filters.find(key);
  return found != before->filters.end() && before->uses.HoldFor(schema, found->second->attributes)
             ? found->second
             : nullptr;
}

std::shared_ptr<const ProfileRules> ProfileCompiler::Compile(
    std::shared_ptr<const v1::Profile> profile, const ProfileRules* before) {
  Profile made;
  made.before = before;
  for (const v1::EntityRules& entity : profile->entities()) {
    for (const v1::Rule& rule : entity.rules()) {
      made.declared[entity.entity()].push_back(&rule);
    }
  }
  auto rules = std::make_shared<ProfileRules>();
  for (const auto& [entity, declared] : made.declared) {
    const Rules& compiled = CompileEntity(entity, made);
    rules->rules.insert(rules->rules.end(), compiled.begin(), compiled.end());
    if (!made.compiled.contains(entity)) {
      made.barren.emplace(entity, declared.size());
    }
  }
  std::ranges::sort(rules->rules, [](const auto& a, const auto& b) {
    return std::tie(a->depth, a->id) < std::tie(b->depth, b->id);
  });
  rules->profile = std::move(profile);
  rules->uses = std::move(made.uses);
  rules->barren = std::move(made.barren);
  rules->filters = std::move(made.filters);
  rules->filter_bytes = made.filter_bytes;
  return rules;
}

const ProfileCompiler::Rules& ProfileCompiler::CompileEntity(std::string_view name,
                                                             Profile& profile) {
  static const Rules kNone;
  if (const auto done = profile.compiled.find(name); done != profile.compiled.end()) {
    return done->second;
  }
  const auto declared = profile.declared.find(name);
  if (declared == profile.declared.end()) {
    return kNone;
  }
  const EntitySchema* const schema = profile.uses.Find(schemas_, name);
  if (schema == nullptr || !profile.under_way.insert(declared->first).second) {
    return kNone;
  }
  Rules compiled;
  size_t barren = 0;
  for (const v1::Rule* rule : declared->second) {
    const size_t before = compiled.size();
    CompileRule(*rule, *schema, profile, &compiled);
    barren += compiled.size() == before ? 1 : 0;
  }
  if (barren > 0) {
    profile.barren.emplace(name, barren);
  }
  std::ranges::sort(compiled, [](const auto& a, const auto& b) { return a->id < b->id; });
  compiled.erase(std::unique(compiled.begin(), compiled.end()), compiled.end());
  profile.under_way.erase(declared->first);
  return profile.compiled[declared->first] = std::move(compiled);
}

void ProfileCompiler::CompileRule(const v1::Rule& rule, const EntitySchema& schema,
                                  Profile& profile, Rules* out) {
  switch (rule.kind()) {
    case v1::RULE_KIND_ALL:
      Add({.id = fmt::format("e{}|all", schema.id().value()),
           .text = "all",
           .entity = schema.id(),
           .kind = rule.kind()},
          nullptr, profile, out);
      break;
    case v1::RULE_KIND_USER:
    case v1::RULE_KIND_TEAM:
    case v1::RULE_KIND_BUSINESS_UNIT:
      CompileOwnership(rule.kind(), schema, profile, out);
      break;
    case v1::RULE_KIND_FILTER:
      CompileFilter(rule, schema, profile, out);
      break;
    case v1::RULE_KIND_RELATED:
      CompileRelated(rule, schema, profile, out);
      break;
    default:
      break;  // of a later version
  }
}

void ProfileCompiler::CompileOwnership(v1::RuleKind kind, const EntitySchema& schema,
                                       Profile& profile, Rules* out) {
  const AttributeId attribute = OwnershipAttribute(kind, schema.proto().ownership());
  if (schema.Find(attribute) != nullptr) {
    Add({.id =
             fmt::format("e{}|{}:a{}", schema.id().value(), RuleKindName(kind), attribute.value()),
         .text = std::string(RuleKindName(kind)),
         .entity = schema.id(),
         .kind = kind,
         .attribute = attribute},
        nullptr, profile, out);
  }
}

void ProfileCompiler::CompileFilter(const v1::Rule& rule, const EntitySchema& schema,
                                    Profile& profile, Rules* out) {
  const ProfileRules::FilterKey key(schema.id(), rule.where());
  std::shared_ptr<const FilterRules> known = profile.Find(key, schema);
  // One that the profile's limit cuts off is made rule by rule.
  if (known == nullptr || profile.count + known->rules.size() > kRulesPerProfileMax) {
    known = ParseFilter(rule, schema, profile, out);
  } else {
    profile.count += known->rules.size();
    out->insert(out->end(), known->rules.begin(), known->rules.end());
  }
  if (known == nullptr) {
    profile.filter_bytes += rule.where().size();
    profile.uses.UseAll(schema, hashes_);
    return;
  }
  profile.filter_bytes += known->bytes;
  for (const AttributeId attribute : known->attributes) {
    profile.uses.Use(schema, attribute);
  }
  if (profile.count < kRulesPerProfileMax) {  // or some of its rules may have been cut off
    profile.filters.try_emplace(key, std::move(known));
  }
}

std::shared_ptr<const FilterRules> ProfileCompiler::ParseFilter(const v1::Rule& rule,
                                                                const EntitySchema& schema,
                                                                Profile& profile, Rules* out) {
  ++parsed_;
  const auto filter = Filter::Parse(rule.where(), schema);
  if (!filter.ok()) {
    return nullptr;
  }
  auto made = std::make_shared<FilterRules>();
  made->attributes = (*filter)->attributes();
  const auto first = static_cast<std::ptrdiff_t>(out->size());
  for (const FilterAlternative& alternative : (*filter)->alternatives()) {
    made->bytes += alternative.canonical.size();
    Add({.id = fmt::format("e{}|filter:{}", schema.id().value(), TextHash(alternative.canonical)),
         .text = ShownFilter(rule.where()),
         .entity = schema.id(),
         .kind = rule.kind(),
         .filter = {alternative.terms, alternative.condition, {}},
         .comparisons = 1 + alternative.canonical.size() / kComparisonBytes,
         .searches = alternative.condition == nullptr ? 0 : alternative.condition->searches()},
        nullptr, profile, out);
  }
  made->bytes = std::max(made->bytes, rule.where().size());
  made->rules.assign(out->begin() + first, out->end());
  return made;
}

void ProfileCompiler::CompileRelated(const v1::Rule& rule, const EntitySchema& schema,
                                     Profile& profile, Rules* out) {
  const size_t dot = rule.through().find('.');
  if (dot == std::string::npos) {
    return;
  }
  const EntitySchema* const holder =
      profile.uses.Find(schemas_, std::string_view(rule.through()).substr(0, dot));
  if (holder == nullptr) {
    return;
  }
  const schemas::Attribute* const attribute =
      holder->Find(std::string_view(rule.through()).substr(dot + 1));
  if (attribute == nullptr) {
    profile.uses.UseAll(*holder, hashes_);
    return;
  }
  profile.uses.Use(*holder, attribute->id);
  const bool down = holder->name() == schema.name();
  const EntitySchema* const source =
      down ? profile.uses.Find(schemas_, attribute->references) : holder;
  if (source == nullptr || (!down && attribute->references != schema.name())) {
    return;
  }
  for (const std::shared_ptr<const SyncRule>& from : CompileEntity(source->name(), profile)) {
    if (from->depth == kRuleDepthMax) {
      continue;
    }
    Add({.id = fmt::format("e{}|related:e{}.a{}<{}", schema.id().value(), holder->id().value(),
                           attribute->id.value(), from->id),
         .text = fmt::format("related through {}", rule.through()),
         .entity = schema.id(),
         .kind = rule.kind(),
         .depth = from->depth + 1,
         .attribute = attribute->id,
         .down = down,
         .source_entity = source->id()},
        from, profile, out);
  }
}

// The rule of that id, this one if there is none yet; nothing past the profile's limit.
void ProfileCompiler::Add(SyncRule rule, const std::shared_ptr<const SyncRule>& source,
                          Profile& profile, Rules* out) {
  if (profile.count == kRulesPerProfileMax) {
    return;
  }
  ++profile.count;
  const auto known = std::ranges::lower_bound(
      known_, rule.id, {}, [](const auto& other) -> const std::string& { return other->id; });
  if (known != known_.end() && (*known)->id == rule.id) {
    out->push_back(*known);
    return;
  }
  const auto made = fresh_.find(rule.id);
  if (made != fresh_.end()) {
    out->push_back(made->second.rule);
    return;
  }
  auto added = std::make_shared<SyncRule>(std::move(rule));
  fresh_.emplace(added->id, Fresh{added, source});
  out->push_back(std::move(added));
}

}  // namespace sluice::projectors

#include "projectors/provisioning/rule_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>

#include "projectors/provisioning/rule_graph.h"
#include "projectors/rules/filter.h"
#include "schemas/base/status.h"

namespace sluice::projectors {
namespace {

absl::Status UnknownEntity(std::string_view entity) {
  return Invalid("unknown_entity", "entity '{}' does not exist", entity);
}

absl::Status UnknownAttribute(std::string_view entity, std::string_view attribute) {
  return Invalid("unknown_attribute", "entity '{}' has no attribute '{}'", entity, attribute);
}

// A rule as errors name it: "profile 'field', entity 'order', rule 2 (filter)".
std::string NameOf(std::string_view profile, std::string_view entity, int index,
                   const v1::Rule& rule) {
  return fmt::format("profile '{}', entity '{}', rule {} ({})", profile, entity, index + 1,
                     RuleKindName(rule.kind()));
}

struct Through {
  std::string_view entity;
  std::string_view attribute;
};

// Neither name holds a dot, so what follows the first is the attribute.
Through SplitThrough(std::string_view through) {
  const size_t dot = std::min(through.find('.'), through.size());
  return {through.substr(0, dot), through.substr(std::min(dot + 1, through.size()))};
}

const EntitySchema* FindEntity(const OrgModel& model, std::string_view name) {
  const auto found = model.entities().find(name);
  return found == model.entities().end() ? nullptr : found->second.get();
}

// The entity whose rows bring those of the rule's `entity`.
absl::StatusOr<std::string> SourceOf(const OrgModel& model, const EntitySchema& entity,
                                     const v1::Rule& rule) {
  const Through through = SplitThrough(rule.through());
  if (through.entity.empty() || through.attribute.empty()) {
    return Invalid("invalid_argument", "through '{}' is not of the form Entity.attribute",
                   rule.through());
  }
  const EntitySchema* const holder = FindEntity(model, through.entity);
  if (holder == nullptr) {
    return UnknownEntity(through.entity);
  }
  const schemas::Attribute* const attribute = holder->Find(through.attribute);
  if (attribute == nullptr) {
    return UnknownAttribute(through.entity, through.attribute);
  }
  if (attribute->references.empty()) {
    return Invalid("invalid_argument",
                   "{} references no entity; give the attribute its `references` first",
                   rule.through());
  }
  if (holder == &entity) {
    return attribute->references;  // rows that point at a row the caller has
  }
  if (attribute->references != entity.name()) {
    return Invalid("invalid_argument",
                   "{} references entity '{}', not '{}'; a rule goes through an attribute of its "
                   "own entity or one that references it",
                   rule.through(), attribute->references, entity.name());
  }
  return holder->name();  // rows that the caller's rows point at
}

absl::Status CheckRule(const OrgModel& model, const EntitySchema& entity, const v1::Rule& rule,
                       RuleGraph& graph) {
  if (rule.kind() == v1::RULE_KIND_FILTER) {
    ASSIGN_OR_RETURN(const auto filter, Filter::Parse(rule.where(), entity));
    graph.AddRule(entity.name(), filter->alternatives().size());
    return absl::OkStatus();
  }
  if (rule.kind() == v1::RULE_KIND_RELATED) {
    ASSIGN_OR_RETURN(const std::string source, SourceOf(model, entity, rule));
    graph.AddRelated(entity.name(), source);
    return absl::OkStatus();
  }
  if (NeedsOwnership(rule.kind()) &&
      OwnershipAttribute(rule.kind(), entity.proto().ownership()) == AttributeId()) {
    return Invalid(
        "invalid_argument",
        "entity '{}' has no {} ownership; name the attribute in the entity's `ownership` first",
        entity.name(), RuleKindName(rule.kind()));
  }
  graph.AddRule(entity.name(), 1);
  return absl::OkStatus();
}

bool Has(const v1::EntitySchema& schema, AttributeId id) {
  return std::ranges::any_of(schema.attributes(), [id](const v1::Attribute& attribute) {
    return attribute.id() == id.value();
  });
}

// The entity before and after.
struct Evolution {
  const EntitySchema& current;
  const v1::EntitySchema& next;
};

// What `rule`, of `entity`, needs and `next` lacks, as the end of "it needs ..."; empty: nothing.
std::string LostBy(const v1::Rule& rule, std::string_view entity, const Evolution& evolution) {
  const EntitySchema& current = evolution.current;
  if (rule.kind() == v1::RULE_KIND_RELATED) {
    const Through through = SplitThrough(rule.through());
    const schemas::Attribute* const attribute =
        through.entity == current.name() ? current.Find(through.attribute) : nullptr;
    if (attribute == nullptr) {
      return "";
    }
    for (const v1::Attribute& kept : evolution.next.attributes()) {
      if (kept.id() == attribute->id.value() && kept.references() == attribute->references) {
        return "";
      }
    }
    return fmt::format("{} with its reference to '{}'", rule.through(), attribute->references);
  }
  if (entity != current.name()) {
    return "";
  }
  if (rule.kind() == v1::RULE_KIND_FILTER) {
    // A filter that no longer fits (its entity was deleted and defined anew) uses nothing.
    const auto filter = Filter::Parse(rule.where(), current);
    if (!filter.ok()) {
      return "";
    }
    for (const AttributeId id : (*filter)->attributes()) {
      if (!Has(evolution.next, id)) {
        return fmt::format("attribute '{}'", current.Find(id)->name);
      }
    }
    return "";
  }
  const AttributeId none;
  const bool lost = OwnershipAttribute(rule.kind(), current.proto().ownership()) != none &&
                    OwnershipAttribute(rule.kind(), evolution.next.ownership()) == none;
  return lost ? fmt::format("the {} ownership", RuleKindName(rule.kind())) : "";
}

// What the profile's rules use of `current` must be the same in `next`.
absl::Status CheckInUse(const v1::Profile& profile, const EntitySchema& current,
                        const v1::EntitySchema& next) {
  for (const v1::EntityRules& rules : profile.entities()) {
    for (int i = 0; i < rules.rules_size(); ++i) {
      const v1::Rule& rule = rules.rules(i);
      const std::string lost = LostBy(rule, rules.entity(), {current, next});
      if (!lost.empty()) {
        return Error(StatusCode::kFailedPrecondition, "attribute_in_use",
                     "entity '{}' cannot lose {}: {} needs it; change the profile first",
                     current.name(), lost, NameOf(profile.name(), rules.entity(), i, rule));
      }
    }
  }
  return absl::OkStatus();
}

absl::Status TooManyRules(size_t rules, size_t max, std::string_view whose) {
  return Invalid(
      "too_many_rules",
      "the profiles would have {} different rules {}, at most {} are taken; a filter counts once "
      "for each of its alternatives, a related rule once for each rule of the entity that its rows "
      "come by: use one rule that compares with the caller's teams or claims",
      rules, whose, max);
}

// The first entity that would have more than `max`, and more than before.
template <typename Counts>
typename Counts::const_iterator Exceeding(const Counts& after, const Counts& before, size_t max) {
  return std::ranges::find_if(after, [&](const auto& entity) {
    const auto had = before.find(entity.first);
    return entity.second > max && (had == before.end() || entity.second > had->second);
  });
}

// What does not become more may be put also where there are too many.
absl::Status CheckNumbers(const OrgModel& model, const Schemas& schemas,
                          const Definitions<v1::Profile>& profiles, RuleCounts& counts) {
  const RuleCounts::Sums none;
  const RuleCounts::Sums after = counts.Of(schemas, profiles);
  if (after.all <= kRulesOfOrgMax && after.filter_bytes <= kFilterBytesOfOrgMax &&
      Exceeding(after.of_entity, none.of_entity, kRulesOfEntityMax) == after.of_entity.end() &&
      Exceeding(after.through, none.through, kThroughOfEntityMax) == after.through.end()) {
    return absl::OkStatus();
  }
  const RuleCounts::Sums before = counts.Of(model.entities(), model.profiles());
  if (const auto entity = Exceeding(after.of_entity, before.of_entity, kRulesOfEntityMax);
      entity != after.of_entity.end()) {
    return TooManyRules(entity->second, kRulesOfEntityMax,
                        fmt::format("for entity '{}'", entity->first));
  }
  if (after.all > kRulesOfOrgMax && after.all > before.all) {
    return TooManyRules(after.all, kRulesOfOrgMax, "in all");
  }
  if (after.filter_bytes > kFilterBytesOfOrgMax && after.filter_bytes > before.filter_bytes) {
    return Invalid("too_many_rules",
                   "the profiles would have filters of {} bytes in all, at most {} are taken; a "
                   "filter counts with its text, or with all of its alternatives where these are "
                   "longer: compare with the caller's teams or claims in place of lists of values",
                   after.filter_bytes, kFilterBytesOfOrgMax);
  }
  if (const auto entity = Exceeding(after.through, before.through, kThroughOfEntityMax);
      entity != after.through.end()) {
    return Invalid("too_many_rules",
                   "the related rules of all profiles would go through {} attributes of entity "
                   "'{}', at most {} are taken: each row of it that comes or moves has to do with "
                   "the rows that all of them point at",
                   entity->second, entity->first, kThroughOfEntityMax);
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckProfile(const OrgModel& model, const v1::Profile& profile, RuleCounts& counts) {
  const std::string context = fmt::format("profile '{}'", profile.name());
  RuleGraph graph;
  for (const v1::EntityRules& rules : profile.entities()) {
    const EntitySchema* const entity = FindEntity(model, rules.entity());
    if (entity == nullptr) {
      return Annotate(UnknownEntity(rules.entity()), context);
    }
    for (int i = 0; i < rules.rules_size(); ++i) {
      const v1::Rule& rule = rules.rules(i);
      RETURN_IF_ERROR_CTX(CheckRule(model, *entity, rule, graph),
                          NameOf(profile.name(), rules.entity(), i, rule));
    }
  }
  RETURN_IF_ERROR_CTX(graph.Check(), context);
  Definitions<v1::Profile> profiles = model.profiles();
  profiles[profile.name()] = std::make_shared<const v1::Profile>(profile);
  RETURN_IF_ERROR_CTX(CheckNumbers(model, model.entities(), profiles, counts), context);
  return absl::OkStatus();
}

absl::Status CheckRole(const OrgModel& model, const v1::Role& role) {
  for (const v1::EntityGrant& grant : role.entities()) {
    const std::string context = fmt::format("role '{}'", role.name());
    const EntitySchema* const entity = FindEntity(model, grant.entity());
    if (entity == nullptr) {
      return Annotate(UnknownEntity(grant.entity()), context);
    }
    for (const std::string& column : grant.deny_columns()) {
      const schemas::Attribute* const attribute = entity->Find(column);
      if (attribute == nullptr) {
        return Annotate(UnknownAttribute(grant.entity(), column), context + ", deny_columns");
      }
      if (attribute->id == entity->key().id) {
        return Annotate(Invalid("invalid_argument",
                                "'{}' is the primary key of entity '{}', which cannot be denied",
                                column, grant.entity()),
                        context + ", deny_columns");
      }
    }
  }
  return absl::OkStatus();
}

absl::Status CheckEntity(const OrgModel& model, const v1::EntitySchema& next, RuleCounts& counts) {
  const std::string context = fmt::format("entity '{}'", next.name());
  Schemas schemas = model.entities();
  std::shared_ptr<const EntitySchema>& schema = schemas[next.name()];
  const std::shared_ptr<const EntitySchema> current = schema;
  ASSIGN_OR_RETURN(schema, EntitySchema::FromProto(next));
  if (current != nullptr) {
    for (const auto& profile : counts.ChangedBy(model.entities(), schemas, model.profiles())) {
      RETURN_IF_ERROR(CheckInUse(*profile, *current, next));
    }
  }
  RETURN_IF_ERROR_CTX(CheckNumbers(model, schemas, model.profiles(), counts), context);
  return absl::OkStatus();
}

}  // namespace sluice::projectors

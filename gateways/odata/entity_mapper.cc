#include "gateways/odata/entity_mapper.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/status/statusor.h"
#include "schemas/attribute_type.h"
#include "schemas/base/ascii.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/entity_definition.h"

namespace sluice::gateways {
namespace {

constexpr size_t kBaseTypesMax = 32;
// Properties that are looked at for one entity: complex types within each other multiply.
constexpr size_t kVisitsMax = 2 * static_cast<size_t>(schemas::kAttributesMax);
// Of an enumeration: a number of one is looked for among them in each row.
constexpr size_t kEnumMembersMax = 10'000;

absl::Status Refuse(std::string_view code, std::string_view reason) {
  return Error(absl::StatusCode::kFailedPrecondition, code, reason);
}

MappingRefusal RefusalOf(std::string name, const absl::Status& why) {
  return {std::move(name), ErrorCode(why), std::string(Message(why))};
}

std::string Joined(const std::vector<std::string>& path, char by) {
  std::string text;
  for (const std::string& name : path) {
    text.append(text.empty() ? 0 : 1, by).append(name);
  }
  return text;
}

// The text as a name of ours: '_' for each character that none may have. OData's may have letters
// of any language.
absl::StatusOr<std::string> NameFrom(std::string_view text) {
  std::string name = text.empty() || !IsDigit(text[0]) ? "" : "_";
  for (const char c : text) {
    const bool continues = (static_cast<unsigned char>(c) & 0xc0) == 0x80;
    const bool fits = IsLetterOrDigit(c);
    name.append(continues ? 0 : 1, fits ? c : '_');
  }
  return schemas::IsValidName(name)
             ? absl::StatusOr<std::string>(std::move(name))
             : Refuse("invalid_name", fmt::format("{} is empty or longer than 128 characters",
                                                  QuoteForError(name)));
}

// What a property's type is, seen through type definitions.
struct ResolvedType {
  EdmType type = EdmType::kString;
  std::shared_ptr<const CsdlEnum> members;
  std::string complex;  // qualified name of a complex type; empty: a primitive one
};

class EntityMapper {
 public:
  explicit EntityMapper(const Csdl& csdl) : csdl_(csdl) {
    for (const CsdlEntitySet& set : csdl.sets) {
      sets_.emplace(set.name, &set);
    }
  }

  absl::StatusOr<MappedEntity> Map(const WantedEntity& wanted);
  void SetReferences(std::vector<MappedEntity>& entities);

 private:
  using Chain = std::vector<const CsdlStructure*>;  // from the base to the type itself

  absl::StatusOr<Chain> ChainOf(std::string_view type) const;
  absl::StatusOr<ResolvedType> Resolve(const CsdlProperty& property);
  absl::Status AddProperties(const Chain& chain, const WantedEntity& wanted, const Chain& key_chain,
                             std::vector<std::string>& path, MappedEntity& entity);
  absl::Status AddProperty(const CsdlProperty& property, const WantedEntity& wanted,
                           const Chain& key_chain, std::vector<std::string>& path,
                           MappedEntity& entity);
  absl::Status AddColumn(ResolvedType type, const std::vector<std::string>& path,
                         MappedEntity& entity);
  absl::Status SetKey(const Chain& chain, MappedEntity& entity);
  void AddRefused(MappedEntity& entity, MappingRefusal refusal);

  // Mapped entities by what a navigation property may name.
  struct Targets {
    std::map<std::string_view, const MappedEntity*> by_set;
    std::map<std::string, const MappedEntity*> by_type;  // nullptr: two sets have the type
  };
  // The entity that `navigation` of `set` leads to; nullptr where that is none, or not clear.
  const MappedEntity* TargetOf(const CsdlEntitySet& set, const CsdlNavigation& navigation,
                               const Targets& targets) const;
  void SetReferences(const Targets& targets, MappedEntity& entity) const;

  const Csdl& csdl_;
  std::map<std::string_view, const CsdlEntitySet*> sets_;
  std::map<std::string, std::shared_ptr<const CsdlEnum>> enums_;
  // Of the entity that is being mapped.
  std::set<std::string> names_;
  size_t visits_ = 0;
  size_t refusals_ = 0;  // of attributes, of all entities
};

void EntityMapper::AddRefused(MappedEntity& entity, MappingRefusal refusal) {
  if (refusals_++ < kMappingRefusalsMax) {
    entity.refused.push_back(std::move(refusal));
  }
}

absl::StatusOr<EntityMapper::Chain> EntityMapper::ChainOf(std::string_view type) const {
  Chain chain;
  std::string name = csdl_.Qualified(type);
  do {
    const auto found = csdl_.structures.find(name);
    if (found == csdl_.structures.end()) {
      return Refuse("type_unknown", fmt::format("no type {} is defined", QuoteForError(name)));
    }
    if (chain.size() == kBaseTypesMax) {
      return Refuse("base_type_invalid",
                    fmt::format("{} has more than {} base types, or itself among them",
                                QuoteForError(type), kBaseTypesMax));
    }
    chain.push_back(&found->second);
    name = csdl_.Qualified(found->second.base);
  } while (!name.empty());
  std::ranges::reverse(chain);
  return chain;
}

absl::StatusOr<ResolvedType> EntityMapper::Resolve(const CsdlProperty& property) {
  if (property.collection) {
    return Refuse("collection", fmt::format("it is a collection of {}", property.type));
  }
  std::string name = csdl_.Qualified(property.type);
  std::optional<uint32_t> precision = property.precision;
  if (const auto defined = csdl_.definitions.find(name); defined != csdl_.definitions.end()) {
    name = csdl_.Qualified(defined->second.underlying);
    precision = precision.has_value() ? precision : defined->second.precision;
  }
  if (const auto primitive = EdmTypeFromName(name); primitive.has_value()) {
    if (*primitive == EdmType::kDecimal && precision.value_or(0) > kDecimalPrecisionMax) {
      return Refuse("precision_too_large",
                    fmt::format("a decimal has {} digits at most, and this one {}",
                                kDecimalPrecisionMax, *precision));
    }
    return ResolvedType{*primitive, nullptr, ""};
  }
  if (const auto found = csdl_.enums.find(name); found != csdl_.enums.end()) {
    if (found->second.members.size() > kEnumMembersMax) {
      return Refuse("type_unsupported", fmt::format("{} has more than {} members",
                                                    QuoteForError(name), kEnumMembersMax));
    }
    auto& shared = enums_[name];
    if (shared == nullptr) {
      shared = std::make_shared<const CsdlEnum>(found->second);
    }
    return ResolvedType{EdmType::kEnum, shared, ""};
  }
  if (const auto found = csdl_.structures.find(name);
      found != csdl_.structures.end() && !found->second.is_entity) {
    return ResolvedType{EdmType::kString, nullptr, name};
  }
  return name.starts_with("Edm.")
             ? Refuse("type_unsupported", fmt::format("values of {} are not taken", name))
             : Refuse("type_unknown", fmt::format("no type {} is defined", QuoteForError(name)));
}

bool IsOfKey(const std::vector<const CsdlStructure*>& chain, std::string_view first) {
  return std::ranges::any_of(chain, [first](const CsdlStructure* structure) {
    return std::ranges::any_of(structure->key, [first](const CsdlKeyPart& part) {
      return std::string_view(part.path).substr(0, part.path.find('/')) == first;
    });
  });
}

absl::Status EntityMapper::AddProperties(const Chain& chain, const WantedEntity& wanted,
                                         const Chain& key_chain, std::vector<std::string>& path,
                                         MappedEntity& entity) {
  for (const CsdlStructure* const structure : chain) {
    for (const CsdlProperty& property : structure->properties) {
      if (++visits_ > kVisitsMax || entity.columns.size() >= schemas::kAttributesMax) {
        return Refuse("too_many_attributes",
                      fmt::format("it has more than {} properties", schemas::kAttributesMax));
      }
      RETURN_IF_ERROR(AddProperty(property, wanted, key_chain, path, entity));
    }
  }
  return absl::OkStatus();
}

absl::Status EntityMapper::AddProperty(const CsdlProperty& property, const WantedEntity& wanted,
                                       const Chain& key_chain, std::vector<std::string>& path,
                                       MappedEntity& entity) {
  const bool left_out = path.empty() && !wanted.select.empty() &&
                        std::ranges::find(wanted.select, property.name) == wanted.select.end() &&
                        !IsOfKey(key_chain, property.name);
  if (left_out) {
    return absl::OkStatus();
  }
  path.push_back(property.name);
  absl::StatusOr<ResolvedType> type = Resolve(property);
  if (type.ok() && path.size() > kPropertyPathMax) {
    type = Refuse("too_deep", fmt::format("it lies more than {} levels deep", kPropertyPathMax));
  }
  absl::Status status = type.status();
  if (status.ok() && !type->complex.empty()) {
    const absl::StatusOr<Chain> chain = ChainOf(type->complex);
    status = chain.status();
    if (status.ok()) {
      RETURN_IF_ERROR(AddProperties(*chain, wanted, key_chain, path, entity));
    }
  } else if (status.ok()) {
    status = AddColumn(*std::move(type), path, entity);
  }
  if (!status.ok()) {
    AddRefused(entity, RefusalOf(Joined(path, '/'), status));
  }
  path.pop_back();
  return absl::OkStatus();
}

absl::Status EntityMapper::AddColumn(ResolvedType type, const std::vector<std::string>& path,
                                     MappedEntity& entity) {
  ASSIGN_OR_RETURN(std::string name, NameFrom(Joined(path, '_')));
  if (!names_.insert(name).second) {
    return Refuse("name_taken", fmt::format("another property is the attribute {} already", name));
  }
  if (entity.select.empty() || entity.select.back() != path[0]) {
    entity.select.push_back(path[0]);
  }
  v1::Attribute* const attribute = entity.definition.add_attributes();
  attribute->set_name(name);
  attribute->set_type(AttributeTypeOf(type.type));
  entity.columns.push_back({path, std::move(name), type.type, std::move(type.members)});
  return absl::OkStatus();
}

absl::Status EntityMapper::SetKey(const Chain& chain, MappedEntity& entity) {
  const auto keyed = std::ranges::find_if(
      chain, [](const CsdlStructure* structure) { return !structure->key.empty(); });
  if (keyed == chain.end()) {
    return Refuse("no_key", "its type has no key");
  }
  for (const CsdlKeyPart& part : (*keyed)->key) {
    const auto column = std::ranges::find_if(entity.columns, [&](const MappedColumn& candidate) {
      return Joined(candidate.path, '/') == part.path;
    });
    if (column == entity.columns.end()) {
      return Refuse("key_unsupported",
                    fmt::format("{} of its key can't be an attribute", QuoteForError(part.path)));
    }
    entity.key.push_back({static_cast<size_t>(column - entity.columns.begin()),
                          part.alias.empty() ? part.path : part.alias});
  }
  if (entity.key.size() == 1) {
    entity.definition.set_primary_key(entity.columns[entity.key[0].column].attribute);
    return absl::OkStatus();
  }
  if (entity.columns.size() == schemas::kAttributesMax) {
    return Refuse("too_many_attributes", "no attribute is left for its composed key");
  }
  std::string name = "_key";
  while (names_.contains(name)) {
    name.push_back('_');
  }
  entity.key_is_composed = true;
  entity.definition.set_primary_key(name);
  v1::Attribute* const attribute = entity.definition.add_attributes();
  attribute->set_name(name);
  attribute->set_type(v1::ATTRIBUTE_TYPE_STRING);
  return absl::OkStatus();
}

absl::StatusOr<MappedEntity> EntityMapper::Map(const WantedEntity& wanted) {
  names_.clear();
  visits_ = 0;
  MappedEntity entity;
  entity.set = wanted.set.empty() ? wanted.name : wanted.set;
  if (!schemas::IsValidName(wanted.name)) {
    return Refuse("invalid_name",
                  fmt::format("{} is no name of an entity", QuoteForError(wanted.name)));
  }
  entity.definition.set_name(wanted.name);
  const auto found = sets_.find(entity.set);
  if (found == sets_.end()) {
    return Refuse("not_in_source",
                  fmt::format("the service has no entity set {}", QuoteForError(entity.set)));
  }
  ASSIGN_OR_RETURN(const Chain chain, ChainOf(found->second->type));
  if (!chain.back()->is_entity) {
    return Refuse("type_unknown",
                  fmt::format("{} is no entity type", QuoteForError(found->second->type)));
  }
  if (chain.back()->is_abstract) {
    return Refuse("abstract_type", "its type is abstract: what its rows have is not known");
  }
  std::vector<std::string> path;
  RETURN_IF_ERROR(AddProperties(chain, wanted, chain, path, entity));
  RETURN_IF_ERROR(SetKey(chain, entity));
  for (const std::string& name : wanted.select) {
    const bool known = std::ranges::any_of(chain, [&](const CsdlStructure* structure) {
      return std::ranges::find(structure->properties, name, &CsdlProperty::name) !=
             structure->properties.end();
    });
    if (!known) {
      AddRefused(entity, {name, "not_in_source", "the type has no such property"});
    }
  }
  return entity;
}

const MappedEntity* EntityMapper::TargetOf(const CsdlEntitySet& set,
                                           const CsdlNavigation& navigation,
                                           const Targets& targets) const {
  if (const auto bound = set.bindings.find(navigation.name); bound != set.bindings.end()) {
    const std::string_view path = bound->second;
    const auto target = targets.by_set.find(path.substr(path.rfind('/') + 1));
    return target == targets.by_set.end() ? nullptr : target->second;
  }
  const auto target = targets.by_type.find(csdl_.Qualified(navigation.type));
  return target == targets.by_type.end() ? nullptr : target->second;
}

void EntityMapper::SetReferences(const Targets& targets, MappedEntity& entity) const {
  std::map<std::string, int> columns;  // by the path of their property
  for (size_t i = 0; i < entity.columns.size(); ++i) {
    columns.emplace(Joined(entity.columns[i].path, '/'), static_cast<int>(i));
  }
  const CsdlEntitySet& set = *sets_.at(entity.set);
  const Chain chain = *ChainOf(set.type);
  // A column that may hold the key of one entity or of another is no reference to either.
  std::map<int, std::set<std::string>> names;  // "": to what is no entity of ours
  for (const CsdlStructure* const structure : chain) {
    for (const CsdlNavigation& navigation : structure->navigations) {
      const auto column = navigation.constraints.size() == 1
                              ? columns.find(navigation.constraints[0].property)
                              : columns.end();
      if (navigation.collection || column == columns.end()) {
        continue;
      }
      const MappedEntity* const target = TargetOf(set, navigation, targets);
      const MappedColumn* const key = target == nullptr || target->key_is_composed
                                          ? nullptr
                                          : &target->columns[target->key[0].column];
      const bool fits =
          key != nullptr && Joined(key->path, '/') == navigation.constraints[0].referenced &&
          AttributeTypeOf(key->type) == entity.definition.attributes(column->second).type();
      names[column->second].insert(fits ? target->definition.name() : "");
    }
  }
  for (const auto& [column, of] : names) {
    if (of.size() == 1) {
      entity.definition.mutable_attributes(column)->set_references(*of.begin());
    }
  }
}

void EntityMapper::SetReferences(std::vector<MappedEntity>& entities) {
  Targets targets;
  for (const MappedEntity& entity : entities) {
    targets.by_set.emplace(entity.set, &entity);
    const auto [found, first] =
        targets.by_type.emplace(csdl_.Qualified(sets_.at(entity.set)->type), &entity);
    if (!first) {
      found->second = nullptr;
    }
  }
  for (MappedEntity& entity : entities) {
    SetReferences(targets, entity);
  }
}

}  // namespace

std::vector<WantedEntity> AllEntities(const Csdl& csdl) {
  std::vector<WantedEntity> all;
  for (const CsdlEntitySet& set : csdl.sets) {
    const auto name = NameFrom(set.name);
    all.push_back({name.ok() ? *name : set.name, set.name, {}});
  }
  return all;
}

EntityMapping MapEntities(const Csdl& csdl, std::span<const WantedEntity> wanted,
                          size_t columns_max) {
  const std::vector<WantedEntity> all =
      wanted.empty() ? AllEntities(csdl) : std::vector<WantedEntity>(wanted.begin(), wanted.end());
  EntityMapper mapper(csdl);
  EntityMapping mapping;
  std::set<std::string> names;
  size_t columns = 0;
  for (const WantedEntity& entity : all) {
    if (columns >= columns_max) {
      mapping.cut = true;
      mapping.refused.push_back(
          {entity.name, "too_many_attributes",
           fmt::format("the entities have {} attributes without it", columns)});
      continue;
    }
    if (!names.insert(entity.name).second) {
      mapping.refused.push_back({entity.name, "name_taken", "another entity has this name"});
      continue;
    }
    absl::StatusOr<MappedEntity> mapped = mapper.Map(entity);
    if (mapped.ok()) {
      columns += mapped->columns.size();
      mapping.entities.push_back(*std::move(mapped));
    } else {
      mapping.refused.push_back(RefusalOf(entity.name, mapped.status()));
    }
  }
  mapper.SetReferences(mapping.entities);
  return mapping;
}

}  // namespace sluice::gateways

#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gateways/odata/csdl.h"
#include "gateways/odata/edm_type.h"
#include "schemas/sluice/v1/events.pb.h"

// What becomes of a service's entity sets: entities with attributes, or refusals with names. Pure.
namespace sluice::gateways {

// Complex properties within each other, at most: "a/b/c" becomes "a_b_c".
inline constexpr size_t kPropertyPathMax = 3;
// Digits of a decimal, at most (schemas/base/decimal.h).
inline constexpr uint32_t kDecimalPrecisionMax = 38;

// An entity that somebody asks for.
struct WantedEntity {
  std::string name;
  std::string set;                  // empty: the set has the entity's name
  std::vector<std::string> select;  // properties of the first level beside the key; empty: all
};

// A property of primitive type, and the attribute that holds it.
struct MappedColumn {
  std::vector<std::string> path;  // more than one name where it lies in complex properties
  std::string attribute;
  EdmType type = EdmType::kString;
  std::shared_ptr<const CsdlEnum> members;  // of an enumeration, else nullptr
};

// A part of the key: a column, and what key predicates call it.
struct MappedKeyPart {
  size_t column = 0;
  std::string name;
};

// What is left out, and why. Codes of attributes: "type_unsupported", "type_unknown",
// "collection", "too_deep", "precision_too_large", "invalid_name", "name_taken", "not_in_source"
// (asked for by `select`). Of entities: "not_in_source" (no such set), "type_unknown", "no_key",
// "abstract_type", "base_type_invalid", "key_unsupported", "too_many_attributes", "invalid_name",
// "name_taken".
struct MappingRefusal {
  std::string name;
  std::string code;
  std::string reason;
};

struct MappedEntity {
  std::string set;
  v1::ProvisioningRequest::PutEntity definition;
  std::vector<MappedColumn> columns;
  std::vector<MappedKeyPart> key;       // in the order of the type's key
  bool key_is_composed = false;         // the primary key is an attribute of its own, a string
  std::vector<std::string> select;      // for $select: properties of the first level
  std::vector<MappingRefusal> refused;  // attributes, by the path of their property
};

struct EntityMapping {
  std::vector<MappedEntity> entities;
  std::vector<MappingRefusal> refused;  // entities
  bool cut = false;                     // some are refused only for the sake of those before them
};

// Attributes of all entities that are mapped at once, about; and of those that are left out.
inline constexpr size_t kMappedColumnsMax = 250'000;
inline constexpr size_t kMappingRefusalsMax = 10'000;

// Every set, under its own name as far as that can be one of ours.
[[nodiscard]] std::vector<WantedEntity> AllEntities(const Csdl& csdl);

// Maps the sets that are wanted; all of them, each under its own name, where `wanted` is empty.
// Attribute `references` are set where a navigation property with one constraint leads from the
// attribute to the key of an entity that is mapped too. What comes behind `columns_max` attributes
// is refused.
[[nodiscard]] EntityMapping MapEntities(const Csdl& csdl, std::span<const WantedEntity> wanted,
                                        size_t columns_max = kMappedColumnsMax);

}  // namespace sluice::gateways

#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"

namespace sluice::gateways {

// What a service's $metadata says of its data, whether it came as CSDL XML or JSON (OData 4.0,
// 4.01), as far as it is needed: annotations, actions, functions and singletons are left out. Names
// of types are as the document writes them: with a namespace, or an alias of one.

// Limits of a document. Dataverse's has some 10 MB and 250,000 members.
inline constexpr size_t kCsdlBytesMax = size_t{64} << 20;
inline constexpr size_t kCsdlDepthMax = 64;
inline constexpr size_t kCsdlSetsMax = 5'000;
// Of a name, qualified or not, of a type's name and of a path, each.
inline constexpr size_t kCsdlNameBytesMax = 1'024;
// Properties, navigation properties, constraints, bindings and members of enumerations, together.
inline constexpr size_t kCsdlMembersMax = 1'000'000;

struct CsdlProperty {
  std::string name;
  std::string type;  // of one item, where it is a collection
  bool collection = false;
  std::optional<uint32_t> precision;
};

struct CsdlConstraint {
  std::string property;    // path in the type that has the navigation property
  std::string referenced;  // path in the type that it leads to
};

struct CsdlNavigation {
  std::string name;
  std::string type;
  bool collection = false;
  std::vector<CsdlConstraint> constraints;
};

struct CsdlKeyPart {
  std::string path;   // of a property, with '/' within complex ones
  std::string alias;  // its name in key predicates; empty: the path
};

// An entity type or a complex type.
struct CsdlStructure {
  bool is_entity = false;
  bool is_abstract = false;
  std::string base;  // empty: none
  std::vector<CsdlKeyPart> key;
  std::vector<CsdlProperty> properties;
  std::vector<CsdlNavigation> navigations;
};

struct CsdlEnum {
  bool is_flags = false;
  std::vector<std::pair<std::string, int64_t>> members;  // in the order of the document
};

struct CsdlTypeDefinition {
  std::string underlying;
  std::optional<uint32_t> precision;
};

struct CsdlEntitySet {
  std::string name;
  std::string type;
  std::map<std::string, std::string> bindings;  // path of a navigation property -> path of a set
};

struct Csdl {
  std::map<std::string, std::string, std::less<>> aliases;  // -> namespace
  // By qualified name, with the namespace.
  std::map<std::string, CsdlStructure, std::less<>> structures;
  std::map<std::string, CsdlEnum, std::less<>> enums;
  std::map<std::string, CsdlTypeDefinition, std::less<>> definitions;
  std::vector<CsdlEntitySet> sets;

  // `name` with the namespace in place of its alias.
  [[nodiscard]] std::string Qualified(std::string_view name) const;
};

// kFailedPrecondition, code "metadata_invalid".
[[nodiscard]] absl::Status MetadataInvalid(std::string_view why);

// Counts what a document has against the limits, as it is read. OK while it keeps them.
class CsdlCount {
 public:
  [[nodiscard]] absl::Status AddBytes(size_t bytes);
  [[nodiscard]] absl::Status AddSet();
  [[nodiscard]] absl::Status AddMember();

 private:
  size_t bytes_ = 0;
  size_t sets_ = 0;
  size_t members_ = 0;
};

// Whether a namespace or one of its aliases is short enough: each type's name repeats it.
[[nodiscard]] absl::Status CheckCsdlName(std::string_view name);
// Whether all names are, when the document was read.
[[nodiscard]] absl::Status CheckCsdlNames(const Csdl& csdl);

// "Collection(x)" is a collection of "x"; anything else a single one.
[[nodiscard]] std::pair<std::string, bool> SplitCollection(std::string_view type);

}  // namespace sluice::gateways

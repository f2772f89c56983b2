#include "gateways/odata/csdl_json.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <string>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

namespace dom = simdjson::dom;

// The string member `name`, empty where there is none.
std::string_view TextOf(dom::object object, std::string_view name) {
  std::string_view text;
  return object[name].get_string().get(text) == simdjson::SUCCESS ? text : std::string_view();
}

bool IsTrue(dom::object object, std::string_view name) {
  bool value = false;
  return object[name].get_bool().get(value) == simdjson::SUCCESS && value;
}

std::optional<uint32_t> NumberOf(dom::object object, std::string_view name) {
  uint64_t number = 0;
  return object[name].get_uint64().get(number) == simdjson::SUCCESS && number <= UINT32_MAX
             ? std::optional(static_cast<uint32_t>(number))
             : std::nullopt;
}

// A member that is none of the model: control information, or an annotation.
bool IsApart(std::string_view name) {
  return name.starts_with('$') || name.find('@') != std::string_view::npos;
}

class JsonCsdlReader {
 public:
  absl::Status ReadDocument(dom::object document);
  Csdl Take() { return std::move(csdl_); }
  CsdlCount& count() { return count_; }

 private:
  absl::Status ReadSchema(std::string_view space, dom::object schema);
  absl::Status ReadElement(const std::string& name, dom::object element);
  absl::Status ReadStructure(dom::object element, CsdlStructure& structure);
  absl::Status ReadKey(dom::object element, CsdlStructure& structure);
  absl::Status ReadNavigation(std::string_view name, dom::object element, CsdlStructure& structure);
  absl::Status ReadEnum(dom::object element, CsdlEnum& enumeration);
  absl::Status ReadContainer(dom::object container);

  Csdl csdl_;
  CsdlCount count_;
};

absl::Status JsonCsdlReader::ReadDocument(dom::object document) {
  const std::string_view version = TextOf(document, "$Version");
  if (!version.starts_with("4.")) {
    return MetadataInvalid("is none of OData 4: it has no $Version that begins with 4");
  }
  // Aliases first: a schema may use those of one behind it.
  for (const auto [name, value] : document) {
    dom::object schema;
    if (!IsApart(name) && value.get_object().get(schema) == simdjson::SUCCESS) {
      if (const std::string_view alias = TextOf(schema, "$Alias"); !alias.empty()) {
        csdl_.aliases.emplace(alias, name);
      }
    }
  }
  for (const auto [name, value] : document) {
    dom::object schema;
    if (!IsApart(name) && value.get_object().get(schema) == simdjson::SUCCESS) {
      RETURN_IF_ERROR_CTX(ReadSchema(name, schema), name);
    }
  }
  return absl::OkStatus();
}

absl::Status JsonCsdlReader::ReadSchema(std::string_view space, dom::object schema) {
  RETURN_IF_ERROR(CheckCsdlName(space));
  for (const auto [name, value] : schema) {
    dom::object element;
    // What is no object is an overloaded action or function.
    if (!IsApart(name) && value.get_object().get(element) == simdjson::SUCCESS) {
      RETURN_IF_ERROR_CTX(ReadElement(fmt::format("{}.{}", space, name), element), name);
    }
  }
  return absl::OkStatus();
}

absl::Status JsonCsdlReader::ReadElement(const std::string& name, dom::object element) {
  RETURN_IF_ERROR(count_.AddMember());
  const std::string_view kind = TextOf(element, "$Kind");
  if (kind == "EntityType" || kind == "ComplexType") {
    CsdlStructure& structure = csdl_.structures[name];
    structure = CsdlStructure();
    structure.is_entity = kind == "EntityType";
    return ReadStructure(element, structure);
  }
  if (kind == "EnumType") {
    CsdlEnum& enumeration = csdl_.enums[name];
    enumeration = CsdlEnum();
    return ReadEnum(element, enumeration);
  }
  if (kind == "TypeDefinition") {
    csdl_.definitions[name] = {std::string(TextOf(element, "$UnderlyingType")),
                               NumberOf(element, "$Precision")};
    return absl::OkStatus();
  }
  return kind == "EntityContainer" ? ReadContainer(element) : absl::OkStatus();
}

absl::Status JsonCsdlReader::ReadStructure(dom::object element, CsdlStructure& structure) {
  structure.is_abstract = IsTrue(element, "$Abstract");
  structure.base = std::string(TextOf(element, "$BaseType"));
  RETURN_IF_ERROR(ReadKey(element, structure));
  for (const auto [name, value] : element) {
    dom::object member;
    if (IsApart(name) || value.get_object().get(member) != simdjson::SUCCESS) {
      continue;
    }
    RETURN_IF_ERROR(count_.AddMember());
    if (TextOf(member, "$Kind") == "NavigationProperty") {
      RETURN_IF_ERROR(ReadNavigation(name, member, structure));
      continue;
    }
    const std::string_view type = TextOf(member, "$Type");
    structure.properties.push_back({std::string(name),
                                    type.empty() ? "Edm.String" : std::string(type),
                                    IsTrue(member, "$Collection"), NumberOf(member, "$Precision")});
  }
  return absl::OkStatus();
}

// An array of names, and of objects whose one member is an alias with its path.
absl::Status JsonCsdlReader::ReadKey(dom::object element, CsdlStructure& structure) {
  dom::array parts;
  if (element["$Key"].get_array().get(parts) != simdjson::SUCCESS) {
    return absl::OkStatus();
  }
  for (const dom::element part : parts) {
    RETURN_IF_ERROR(count_.AddMember());
    std::string_view path;
    dom::object aliased;
    if (part.get_string().get(path) == simdjson::SUCCESS) {
      structure.key.push_back({std::string(path), ""});
    } else if (part.get_object().get(aliased) == simdjson::SUCCESS && aliased.size() == 1) {
      const auto [alias, value] = *aliased.begin();
      if (value.get_string().get(path) != simdjson::SUCCESS) {
        return MetadataInvalid("has a key's alias without a path");
      }
      structure.key.push_back({std::string(path), std::string(alias)});
    } else {
      return MetadataInvalid("has a part of a key that is neither a name nor an alias");
    }
  }
  return absl::OkStatus();
}

absl::Status JsonCsdlReader::ReadNavigation(std::string_view name, dom::object element,
                                            CsdlStructure& structure) {
  CsdlNavigation& navigation = structure.navigations.emplace_back();
  navigation.name = std::string(name);
  navigation.type = std::string(TextOf(element, "$Type"));
  navigation.collection = IsTrue(element, "$Collection");
  dom::object constraints;
  if (element["$ReferentialConstraint"].get_object().get(constraints) != simdjson::SUCCESS) {
    return absl::OkStatus();
  }
  for (const auto [property, value] : constraints) {
    std::string_view referenced;
    if (!IsApart(property) && value.get_string().get(referenced) == simdjson::SUCCESS) {
      RETURN_IF_ERROR(count_.AddMember());
      navigation.constraints.push_back({std::string(property), std::string(referenced)});
    }
  }
  return absl::OkStatus();
}

absl::Status JsonCsdlReader::ReadEnum(dom::object element, CsdlEnum& enumeration) {
  enumeration.is_flags = IsTrue(element, "$IsFlags");
  for (const auto [name, value] : element) {
    int64_t number = 0;
    if (!IsApart(name) && value.get_int64().get(number) == simdjson::SUCCESS) {
      RETURN_IF_ERROR(count_.AddMember());
      enumeration.members.emplace_back(name, number);
    }
  }
  return absl::OkStatus();
}

absl::Status JsonCsdlReader::ReadContainer(dom::object container) {
  for (const auto [name, value] : container) {
    dom::object element;
    if (IsApart(name) || value.get_object().get(element) != simdjson::SUCCESS ||
        !IsTrue(element, "$Collection")) {
      continue;  // a singleton, an action import, a function import
    }
    RETURN_IF_ERROR(count_.AddSet());
    CsdlEntitySet& set = csdl_.sets.emplace_back();
    set.name = std::string(name);
    set.type = std::string(TextOf(element, "$Type"));
    dom::object bindings;
    if (element["$NavigationPropertyBinding"].get_object().get(bindings) != simdjson::SUCCESS) {
      continue;
    }
    for (const auto [path, target] : bindings) {
      std::string_view to;
      if (target.get_string().get(to) == simdjson::SUCCESS) {
        RETURN_IF_ERROR(count_.AddMember());
        set.bindings.emplace(path, to);
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Csdl> ParseCsdlJson(std::string_view json) {
  JsonCsdlReader reader;
  RETURN_IF_ERROR(reader.count().AddBytes(json.size()));
  dom::parser parser;
  dom::object document;
  if (parser.allocate(json.size() + 1, kCsdlDepthMax) != simdjson::SUCCESS) {
    return MetadataInvalid("takes more memory than there is");
  }
  // Copied, as simdjson reads some bytes beyond the end.
  if (const auto error = parser.parse(json.data(), json.size()).get_object().get(document)) {
    return MetadataInvalid(fmt::format("is no JSON object: {}", simdjson::error_message(error)));
  }
  RETURN_IF_ERROR(reader.ReadDocument(document));
  Csdl csdl = reader.Take();
  RETURN_IF_ERROR(CheckCsdlNames(csdl));
  return csdl;
}

}  // namespace sluice::gateways

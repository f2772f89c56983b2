#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

#include "gateways/odata/csdl_json.h"
#include "gateways/odata/csdl_xml.h"
#include "gateways/odata/entity_mapper.h"
#include "schemas/attribute_type.h"
#include "schemas/entity_definition.h"

// Documents in the form of real services, written for these tests.
namespace sluice::testing {

inline std::string GoldenText(const std::string& name) {
  std::ifstream file(SLUICE_GOLDEN "/" + name);
  EXPECT_TRUE(file.is_open()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

inline gateways::Csdl GoldenCsdl(const std::string& name) {
  const std::string text = GoldenText(name);
  if (name.ends_with(".json")) {
    auto csdl = gateways::ParseCsdlJson(text);
    EXPECT_TRUE(csdl.ok()) << csdl.status();
    return csdl.ok() ? *std::move(csdl) : gateways::Csdl();
  }
  gateways::CsdlXmlReader reader;
  EXPECT_TRUE(reader.Feed(text).ok());
  auto csdl = reader.Finish();
  EXPECT_TRUE(csdl.ok()) << csdl.status();
  return csdl.ok() ? *std::move(csdl) : gateways::Csdl();
}

// A mapping as lines: "set as name key attribute: type -> entity, ...", and what is refused.
inline std::string Describe(const gateways::EntityMapping& mapping) {
  std::string text;
  for (const gateways::MappedEntity& entity : mapping.entities) {
    EXPECT_TRUE(schemas::ValidateDefinition(entity.definition).ok()) << entity.set;
    text += fmt::format("{} {} ({})\n", entity.set, entity.definition.name(),
                        entity.definition.primary_key());
    for (const v1::Attribute& attribute : entity.definition.attributes()) {
      text +=
          fmt::format("  {} {}{}\n", attribute.name(), schemas::AttributeTypeName(attribute.type()),
                      attribute.references().empty() ? "" : " -> " + attribute.references());
    }
    for (const gateways::MappingRefusal& refusal : entity.refused) {
      text += fmt::format("  - {} {}\n", refusal.name, refusal.code);
    }
  }
  for (const gateways::MappingRefusal& refusal : mapping.refused) {
    text += fmt::format("- {} {}\n", refusal.name, refusal.code);
  }
  return text;
}

}  // namespace sluice::testing

#include "gateways/sync/entity_json.h"

#include <algorithm>
#include <string_view>

#include "schemas/attribute_type.h"
#include "schemas/entity_schema.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

void AppendMember(std::string_view name, std::string_view value, std::string* out) {
  schemas::AppendJsonString(name, out);
  *out += ':';
  schemas::AppendJsonString(value, out);
}

void AppendEntity(const projectors::CallerEntity& entity, std::string* out) {
  *out += '{';
  AppendMember("entity", entity.schema->name(), out);
  *out += ',';
  AppendMember("primary_key", entity.schema->key().name, out);
  *out += R"(,"attributes":[)";
  bool first = true;
  for (const schemas::Attribute& attribute : entity.schema->attributes()) {
    if (std::ranges::binary_search(entity.denied, attribute.id)) {
      continue;
    }
    *out += first ? "{" : ",{";
    first = false;
    AppendMember("name", attribute.name, out);
    *out += ',';
    AppendMember("type", schemas::AttributeTypeName(attribute.type), out);
    if (!attribute.references.empty()) {
      *out += ',';
      AppendMember("references", attribute.references, out);
    }
    *out += '}';
  }
  *out += "]}";
}

}  // namespace

std::string EntitiesJson(std::span<const projectors::CallerEntity> entities) {
  std::string json = "[";
  for (const projectors::CallerEntity& entity : entities) {
    json += json.size() > 1 ? "," : "";
    AppendEntity(entity, &json);
  }
  return json + "]";
}

}  // namespace sluice::gateways

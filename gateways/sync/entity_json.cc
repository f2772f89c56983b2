#include "gateways/sync/entity_json.h"

#include <algorithm>
#include <cstdint>
#include <string_view>

#include "schemas/attribute_type.h"
#include "schemas/base/json_writer.h"
#include "schemas/entity_schema.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

using projectors::CallerEntity;

void AppendMember(std::string_view name, std::string_view value, std::string* out) {
  AppendJsonString(name, out);
  *out += ':';
  AppendJsonString(value, out);
}

void AppendColumn(const schemas::Attribute& attribute, std::string* out) {
  *out += '{';
  AppendMember("name", attribute.name, out);
  *out += ',';
  AppendMember("type", schemas::AttributeTypeName(attribute.type), out);
  if (!attribute.references.empty()) {
    *out += ',';
    AppendMember("references", attribute.references, out);
  }
  *out += '}';
}

}  // namespace

bool EntitiesWriter::Write(size_t bytes, std::string* out) {
  while (next_ != Next::kNothing && out->size() < bytes) {
    if (next_ == Next::kArray) {
      *out += '[';
      next_ = Next::kEntity;
    } else if (next_ == Next::kEntity && entity_ == entities_.size()) {
      *out += ']';
      next_ = Next::kNothing;
    } else if (next_ == Next::kEntity) {
      const schemas::EntitySchema& schema = *entities_[entity_].schema;
      *out += entity_ == 0 ? "{" : ",{";
      AppendMember("entity", schema.name(), out);
      *out += ',';
      AppendMember("primary_key", schema.key().name, out);
      *out += R"(,"attributes":[)";
      attribute_ = 0;
      first_column_ = true;
      next_ = Next::kColumn;
    } else if (!WriteColumn(entities_[entity_], out)) {
      *out += "]}";
      ++entity_;
      next_ = Next::kEntity;
    }
  }
  return next_ == Next::kNothing;
}

bool EntitiesWriter::WriteColumn(const CallerEntity& entity, std::string* out) {
  const auto& attributes = entity.schema->attributes();
  while (attribute_ < attributes.size()) {
    const schemas::Attribute& attribute = attributes[attribute_++];
    if (!std::ranges::binary_search(entity.denied, attribute.id)) {
      *out += first_column_ ? "" : ",";
      first_column_ = false;
      AppendColumn(attribute, out);
      return true;
    }
  }
  return false;
}

std::string EntitiesJson(std::span<const CallerEntity> entities) {
  std::string json;
  EntitiesWriter(entities).Write(SIZE_MAX, &json);
  return json;
}

}  // namespace sluice::gateways

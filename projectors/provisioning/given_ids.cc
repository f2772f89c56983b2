#include "projectors/provisioning/given_ids.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ranges>
#include <set>
#include <utility>

namespace sluice::projectors {

void GivenIds::Add(const std::string& org, uint32_t incarnation, const v1::EntitySchema& schema,
                   bool fresh) {
  Given& given = given_[{org, incarnation}];
  const auto add = [&](const Id& id, const std::string& meaning) {
    bool& since = given.ids[id][meaning];
    since = since || fresh;
  };
  const uint32_t entity = schema.entity_id();
  uint32_t& next = given.next[entity];
  next = std::max(next, schema.next_attribute_id());
  add({entity, 0, false}, schema.name());
  add({entity, 0, true}, fmt::format("attribute {}", schema.primary_key()));
  for (const v1::Attribute& attribute : schema.attributes()) {
    add({entity, attribute.id(), false}, attribute.name());
    add({entity, attribute.id(), true}, v1::AttributeType_Name(attribute.type()));
  }
  for (const v1::RemovedAttribute& removed : schema.removed()) {
    add({entity, removed.id(), false}, removed.name());
  }
}

v1::EntitySchema GivenIds::Complete(const Given& given, v1::EntitySchema schema) {
  std::set<uint32_t> known;
  for (const v1::Attribute& attribute : schema.attributes()) {
    known.insert(attribute.id());
  }
  std::map<uint32_t, std::string> removed;
  for (const v1::RemovedAttribute& attribute : schema.removed()) {
    removed.emplace(attribute.id(), attribute.name());
  }
  const auto& ids = given.ids;
  for (auto it = ids.lower_bound({schema.entity_id(), 1, false});
       it != ids.end() && it->first.entity == schema.entity_id(); ++it) {
    if (!it->first.type && !known.contains(it->first.attribute)) {
      removed.emplace(it->first.attribute, it->second.begin()->first);
    }
  }
  schema.clear_removed();  // ascending, as EvolveSchema() has them
  for (const auto& [id, name] : removed) {
    v1::RemovedAttribute& added = *schema.add_removed();
    added.set_id(id);
    added.set_name(name);
  }
  const auto next = given.next.find(schema.entity_id());
  if (next != given.next.end()) {
    schema.set_next_attribute_id(std::max(schema.next_attribute_id(), next->second));
  }
  return schema;
}

std::vector<v1::EntitySchema> GivenIds::Incomplete(const OrgEntry& entry) const {
  std::vector<v1::EntitySchema> incomplete;
  const auto found = given_.find({entry.org.value(), entry.incarnation});
  if (found == given_.end()) {
    return incomplete;
  }
  for (const auto& [name, schema] : entry.model->entities()) {
    v1::EntitySchema with = Complete(found->second, schema->proto());
    if (with.SerializeAsString() != schema->proto().SerializeAsString()) {
      incomplete.push_back(std::move(with));
    }
  }
  return incomplete;
}

std::vector<std::string> GivenIds::GivenTwice(const std::string& org, uint32_t incarnation) const {
  std::vector<std::string> texts;
  const auto found = given_.find({org, incarnation});
  if (found == given_.end()) {
    return texts;
  }
  const auto& ids = found->second.ids;
  uint32_t other_entity = 0;  // whose attributes are those of two
  for (const auto& [id, meanings] : ids) {
    if (meanings.size() < 2 || id.entity == other_entity ||
        std::ranges::none_of(meanings, [](const auto& meaning) { return meaning.second; })) {
      continue;
    }
    const std::string both = fmt::format("{}", fmt::join(meanings | std::views::keys, " and "));
    const std::string& entity = ids.at({id.entity, 0, false}).begin()->first;
    if (id.attribute > 0) {
      texts.push_back(fmt::format("attribute {} of entity {} is {}", id.attribute, entity, both));
    } else if (id.type) {
      texts.push_back(fmt::format("the key of entity {} is {}", entity, both));
    } else {
      other_entity = id.entity;
      texts.push_back(fmt::format("entity {} is {}", id.entity, both));
    }
  }
  return texts;
}

}  // namespace sluice::projectors

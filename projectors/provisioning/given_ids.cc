#include "projectors/provisioning/given_ids.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <ranges>
#include <utility>

namespace sluice::projectors {

void GivenIds::Add(const std::string& org, uint32_t incarnation, const v1::EntitySchema& schema,
                   bool fresh) {
  auto& ids = given_[{org, incarnation}];
  const auto add = [&](const Id& id, const std::string& meaning) {
    bool& since = ids[id][meaning];
    since = since || fresh;
  };
  const uint32_t entity = schema.entity_id();
  add({entity, 0, false}, schema.name());
  for (const v1::Attribute& attribute : schema.attributes()) {
    add({entity, attribute.id(), false}, attribute.name());
    add({entity, attribute.id(), true}, v1::AttributeType_Name(attribute.type()));
  }
  for (const v1::RemovedAttribute& removed : schema.removed()) {
    add({entity, removed.id(), false}, removed.name());
  }
}

std::vector<std::string> GivenIds::GivenTwice(const std::string& org, uint32_t incarnation) const {
  std::vector<std::string> texts;
  const auto found = given_.find({org, incarnation});
  if (found == given_.end()) {
    return texts;
  }
  uint32_t other_entity = 0;  // whose attributes are those of two
  for (const auto& [id, meanings] : found->second) {
    if (meanings.size() < 2 || id.entity == other_entity ||
        std::ranges::none_of(meanings, [](const auto& meaning) { return meaning.second; })) {
      continue;
    }
    const std::string both = fmt::format("{}", fmt::join(meanings | std::views::keys, " and "));
    if (id.attribute == 0) {
      other_entity = id.entity;
      texts.push_back(fmt::format("entity {} is {}", id.entity, both));
    } else {
      texts.push_back(fmt::format("attribute {} of entity {} is {}", id.attribute,
                                  found->second.at({id.entity, 0, false}).begin()->first, both));
    }
  }
  return texts;
}

}  // namespace sluice::projectors

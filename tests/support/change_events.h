#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "eventlog/event.h"
#include "schemas/sluice/v1/events.pb.h"

// Events of `changes` for tests, and row bytes written by hand (so not by the codec under test).
namespace sluice::testing {

// An event of `org` with the payload's message name as type. Its id is "e<offset>".
[[nodiscard]] eventlog::StoredEvent MakeEvent(int64_t offset,
                                              const google::protobuf::Message& payload,
                                              std::string_view org = "acme");

// Row bytes field by field, ascending ids.
class RowWriter {
 public:
  RowWriter& Text(uint32_t id, std::string_view value);  // string, uuid, decimal, bytes
  RowWriter& Varint(uint32_t id, uint64_t value);        // int32, int64, bool, date, time
  RowWriter& Fixed64(uint32_t id, uint64_t value);       // datetime
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

struct TestAttribute {
  uint32_t id;
  std::string name;
  v1::AttributeType type = v1::ATTRIBUTE_TYPE_STRING;
  std::string references = {};  // an entity
};
// The first attribute is the key. Ownership by attribute id, 0 for none.
[[nodiscard]] v1::EntityDefined DefineEntity(uint32_t entity_id, std::string_view name,
                                             const std::vector<TestAttribute>& attributes,
                                             uint32_t owner_user = 0, uint32_t owner_team = 0,
                                             uint32_t owner_business_unit = 0);

using EntityRuleKinds = std::pair<std::string, std::vector<v1::RuleKind>>;
[[nodiscard]] v1::ProfileDefined DefineProfile(std::string_view name,
                                               const std::vector<EntityRuleKinds>& entities,
                                               const std::vector<std::string>& roles);
[[nodiscard]] v1::Rule KindRule(v1::RuleKind kind);
[[nodiscard]] v1::Rule FilterRule(std::string_view where);
[[nodiscard]] v1::Rule RelatedRule(std::string_view through);  // "entity.attribute"
// Gives a profile one more entity, with these rules.
void AddRules(std::string_view entity, const std::vector<v1::Rule>& rules,
              v1::ProfileDefined* defined);
[[nodiscard]] v1::RoleDefined DefineRole(std::string_view name, bool offline,
                                         const std::vector<std::string>& reads);
[[nodiscard]] v1::OrgOpened OpenOrg(uint32_t incarnation);

[[nodiscard]] v1::Operation Upsert(uint32_t entity_id, std::string_view key, std::string_view row,
                                   std::optional<int64_t> version = std::nullopt);
[[nodiscard]] v1::Operation Patch(uint32_t entity_id, std::string_view key, std::string_view row,
                                  std::vector<uint32_t> cleared = {},
                                  std::optional<int64_t> version = std::nullopt);
[[nodiscard]] v1::Operation Delete(uint32_t entity_id, std::string_view key,
                                   std::optional<int64_t> version = std::nullopt);
[[nodiscard]] v1::ChangeSet MakeSet(const std::vector<v1::Operation>& ops, std::string_view id = "",
                                    std::string_view source = "test");

}  // namespace sluice::testing

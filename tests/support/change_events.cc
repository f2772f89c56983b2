#include "tests/support/change_events.h"

#include <algorithm>

#include "schemas/base/byte_codec.h"

namespace sluice::testing {
namespace {

v1::Operation MakeOp(v1::Operation::Kind kind, uint32_t entity_id, std::string_view key,
                     std::optional<int64_t> version) {
  v1::Operation op;
  op.set_kind(kind);
  op.set_entity_id(entity_id);
  op.set_key(std::string(key));
  if (version.has_value()) {
    op.set_version(*version);
  }
  return op;
}

}  // namespace

eventlog::StoredEvent MakeEvent(int64_t offset, const google::protobuf::Message& payload,
                                std::string_view org) {
  eventlog::StoredEvent stored;
  stored.offset = Offset(offset);
  stored.event.id = "e" + std::to_string(offset);
  stored.event.source = "test";
  stored.event.type = payload.GetDescriptor()->full_name();
  stored.event.subject = std::string(org);
  stored.event.key = std::string(org);
  stored.event.value = payload.SerializeAsString();
  return stored;
}

RowWriter& RowWriter::Text(uint32_t id, std::string_view value) {
  PutVarint(uint64_t{id} << 3 | 2, &bytes_);
  PutVarint(value.size(), &bytes_);
  bytes_.append(value);
  return *this;
}

RowWriter& RowWriter::Varint(uint32_t id, uint64_t value) {
  PutVarint(uint64_t{id} << 3, &bytes_);
  PutVarint(value, &bytes_);
  return *this;
}

RowWriter& RowWriter::Fixed64(uint32_t id, uint64_t value) {
  PutVarint(uint64_t{id} << 3 | 1, &bytes_);
  for (int shift = 0; shift < 64; shift += 8) {
    bytes_.push_back(static_cast<char>(value >> shift));
  }
  return *this;
}

v1::EntityDefined DefineEntity(uint32_t entity_id, std::string_view name,
                               const std::vector<TestAttribute>& attributes, uint32_t owner_user,
                               uint32_t owner_team, uint32_t owner_business_unit) {
  v1::EntityDefined defined;
  v1::EntitySchema& schema = *defined.mutable_schema();
  schema.set_entity_id(entity_id);
  schema.set_name(std::string(name));
  schema.set_primary_key(attributes.front().id);
  uint32_t next = 1;
  for (const TestAttribute& attribute : attributes) {
    v1::Attribute& added = *schema.add_attributes();
    added.set_id(attribute.id);
    added.set_name(attribute.name);
    added.set_type(attribute.type);
    added.set_references(attribute.references);
    next = std::max(next, attribute.id + 1);
  }
  schema.mutable_ownership()->set_user(owner_user);
  schema.mutable_ownership()->set_team(owner_team);
  schema.mutable_ownership()->set_business_unit(owner_business_unit);
  schema.set_next_attribute_id(next);
  return defined;
}

v1::ProfileDefined DefineProfile(std::string_view name,
                                 const std::vector<EntityRuleKinds>& entities,
                                 const std::vector<std::string>& roles) {
  v1::ProfileDefined defined;
  v1::Profile& profile = *defined.mutable_profile();
  profile.set_name(std::string(name));
  for (const auto& [entity, kinds] : entities) {
    v1::EntityRules& rules = *profile.add_entities();
    rules.set_entity(entity);
    for (const v1::RuleKind kind : kinds) {
      rules.add_rules()->set_kind(kind);
    }
  }
  for (const std::string& role : roles) {
    profile.add_roles(role);
  }
  return defined;
}

v1::Rule KindRule(v1::RuleKind kind) {
  v1::Rule rule;
  rule.set_kind(kind);
  return rule;
}

v1::Rule FilterRule(std::string_view where) {
  v1::Rule rule = KindRule(v1::RULE_KIND_FILTER);
  rule.set_where(std::string(where));
  return rule;
}

v1::Rule RelatedRule(std::string_view through) {
  v1::Rule rule = KindRule(v1::RULE_KIND_RELATED);
  rule.set_through(std::string(through));
  return rule;
}

void AddRules(std::string_view entity, const std::vector<v1::Rule>& rules,
              v1::ProfileDefined* defined) {
  v1::EntityRules& added = *defined->mutable_profile()->add_entities();
  added.set_entity(std::string(entity));
  added.mutable_rules()->Add(rules.begin(), rules.end());
}

v1::RoleDefined DefineRole(std::string_view name, bool offline,
                           const std::vector<std::string>& reads) {
  v1::RoleDefined defined;
  v1::Role& role = *defined.mutable_role();
  role.set_name(std::string(name));
  role.set_offline(offline);
  for (const std::string& entity : reads) {
    v1::EntityGrant& grant = *role.add_entities();
    grant.set_entity(entity);
    grant.set_read(true);
  }
  return defined;
}

v1::OrgOpened OpenOrg(uint32_t incarnation) {
  v1::OrgOpened opened;
  opened.set_incarnation(incarnation);
  opened.set_display_name("Acme");
  return opened;
}

v1::Operation Upsert(uint32_t entity_id, std::string_view key, std::string_view row,
                     std::optional<int64_t> version) {
  v1::Operation op = MakeOp(v1::Operation::KIND_UPSERT, entity_id, key, version);
  op.set_row(std::string(row));
  return op;
}

v1::Operation Patch(uint32_t entity_id, std::string_view key, std::string_view row,
                    std::vector<uint32_t> cleared, std::optional<int64_t> version) {
  v1::Operation op = MakeOp(v1::Operation::KIND_PATCH, entity_id, key, version);
  op.set_row(std::string(row));
  op.mutable_cleared()->Add(cleared.begin(), cleared.end());
  return op;
}

v1::Operation Delete(uint32_t entity_id, std::string_view key, std::optional<int64_t> version) {
  return MakeOp(v1::Operation::KIND_DELETE, entity_id, key, version);
}

v1::ChangeSet MakeSet(const std::vector<v1::Operation>& ops, std::string_view id,
                      std::string_view source) {
  v1::ChangeSet set;
  set.set_id(std::string(id));
  set.set_source(std::string(source));
  for (const v1::Operation& op : ops) {
    *set.add_ops() = op;
  }
  return set;
}

}  // namespace sluice::testing

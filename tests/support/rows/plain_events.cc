#include <fmt/format.h>

#include "tests/support/rows/plain_model.h"

// Events as the log has them, and as a failing test tells them.
namespace sluice::testing {
namespace {

v1::EntityDefined Message(const PlainEntity& entity) {
  v1::EntityDefined defined;
  v1::EntitySchema& schema = *defined.mutable_schema();
  schema.set_entity_id(entity.id);
  schema.set_name(entity.name);
  schema.set_primary_key(entity.attributes.front().id);
  schema.set_next_attribute_id(entity.next_attribute_id);
  for (const PlainAttribute& attribute : entity.attributes) {
    v1::Attribute& added = *schema.add_attributes();
    added.set_id(attribute.id);
    added.set_name(attribute.name);
    added.set_type(ProtoType(attribute.type));
    added.set_references(attribute.references);
  }
  for (const PlainAttribute& attribute : entity.removed) {
    v1::RemovedAttribute& added = *schema.add_removed();
    added.set_id(attribute.id);
    added.set_name(attribute.name);
  }
  for (const auto& [kind, name] : entity.ownership) {
    const uint32_t id = entity.Find(name)->id;
    v1::Ownership& ownership = *schema.mutable_ownership();
    if (kind == v1::RULE_KIND_USER) {
      ownership.set_user(id);
    } else if (kind == v1::RULE_KIND_TEAM) {
      ownership.set_team(id);
    } else {
      ownership.set_business_unit(id);
    }
  }
  return defined;
}

v1::ProfileDefined Message(const PlainProfile& profile) {
  v1::ProfileDefined defined;
  defined.mutable_profile()->set_name(profile.name);
  for (const auto& [entity, rules] : profile.entities) {
    v1::EntityRules& of_entity = *defined.mutable_profile()->add_entities();
    of_entity.set_entity(entity);
    for (const PlainRule& rule : rules) {
      v1::Rule& added = *of_entity.add_rules();
      added.set_kind(rule.kind);
      if (rule.kind == v1::RULE_KIND_RELATED) {
        added.set_through(rule.entity + "." + rule.attribute);
      } else if (rule.kind == v1::RULE_KIND_FILTER) {
        added.set_where(FilterText(*rule.filter));
      }
    }
  }
  for (const std::string& role : profile.roles) {
    defined.mutable_profile()->add_roles(role);
  }
  return defined;
}

v1::RoleDefined Message(const PlainRole& role) {
  v1::RoleDefined defined;
  defined.mutable_role()->set_name(role.name);
  defined.mutable_role()->set_offline(role.offline);
  for (const auto& [entity, grant] : role.entities) {
    v1::EntityGrant& added = *defined.mutable_role()->add_entities();
    added.set_entity(entity);
    added.set_read(grant.read);
    added.mutable_deny_columns()->Add(grant.denied.begin(), grant.denied.end());
  }
  return defined;
}

v1::ChangeSet Message(const PlainSet& set) {
  v1::ChangeSet message;
  message.set_id(set.id);
  message.set_source(set.source);
  for (const PlainOp& op : set.ops) {
    RowWriter row;
    for (const auto& [id, value] : op.row) {
      AppendField(id, value, &row);
    }
    switch (op.kind) {
      case v1::Operation::KIND_UPSERT:
        *message.add_ops() = Upsert(op.entity, op.key, row.bytes(), op.version);
        break;
      case v1::Operation::KIND_PATCH:
        *message.add_ops() = Patch(op.entity, op.key, row.bytes(), op.cleared, op.version);
        break;
      default:
        *message.add_ops() = Delete(op.entity, op.key, op.version);
    }
  }
  return message;
}

std::string DescribeOp(const PlainOp& op) {
  std::string text = fmt::format("{} e{}/{}", v1::Operation::Kind_Name(op.kind), op.entity, op.key);
  for (const auto& [id, value] : op.row) {
    text += fmt::format(" a{}={}", id, TextOf(value));
  }
  for (const uint32_t id : op.cleared) {
    text += fmt::format(" a{}=null", id);
  }
  return op.version.has_value() ? fmt::format("{} version {}", text, *op.version) : text;
}

}  // namespace

eventlog::StoredEvent ToStored(const PlainEvent& event, const std::string& org) {
  return std::visit(
      [&](const auto& what) {
        using What = std::decay_t<decltype(what)>;
        if constexpr (std::is_same_v<What, PlainEvent::Opened>) {
          return MakeEvent(event.offset, OpenOrg(1), org);
        } else if constexpr (!std::is_same_v<What, PlainEvent::Deleted>) {
          return MakeEvent(event.offset, Message(what), org);
        } else if (what.what == PlainEvent::Deleted::What::kEntity) {
          v1::EntityDeleted deleted;
          deleted.set_entity_id(what.id);
          deleted.set_name(what.name);
          return MakeEvent(event.offset, deleted, org);
        } else if (what.what == PlainEvent::Deleted::What::kProfile) {
          v1::ProfileDeleted deleted;
          deleted.set_name(what.name);
          return MakeEvent(event.offset, deleted, org);
        } else {
          v1::RoleDeleted deleted;
          deleted.set_name(what.name);
          return MakeEvent(event.offset, deleted, org);
        }
      },
      event.what);
}

std::string Describe(const PlainEvent& event) {
  std::string text = fmt::format("{}: ", event.offset);
  if (const auto* set = std::get_if<PlainSet>(&event.what)) {
    text += fmt::format("set {}/{}", set->source, set->id);
    for (const PlainOp& op : set->ops) {
      text += "\n      " + DescribeOp(op);
    }
  } else if (const auto* deleted = std::get_if<PlainEvent::Deleted>(&event.what)) {
    text += fmt::format("{} deleted (kind {})", deleted->name, static_cast<int>(deleted->what));
  } else if (const auto* entity = std::get_if<PlainEntity>(&event.what)) {
    text += Message(*entity).ShortDebugString();
  } else if (const auto* profile = std::get_if<PlainProfile>(&event.what)) {
    text += Message(*profile).ShortDebugString();
  } else if (const auto* role = std::get_if<PlainRole>(&event.what)) {
    text += Message(*role).ShortDebugString();
  } else {
    text += "opened";
  }
  return text;
}

}  // namespace sluice::testing

#include "gateways/debezium/table_mapper.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "schemas/attribute_type.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/entity_definition.h"
#include "schemas/field_value.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

using schemas::Attribute;
using schemas::EntitySchema;
using Columns = std::vector<std::pair<std::string, v1::AttributeType>>;

absl::Status MissingKey(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "missing_key", why);
}

void AddAttribute(std::string name, v1::AttributeType type,
                  v1::ProvisioningRequest::PutEntity* entity) {
  v1::Attribute* const attribute = entity->add_attributes();
  attribute->set_name(std::move(name));
  attribute->set_type(type);
}

void AppendEscaped(std::string_view part, std::string* key) {
  for (const char c : part) {
    if (c == '~' || c == ',') {
      key->append(c == '~' ? "~0" : "~1");
    } else {
      key->push_back(c);
    }
  }
}

// What the entity is so far: its attributes as they are.
v1::ProvisioningRequest::PutEntity DefinitionOf(const EntitySchema& current) {
  v1::ProvisioningRequest::PutEntity entity;
  entity.set_primary_key(current.key().name);
  for (const Attribute& attribute : current.attributes()) {
    AddAttribute(attribute.name, attribute.type, &entity);
    entity.mutable_attributes()->rbegin()->set_references(attribute.references);
  }
  const auto name_of = [&](uint32_t id) {
    const Attribute* const attribute = current.Find(schemas::AttributeId(id));
    return attribute == nullptr ? std::string() : attribute->name;
  };
  const v1::Ownership& ownership = current.proto().ownership();
  entity.set_owner_user(name_of(ownership.user()));
  entity.set_owner_team(name_of(ownership.team()));
  entity.set_owner_business_unit(name_of(ownership.business_unit()));
  return entity;
}

}  // namespace

TableMapper::TableMapper(v1::SourceEntity settings, std::string owner)
    : settings_(std::move(settings)),
      owner_(std::move(owner)),
      key_columns_(settings_.key().begin(), settings_.key().end()) {}

absl::Status TableMapper::LearnKey(const TableChange& change) {
  if (change.key.key.empty() || (change.key.columns == nullptr && key_is_told_)) {
    return absl::OkStatus();  // without schemas by the first, or each would have to be parsed
  }
  std::vector<std::string> columns;
  if (change.key.columns != nullptr) {
    const auto& told = change.key.columns->columns();
    if (told.size() == key_columns_.size() &&
        std::ranges::equal(told, key_columns_, {}, &ConnectColumn::name)) {
      return absl::OkStatus();
    }
    std::ranges::transform(told, std::back_inserter(columns), &ConnectColumn::name);
  } else {
    ASSIGN_OR_RETURN(const Columns told, decoder_.Suggest(change.key.key));
    std::ranges::transform(told, std::back_inserter(columns), &Columns::value_type::first);
  }
  key_columns_ = std::move(columns);
  key_is_told_ = true;
  return absl::OkStatus();
}

absl::StatusOr<TableDefinition> TableMapper::Define(const EntitySchema* current,
                                                    const TableChange& change) {
  RETURN_IF_ERROR(LearnKey(change));
  Columns columns;
  if (change.event.columns != nullptr) {
    for (const ConnectColumn& column : change.event.columns->columns()) {
      columns.emplace_back(column.name, AttributeTypeOf(column.form));
    }
  } else if (!change.event.after.empty()) {
    ASSIGN_OR_RETURN(columns, decoder_.Suggest(change.event.after));
  }

  TableDefinition definition;
  v1::ProvisioningRequest::PutEntity& entity = definition.entity;
  std::unordered_set<std::string> names;
  if (current != nullptr) {
    entity = DefinitionOf(*current);
  }
  entity.set_name(settings_.name());
  entity.set_source(owner_);
  for (const v1::Attribute& attribute : entity.attributes()) {
    names.insert(attribute.name());
  }
  for (const v1::Attribute& attribute : settings_.attributes()) {
    if (names.insert(attribute.name()).second) {
      *entity.add_attributes() = attribute;
    }
  }
  for (auto& [name, type] : columns) {
    if (!schemas::IsValidName(name)) {
      definition.refused.push_back(
          {name, "invalid_name", "it is no name of an attribute: letters, digits and _"});
    } else if (!names.contains(name)) {
      // Room for the key's own attribute is kept.
      if (entity.attributes_size() >= schemas::kAttributesMax - 1) {
        definition.refused.push_back({name, "too_many_attributes", "an entity has 1,000"});
      } else {
        names.insert(name);
        AddAttribute(name, type, &entity);
      }
    }
  }

  std::string key = settings_.primary_key();
  if (key.empty() && key_is_composed()) {
    const auto is_column = [&](const std::string& name) {
      return std::ranges::find(columns, name, &Columns::value_type::first) != columns.end();
    };
    for (key = "_key"; is_column(key); key.push_back('_')) {
    }
    if (current != nullptr && current->key().name.starts_with("_key")) {
      key = current->key().name;  // as it was named when it was defined
    }
    if (names.insert(key).second) {
      AddAttribute(key, v1::ATTRIBUTE_TYPE_STRING, &entity);
    }
  } else if (key.empty()) {
    if (key_columns_.empty() && current == nullptr) {
      return Error(absl::StatusCode::kFailedPrecondition, "no_key",
                   fmt::format("the messages of {} have no key: name the key's columns",
                               QuoteForError(settings_.topic())));
    }
    key = key_columns_.empty() ? current->key().name : key_columns_[0];
  }
  if (current != nullptr && current->key().name != key) {
    return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema",
                 fmt::format("the key of {} is {}, and its table's is {} now: delete the entity to "
                             "have it defined anew",
                             settings_.name(), current->key().name, QuoteForError(key)));
  }
  entity.set_primary_key(key);
  return definition;
}

absl::StatusOr<std::string> TableMapper::ComposedKey(const EntitySchema& entity,
                                                     std::string_view bytes) const {
  std::string key;
  for (size_t i = 0; i < key_columns_.size(); ++i) {
    const Attribute* const attribute = entity.Find(key_columns_[i]);
    if (attribute == nullptr) {
      return std::string();
    }
    ASSIGN_OR_RETURN(const std::optional<std::string> text,
                     schemas::AttributeText(*attribute, bytes));
    if (!text.has_value()) {
      return std::string();
    }
    key.append(i == 0 ? "" : ",");
    AppendEscaped(*text, &key);
  }
  RETURN_IF_ERROR_CTX(schemas::ValidateKey(key), entity.name());
  return key;
}

absl::StatusOr<std::string> TableMapper::KeyOf(const EntitySchema& entity,
                                               const ConnectSchema* columns,
                                               std::string_view json) {
  ASSIGN_OR_RETURN(const DecodedRow row, decoder_.Decode(entity, columns, json));
  return key_is_composed() ? ComposedKey(entity, row.bytes) : row.key;
}

absl::StatusOr<DecodedRow> TableMapper::Row(const EntitySchema& entity, const TableChange& change,
                                            std::string_view json) {
  if (json.size() > kTableRowBytesMax) {
    return Error(absl::StatusCode::kInvalidArgument, "too_large",
                 fmt::format("a row of {} has {} bytes, more than {}", entity.name(), json.size(),
                             kTableRowBytesMax));
  }
  RETURN_IF_ERROR(LearnKey(change));
  ASSIGN_OR_RETURN(DecodedRow row, decoder_.Decode(entity, change.event.columns.get(), json));
  std::erase_if(row.unknown, [](const std::string& name) { return !schemas::IsValidName(name); });
  if (!key_is_composed()) {
    return row.key.empty() ? MissingKey(fmt::format("{} is null or missing", entity.key().name))
                           : absl::StatusOr<DecodedRow>(std::move(row));
  }
  ASSIGN_OR_RETURN(row.key, ComposedKey(entity, row.bytes));
  if (row.key.empty()) {
    // Without the attributes nothing can be said yet; with them a part is null.
    return row.unknown.empty() ? MissingKey("a column of the key is null or missing")
                               : absl::StatusOr<DecodedRow>(std::move(row));
  }
  std::string field;
  RETURN_IF_ERROR(schemas::AppendField(entity.key(), row.key, &field));
  ASSIGN_OR_RETURN(row.bytes, schemas::PatchRow(row.bytes, field, {}));
  return row;
}

absl::StatusOr<std::string> TableMapper::DeletedKey(const EntitySchema& entity,
                                                    const TableChange& change) {
  RETURN_IF_ERROR(LearnKey(change));
  std::string key;
  if (!change.key.key.empty()) {
    ASSIGN_OR_RETURN(key, KeyOf(entity, change.key.columns.get(), change.key.key));
  } else if (!change.event.before.empty()) {
    ASSIGN_OR_RETURN(key, KeyOf(entity, change.event.columns.get(), change.event.before));
  }
  return key.empty() ? MissingKey("the deleted row's key is not in the message")
                     : absl::StatusOr<std::string>(std::move(key));
}

absl::StatusOr<std::string> TableMapper::OldKey(const EntitySchema& entity,
                                                const TableChange& change) {
  return KeyOf(entity, change.key.columns.get(), change.old_key);
}

}  // namespace sluice::gateways

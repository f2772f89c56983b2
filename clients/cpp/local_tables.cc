// The entities' tables of LocalDatabase: made and extended as the server's schema says.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "clients/cpp/base64.h"
#include "clients/cpp/local_database.h"
#include "schemas/status.h"

namespace sluice::client {
namespace {

// How a type of API section 1 is kept: decimals and dates as text, since SQLite has no exact type
// for them.
std::string_view SqlType(std::string_view type) {
  if (type == "int32" || type == "int64" || type == "bool") {
    return "INTEGER";
  }
  if (type == "double") {
    return "REAL";
  }
  if (type == "bytes") {
    return "BLOB";
  }
  return "TEXT";
}

void BindText(Statement& statement, int at, std::string_view type, std::string_view text) {
  if (type == "int64") {
    int64_t number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error == std::errc() && end == text.data() + text.size()) {
      statement.BindInt(at, number);
      return;
    }
  } else if (type == "bytes") {
    if (const auto bytes = DecodeBase64(text); bytes.has_value()) {
      statement.BindBlob(at, *bytes);
      return;
    }
  }
  statement.BindText(at, text);
}

}  // namespace

std::string LocalDatabase::TableName(std::string_view entity) const {
  // Before the first complete checkpoint nobody may see the rows.
  return position_ < 0 ? Quoted(fmt::format("_sluice_load_{}", entity)) : Quoted(entity);
}

absl::StatusOr<LocalDatabase::Table*> LocalDatabase::FindTable(std::string_view entity) {
  if (const auto it = tables_.find(entity); it != tables_.end()) {
    return &it->second;
  }
  RETURN_IF_ERROR(RefreshSchema());
  if (const auto it = tables_.find(entity); it != tables_.end()) {
    return &it->second;
  }
  return Error(
      absl::StatusCode::kUnavailable, "schema_changed",
      fmt::format("a row of entity \"{}\" came, but the server no longer shows that entity",
                  entity));
}

absl::Status LocalDatabase::RefreshSchema() {
  ASSIGN_OR_RETURN(const std::vector<ClientEntity> entities, schema_());
  for (const ClientEntity& entity : entities) {
    if (const auto it = tables_.find(entity.name); it != tables_.end()) {
      RETURN_IF_ERROR(ExtendTable(it->second, entity));
    } else {
      RETURN_IF_ERROR(AddTable(entity));
    }
  }
  return absl::OkStatus();
}

absl::Status LocalDatabase::AddTable(const ClientEntity& entity) {
  std::string columns;
  for (const auto& column : entity.columns) {
    columns += fmt::format("{}{} {}{}", columns.empty() ? "" : ", ", Quoted(column.name),
                           SqlType(column.type),
                           column.name == entity.primary_key ? " PRIMARY KEY NOT NULL" : "");
  }
  RETURN_IF_ERROR(Execute(db_.get(), fmt::format("CREATE TABLE IF NOT EXISTS {}({})",
                                                 TableName(entity.name), columns)));
  ASSIGN_OR_RETURN(
      Statement insert,
      Statement::Prepare(db_.get(), "INSERT OR IGNORE INTO _sluice_entity(name) VALUES(?)"));
  insert.BindText(1, entity.name);
  RETURN_IF_ERROR(insert.Run());
  ASSIGN_OR_RETURN(Statement find,
                   Statement::Prepare(db_.get(), "SELECT id FROM _sluice_entity WHERE name=?"));
  find.BindText(1, entity.name);
  ASSIGN_OR_RETURN(const bool found, find.Step());
  Table& table = tables_[entity.name];
  table.id = found ? find.Int(0) : 0;
  find.Reset();
  return ExtendTable(table, entity);
}

absl::Status LocalDatabase::ExtendTable(Table& table, const ClientEntity& entity) {
  table.put.reset();
  table.remove.reset();
  // What the file has already, from an earlier run or another schema.
  std::vector<std::string> present;
  ASSIGN_OR_RETURN(
      Statement info,
      Statement::Prepare(db_.get(),
                         fmt::format("SELECT name FROM pragma_table_info('{}')",
                                     position_ < 0 ? "_sluice_load_" + entity.name : entity.name)));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, info.Step());
    if (!more) {
      break;
    }
    present.emplace_back(info.Text(0));
  }
  info.Reset();
  const std::string name = TableName(entity.name);
  std::string columns;
  std::string parameters;
  table.column_of.clear();
  for (const auto& column : entity.columns) {
    if (std::find(present.begin(), present.end(), column.name) == present.end()) {
      RETURN_IF_ERROR(Execute(db_.get(), fmt::format("ALTER TABLE {} ADD COLUMN {} {}", name,
                                                     Quoted(column.name), SqlType(column.type))));
    }
    table.column_of.emplace(column.name, static_cast<int>(table.column_of.size()) + 1);
    columns += (columns.empty() ? "" : ",") + Quoted(column.name);
    parameters += parameters.empty() ? "?" : ",?";
  }
  table.entity = entity;
  ASSIGN_OR_RETURN(table.put, Statement::Prepare(
                                  db_.get(), fmt::format("INSERT OR REPLACE INTO {}({}) VALUES({})",
                                                         name, columns, parameters)));
  ASSIGN_OR_RETURN(table.remove,
                   Statement::Prepare(db_.get(), fmt::format("DELETE FROM {} WHERE {}=?", name,
                                                             Quoted(entity.primary_key))));
  return absl::OkStatus();
}

absl::Status LocalDatabase::BindRow(Table& table, const std::vector<RowValue>& row,
                                    bool* unknown_column) {
  *unknown_column = false;
  std::string name;
  for (const RowValue& value : row) {
    name.assign(value.name);
    const auto it = table.column_of.find(name);
    if (it == table.column_of.end()) {
      *unknown_column = true;
      continue;
    }
    switch (value.kind) {
      case RowValue::Kind::kText:
        BindText(*table.put, it->second,
                 table.entity.columns[static_cast<size_t>(it->second) - 1].type, value.text);
        break;
      case RowValue::Kind::kInteger:
      case RowValue::Kind::kBool:
        table.put->BindInt(it->second, value.integer);
        break;
      case RowValue::Kind::kDouble:
        table.put->BindDouble(it->second, value.real);
        break;
    }
  }
  return absl::OkStatus();
}

}  // namespace sluice::client

// The entities' tables of LocalDatabase: made and changed as the server's schema says.
#include <fmt/format.h>

#include <algorithm>

#include "clients/cpp/local_database.h"
#include "schemas/status.h"

namespace sluice::client {

// Before the first complete checkpoint nobody may see the rows.
std::string LocalDatabase::FileTable(std::string_view entity) const {
  return position_ < 0 ? fmt::format("_sluice_load_{}", entity) : std::string(entity);
}

absl::Status LocalDatabase::LoadTables() {
  tables_.clear();
  last_put_ = nullptr;
  ASSIGN_OR_RETURN(
      Statement entities,
      Statement::Prepare(db_.get(), "SELECT id, name, primary_key FROM _sluice_entity"));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, entities.Step());
    if (!more) {
      break;
    }
    tables_.emplace(entities.Text(1), LocalTable(entities.Int(0), std::string(entities.Text(2))));
  }
  for (auto& [name, table] : tables_) {
    ASSIGN_OR_RETURN(std::vector<LocalTable::Column> columns, FileColumns(name));
    ASSIGN_OR_RETURN(const std::set<std::string> hidden, HiddenColumns(table.id()));
    std::erase_if(columns, [&hidden](const auto& column) { return hidden.contains(column.name); });
    table.SetColumns(std::move(columns));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LocalTable::Column>> LocalDatabase::FileColumns(
    const std::string& entity) const {
  ASSIGN_OR_RETURN(Statement info,
                   Statement::Prepare(db_.get(), "SELECT name, type FROM pragma_table_info(?)"));
  const std::string file_table = FileTable(entity);
  info.BindText(1, file_table);
  std::vector<LocalTable::Column> columns;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, info.Step());
    if (!more) {
      return columns;
    }
    columns.push_back({std::string(info.Text(0)), std::string(info.Text(1))});
  }
}

// Columns of attributes that the server no longer shows. All of their values are NULL, and this is
// remembered, so that nobody has to look through the table again.
absl::StatusOr<std::set<std::string>> LocalDatabase::HiddenColumns(int64_t entity) const {
  ASSIGN_OR_RETURN(Statement select,
                   Statement::Prepare(db_.get(), "SELECT name FROM _sluice_hidden WHERE entity=?"));
  select.BindInt(1, entity);
  std::set<std::string> names;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, select.Step());
    if (!more) {
      return names;
    }
    names.emplace(select.Text(0));
  }
}

absl::Status LocalDatabase::SetHidden(int64_t entity, const std::string& column, bool hidden) {
  ASSIGN_OR_RETURN(Statement change,
                   Statement::Prepare(
                       db_.get(), hidden ? "INSERT OR IGNORE INTO _sluice_hidden VALUES(?,?)"
                                         : "DELETE FROM _sluice_hidden WHERE entity=? AND name=?"));
  change.BindInt(1, entity);
  change.BindText(2, column);
  return change.Run();
}

void LocalDatabase::ForgetSchema() {
  schema_seen_ = false;
  last_put_ = nullptr;
}

absl::Status LocalDatabase::RefreshSchema() {
  ASSIGN_OR_RETURN(const std::vector<ClientEntity> entities, schema_());
  RETURN_IF_ERROR(CheckNames(entities));
  RETURN_IF_ERROR(WriteBuffered());  // it knows the columns as they are
  last_put_ = nullptr;
  std::set<std::string> current;
  for (const ClientEntity& entity : entities) {
    current.insert(entity.name);
  }
  for (const ClientEntity& entity : entities) {
    RETURN_IF_ERROR(ApplyEntity(entity, current));
  }
  schema_seen_ = true;
  return absl::OkStatus();
}

absl::Status LocalDatabase::ApplyEntity(const ClientEntity& entity,
                                        const std::set<std::string>& current) {
  const auto it = tables_.find(entity.name);
  if (it == tables_.end()) {
    RETURN_IF_ERROR(MakeRoom(entity.name, current));
    return CreateTable(entity);
  }
  LocalTable& table = it->second;
  const auto key_type = [&](const auto& columns, auto type) {
    const auto at = std::find_if(columns.begin(), columns.end(), [&](const auto& column) {
      return column.name == entity.primary_key;
    });
    return at == columns.end() ? std::string() : std::string(type(*at));
  };
  const std::string wanted =
      key_type(entity.columns, [](const ClientEntity::Column& c) { return SqlType(c.type); });
  const std::string present =
      key_type(table.columns(), [](const LocalTable::Column& c) { return c.sql_type; });
  if (table.primary_key() == entity.primary_key && wanted == present) {
    return FitColumns(table, entity);
  }
  // Deleted and made anew under the same name, with another key.
  RETURN_IF_ERROR(DropTable(entity.name));
  return CreateTable(entity);
}

absl::Status LocalDatabase::CreateTable(const ClientEntity& entity) {
  std::string definition;
  std::vector<LocalTable::Column> columns;
  for (const ClientEntity::Column& column : entity.columns) {
    definition += fmt::format("{}{} {}{}", definition.empty() ? "" : ", ", Quoted(column.name),
                              SqlType(column.type),
                              column.name == entity.primary_key ? " PRIMARY KEY NOT NULL" : "");
    columns.push_back({column.name, std::string(SqlType(column.type))});
  }
  RETURN_IF_ERROR(Execute(
      db_.get(), fmt::format("CREATE TABLE {}({})", Quoted(FileTable(entity.name)), definition)));
  ASSIGN_OR_RETURN(
      Statement insert,
      Statement::Prepare(db_.get(), "INSERT INTO _sluice_entity(name, primary_key) VALUES(?, ?)"));
  insert.BindText(1, entity.name);
  insert.BindText(2, entity.primary_key);
  RETURN_IF_ERROR(insert.Run());
  LocalTable table(sqlite3_last_insert_rowid(db_.get()), entity.primary_key);
  table.SetColumns(std::move(columns));
  tables_.insert_or_assign(entity.name, std::move(table));
  return absl::OkStatus();
}

// Makes the table's columns those of the schema. A hidden attribute's column stays, so that an
// application's queries still work, but its values go: the same name later is a new attribute.
absl::Status LocalDatabase::FitColumns(LocalTable& table, const ClientEntity& entity) {
  const std::string name = Quoted(FileTable(entity.name));
  ASSIGN_OR_RETURN(const std::vector<LocalTable::Column> present, FileColumns(entity.name));
  ASSIGN_OR_RETURN(const std::set<std::string> hidden, HiddenColumns(table.id()));
  std::set<std::string> kept;
  for (const LocalTable::Column& column : present) {
    const auto wanted = std::find_if(entity.columns.begin(), entity.columns.end(), [&](auto& c) {
      return FoldedName(c.name) == FoldedName(column.name);
    });
    if (wanted == entity.columns.end()) {
      if (!hidden.contains(column.name)) {
        RETURN_IF_ERROR(Execute(db_.get(), fmt::format("UPDATE {0} SET {1}=NULL WHERE {1} NOTNULL",
                                                       name, Quoted(column.name))));
        RETURN_IF_ERROR(SetHidden(table.id(), column.name, true));
      }
      continue;
    }
    const bool was_hidden = hidden.contains(column.name);
    if (was_hidden) {
      RETURN_IF_ERROR(SetHidden(table.id(), column.name, false));
    }
    if (wanted->name == column.name && SqlType(wanted->type) == column.sql_type) {
      kept.insert(column.name);
      if (was_hidden) {
        // It may be the same attribute, denied and allowed before the rows went.
        RETURN_IF_ERROR(MarkStale(table.id()));
      }
      continue;
    }
    table.ForgetStatements();
    RETURN_IF_ERROR(DropColumn(entity.name, column.name));
    // Rows that came since may have had values of the new attribute.
    if (wanted->name == column.name && !was_hidden) {
      RETURN_IF_ERROR(MarkStale(table.id()));
    }
  }
  std::vector<LocalTable::Column> columns;
  for (const ClientEntity::Column& column : entity.columns) {
    columns.push_back({column.name, std::string(SqlType(column.type))});
    if (!kept.contains(column.name)) {
      RETURN_IF_ERROR(Execute(db_.get(), fmt::format("ALTER TABLE {} ADD COLUMN {} {}", name,
                                                     Quoted(column.name), SqlType(column.type))));
    }
  }
  table.SetColumns(std::move(columns));
  return absl::OkStatus();
}

absl::Status LocalDatabase::DropColumn(const std::string& entity, const std::string& column) {
  const absl::Status dropped = Execute(
      db_.get(),
      fmt::format("ALTER TABLE {} DROP COLUMN {}", Quoted(FileTable(entity)), Quoted(column)));
  if (!absl::IsInternal(dropped)) {
    return dropped;
  }
  return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema",
               fmt::format("attribute {} of entity {} is another one now and needs a new "
                           "column: drop the index, view or trigger of yours that uses the old one "
                           "({})",
                           column, entity, std::string(dropped.message())));
}

absl::Status LocalDatabase::MarkStale(int64_t entity) {
  ASSIGN_OR_RETURN(
      Statement holders,
      Statement::Prepare(db_.get(),
                         "SELECT bucket FROM _sluice_bucket WHERE id IN (SELECT DISTINCT bucket "
                         "FROM _sluice_member WHERE entity=?)"));
  holders.BindInt(1, entity);
  while (true) {
    ASSIGN_OR_RETURN(const bool more, holders.Step());
    if (!more) {
      return absl::OkStatus();
    }
    stale_.emplace(holders.Text(0));
  }
}

// A new table must not meet another of its name: what is left, empty, of a deleted entity goes;
// what an application made stays, and is an error.
absl::Status LocalDatabase::MakeRoom(const std::string& name,
                                     const std::set<std::string>& current) {
  for (auto it = tables_.begin(); it != tables_.end();) {
    const std::string held = (it++)->first;
    if (!current.contains(held) && FoldedName(held) == FoldedName(name)) {
      RETURN_IF_ERROR(DropTable(held));
    }
  }
  ASSIGN_OR_RETURN(Statement find,
                   Statement::Prepare(db_.get(),
                                      "SELECT type FROM sqlite_schema WHERE name=? COLLATE NOCASE "
                                      "AND type IN ('table','view','index')"));
  find.BindText(1, name);
  ASSIGN_OR_RETURN(const bool taken, find.Step());
  if (!taken) {
    return absl::OkStatus();
  }
  return Error(absl::StatusCode::kFailedPrecondition, "name_not_representable",
               fmt::format("the file has a {} called \"{}\" already, which is no table of Sluice: "
                           "rename it, or pull into another file",
                           find.Text(0), name));
}

absl::Status LocalDatabase::DropTable(const std::string& name) {
  const auto it = tables_.find(name);
  it->second.ForgetStatements();
  const std::string table = Quoted(FileTable(name));
  {
    ASSIGN_OR_RETURN(Statement any,
                     Statement::Prepare(db_.get(), fmt::format("SELECT 1 FROM {} LIMIT 1", table)));
    ASSIGN_OR_RETURN(const bool has_rows, any.Step());
    if (has_rows) {
      // The checkpoint that takes them is still to come.
      return Error(absl::StatusCode::kUnavailable, "schema_changed",
                   fmt::format("table {} holds rows of an entity that the server has replaced: "
                               "it has to be asked anew",
                               table));
    }
  }
  RETURN_IF_ERROR(Execute(db_.get(), fmt::format("DROP TABLE {}", table)));
  RETURN_IF_ERROR(Execute(db_.get(), fmt::format("DELETE FROM _sluice_entity WHERE id={0}; "
                                                 "DELETE FROM _sluice_hidden WHERE entity={0}",
                                                 it->second.id())));
  tables_.erase(it);
  return absl::OkStatus();
}

// The end of the first load: there is a table for every entity, also for those without rows.
absl::Status LocalDatabase::ShowTables() {
  for (auto& [name, table] : tables_) {
    table.ForgetStatements();
    RETURN_IF_ERROR(Execute(db_.get(), fmt::format("ALTER TABLE {} RENAME TO {}",
                                                   Quoted(FileTable(name)), Quoted(name))));
  }
  return absl::OkStatus();
}

}  // namespace sluice::client

// The entities' tables of LocalDatabase: made and changed as the server's schema says.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

// What the entity's columns are called, by attribute: as in `kept`, else as the attribute, else
// escaped. The key first, then in the order of their names, so that every file has it alike.
std::map<std::string, std::string> ColumnNames(const ClientEntity& entity,
                                               const std::map<std::string, std::string>& kept) {
  std::map<std::string, std::string> names = kept;
  std::set<std::string> taken;
  for (const auto& [attribute, name] : kept) {
    taken.insert(FoldedName(name));
  }
  std::set<std::string_view> others;
  const auto choose = [&](const std::string& attribute) {
    if (!names.contains(attribute)) {
      const bool free = taken.insert(FoldedName(attribute)).second;
      names.emplace(attribute, free ? attribute : EscapedName(attribute));
    }
  };
  choose(entity.primary_key);
  for (const ClientEntity::Column& column : entity.columns) {
    others.insert(column.name);
  }
  for (const std::string_view attribute : others) {
    choose(std::string(attribute));
  }
  return names;
}

// SQLite reads the whole schema again for each table that is renamed. What is loaded in less time
// than that takes is copied, so that many tables cost no square of their number.
constexpr size_t kRowsCopiedMax = 20'000;
constexpr size_t kBytesCopiedMax = 16 << 20;

// "name" TYPE, ...
std::string TableDefinition(const LocalTable& table,
                            const std::vector<LocalTable::Column>& columns) {
  std::string definition;
  for (const LocalTable::Column& column : columns) {
    definition += fmt::format("{}{} {}{}", definition.empty() ? "" : ", ", Quoted(column.file_name),
                              column.sql_type,
                              column.name == table.primary_key() ? " PRIMARY KEY NOT NULL" : "");
  }
  return definition;
}

}  // namespace

// Before the first complete checkpoint nobody may see the rows.
std::string LocalDatabase::FileTable(const LocalTable& table) const {
  return position_ < 0 ? fmt::format("_sluice_load_{}", table.file_name()) : table.file_name();
}

absl::Status LocalDatabase::LoadTables() {
  tables_.clear();
  last_put_ = nullptr;
  ASSIGN_OR_RETURN(
      Statement entities,
      Statement::Prepare(db_.get(),
                         "SELECT e.id, e.name, e.primary_key, coalesce(n.name, e.name) FROM "
                         "_sluice_entity e LEFT JOIN _sluice_names n ON n.entity=e.name AND "
                         "n.attribute=''"));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, entities.Step());
    if (!more) {
      break;
    }
    tables_.emplace(entities.Text(1), LocalTable(entities.Int(0), std::string(entities.Text(2)),
                                                 std::string(entities.Text(3))));
  }
  for (auto& [name, table] : tables_) {
    ASSIGN_OR_RETURN(std::vector<LocalTable::Column> columns, FileColumns(name, table));
    ASSIGN_OR_RETURN(const std::set<std::string> hidden, HiddenColumns(table.id()));
    std::erase_if(columns,
                  [&hidden](const auto& column) { return hidden.contains(column.file_name); });
    table.SetColumns(std::move(columns));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<LocalTable::Column>> LocalDatabase::FileColumns(
    const std::string& entity, const LocalTable& table) const {
  ASSIGN_OR_RETURN(
      Statement info,
      Statement::Prepare(db_.get(),
                         "SELECT coalesce(n.attribute, t.name), t.name, t.type FROM "
                         "pragma_table_info(?1) t LEFT JOIN _sluice_names n ON n.entity=?2 AND "
                         "n.name=t.name AND n.attribute<>'' ORDER BY t.cid"));
  const std::string file_table = FileTable(table);
  info.BindText(1, file_table);
  info.BindText(2, entity);
  std::vector<LocalTable::Column> columns;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, info.Step());
    if (!more) {
      return columns;
    }
    columns.push_back(
        {std::string(info.Text(0)), std::string(info.Text(1)), std::string(info.Text(2))});
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
  if (!columns_given_) {
    schema_seen_ = false;
    last_put_ = nullptr;
  }
}

absl::Status LocalDatabase::SetEntities(const std::vector<ClientEntity>& entities) {
  if (!InTransaction()) {
    return Error(absl::StatusCode::kInternal, "internal", "columns outside of a checkpoint");
  }
  const bool before = std::exchange(unfinished_, true);
  columns_given_ = true;
  RETURN_IF_ERROR(ApplySchema(entities));
  unfinished_ = before;
  return absl::OkStatus();
}

absl::Status LocalDatabase::RefreshSchema() {
  ASSIGN_OR_RETURN(const std::vector<ClientEntity> entities, schema_());
  columns_asked_ = true;
  RETURN_IF_ERROR(Execute(db_.get(), "DELETE FROM _sluice_meta WHERE name='columns_of'"));
  return ApplySchema(entities);
}

absl::Status LocalDatabase::ApplySchema(const std::vector<ClientEntity>& entities) {
  RETURN_IF_ERROR(CheckNames(entities));
  RETURN_IF_ERROR(WriteBuffered());  // it knows the columns as they are
  last_put_ = nullptr;
  // By name, so that of two that come together and differ in case the same one keeps its name in
  // every file.
  std::map<std::string_view, const ClientEntity*> by_name;
  std::set<std::string> current;
  for (const ClientEntity& entity : entities) {
    by_name.emplace(entity.name, &entity);
    current.insert(entity.name);
  }
  for (const auto& [name, entity] : by_name) {
    RETURN_IF_ERROR(ApplyEntity(*entity, current));
  }
  schema_seen_ = true;
  return absl::OkStatus();
}

absl::Status LocalDatabase::ApplyEntity(const ClientEntity& entity,
                                        const std::set<std::string>& current) {
  const auto it = tables_.find(entity.name);
  if (it == tables_.end()) {
    return CreateTable(entity, current);
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
  return CreateTable(entity, current);
}

absl::Status LocalDatabase::CreateTable(const ClientEntity& entity,
                                        const std::set<std::string>& current) {
  const std::string file_name = TableNameFor(entity.name, current);
  RETURN_IF_ERROR(MakeRoom(file_name, current));
  const std::map<std::string, std::string> names = ColumnNames(entity, {});
  LocalTable table(0, entity.primary_key, file_name);
  std::vector<LocalTable::Column> columns;
  for (const ClientEntity::Column& column : entity.columns) {
    const std::string& name = names.at(column.name);
    columns.push_back({column.name, name, std::string(SqlType(column.type))});
    RETURN_IF_ERROR(SetName(entity.name, column.name, name));
  }
  RETURN_IF_ERROR(SetName(entity.name, "", file_name));
  RETURN_IF_ERROR(Execute(db_.get(), fmt::format("CREATE TABLE {}({})", Quoted(FileTable(table)),
                                                 TableDefinition(table, columns))));
  ASSIGN_OR_RETURN(
      Statement insert,
      Statement::Prepare(db_.get(), "INSERT INTO _sluice_entity(name, primary_key) VALUES(?, ?)"));
  insert.BindText(1, entity.name);
  insert.BindText(2, entity.primary_key);
  RETURN_IF_ERROR(insert.Run());
  table = LocalTable(sqlite3_last_insert_rowid(db_.get()), entity.primary_key, file_name);
  table.SetColumns(std::move(columns));
  tables_.insert_or_assign(entity.name, std::move(table));
  return absl::OkStatus();
}

// Makes the table's columns those of the schema.
absl::Status LocalDatabase::FitColumns(LocalTable& table, const ClientEntity& entity) {
  const std::string file_table = Quoted(FileTable(table));
  ASSIGN_OR_RETURN(const std::vector<LocalTable::Column> present, FileColumns(entity.name, table));
  // By attribute.
  ASSIGN_OR_RETURN(const auto kept, KeepColumns(table, entity, present));
  const std::map<std::string, std::string> names = ColumnNames(entity, kept);
  ASSIGN_OR_RETURN(const std::set<std::string> hidden, HiddenColumns(table.id()));
  std::vector<LocalTable::Column> columns;
  for (const ClientEntity::Column& column : entity.columns) {
    const std::string& name = names.at(column.name);
    columns.push_back({column.name, name, std::string(SqlType(column.type))});
    if (kept.contains(column.name)) {
      continue;
    }
    for (const LocalTable::Column& other : present) {
      if (hidden.contains(other.file_name) && FoldedName(other.file_name) == FoldedName(name)) {
        RETURN_IF_ERROR(SetHidden(table.id(), other.file_name, false));
        RETURN_IF_ERROR(SetName(entity.name, other.name, other.name));
        table.ForgetStatements();
        RETURN_IF_ERROR(DropColumn(entity.name, table, other.file_name));
      }
    }
    RETURN_IF_ERROR(SetName(entity.name, column.name, name));
    RETURN_IF_ERROR(Execute(db_.get(), fmt::format("ALTER TABLE {} ADD COLUMN {} {}", file_table,
                                                   Quoted(name), SqlType(column.type))));
  }
  table.SetColumns(std::move(columns));
  return absl::OkStatus();
}

// The columns that stay for their attributes, by attribute. A hidden attribute's column stays too,
// so that an application's queries still work, but its values go: the same name later is a new
// attribute.
absl::StatusOr<std::map<std::string, std::string>> LocalDatabase::KeepColumns(
    LocalTable& table, const ClientEntity& entity, const std::vector<LocalTable::Column>& present) {
  ASSIGN_OR_RETURN(const std::set<std::string> hidden, HiddenColumns(table.id()));
  std::map<std::string, std::string> kept;
  bool lost = false;  // values that rows may have had
  for (const LocalTable::Column& column : present) {
    const bool was_hidden = hidden.contains(column.file_name);
    const auto wanted = std::find_if(entity.columns.begin(), entity.columns.end(),
                                     [&](const auto& c) { return c.name == column.name; });
    if (wanted == entity.columns.end()) {
      if (!was_hidden) {
        RETURN_IF_ERROR(
            Execute(db_.get(), fmt::format("UPDATE {0} SET {1}=NULL WHERE {1} NOTNULL",
                                           Quoted(FileTable(table)), Quoted(column.file_name))));
        RETURN_IF_ERROR(SetHidden(table.id(), column.file_name, true));
      }
      continue;
    }
    if (was_hidden) {
      RETURN_IF_ERROR(SetHidden(table.id(), column.file_name, false));
    }
    if (SqlType(wanted->type) == column.sql_type) {
      kept.emplace(column.name, column.file_name);
      // Columns that were asked for apart may be newer than the rows: it may be the same attribute,
      // denied and allowed again before the checkpoint that took the rows. Where it was hidden, and
      // is shown, by columns that came with their checkpoints, it is not: whoever is shown the
      // attribute again has other buckets, and rows that are here now came when it had no value.
      lost = lost || (was_hidden && columns_asked_);
      continue;
    }
    table.ForgetStatements();
    RETURN_IF_ERROR(DropColumn(entity.name, table, column.file_name));
    // Rows that came since may have had values of the new attribute.
    lost = lost || !was_hidden;
  }
  if (lost) {
    ASSIGN_OR_RETURN(const std::vector<std::string> holders, HoldersOf(table.id()));
    stale_.insert(holders.begin(), holders.end());
  }
  return kept;
}

absl::Status LocalDatabase::DropColumn(const std::string& entity, const LocalTable& table,
                                       const std::string& column) {
  const absl::Status dropped = Execute(
      db_.get(),
      fmt::format("ALTER TABLE {} DROP COLUMN {}", Quoted(FileTable(table)), Quoted(column)));
  if (!absl::IsInternal(dropped)) {
    return dropped;
  }
  return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema",
               fmt::format("attribute {} of entity {} is another one now and needs a new "
                           "column: drop the index, view or trigger of yours that uses the old one "
                           "({})",
                           column, entity, std::string(dropped.message())));
}

// The buckets that hold rows of the entity.
absl::StatusOr<std::vector<std::string>> LocalDatabase::HoldersOf(int64_t entity) const {
  ASSIGN_OR_RETURN(
      Statement holders,
      Statement::Prepare(db_.get(),
                         "SELECT bucket FROM _sluice_bucket WHERE id IN (SELECT DISTINCT bucket "
                         "FROM _sluice_member WHERE entity=?)"));
  holders.BindInt(1, entity);
  std::vector<std::string> names;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, holders.Step());
    if (!more) {
      return names;
    }
    names.emplace_back(holders.Text(0));
  }
}

absl::Status LocalDatabase::DropTable(const std::string& name) {
  const auto it = tables_.find(name);
  ASSIGN_OR_RETURN(const std::vector<std::string> holders, HoldersOf(it->second.id()));
  if (!holders.empty() && !columns_given_) {
    // The checkpoint that takes them is still to come.
    return Error(absl::StatusCode::kUnavailable, "schema_changed",
                 fmt::format("table {} holds rows of an entity that the server has replaced: "
                             "it has to be asked anew",
                             it->second.file_name()));
  }
  // Another history may have given the entity's number to another one: the resets are still to
  // come.
  RETURN_IF_ERROR(Drop(holders));
  stale_.insert(holders.begin(), holders.end());
  it->second.ForgetStatements();
  RETURN_IF_ERROR(Execute(db_.get(), fmt::format("DROP TABLE {}", Quoted(FileTable(it->second)))));
  RETURN_IF_ERROR(Execute(db_.get(), fmt::format("DELETE FROM _sluice_entity WHERE id={0}; "
                                                 "DELETE FROM _sluice_hidden WHERE entity={0}",
                                                 it->second.id())));
  ASSIGN_OR_RETURN(Statement names,
                   Statement::Prepare(db_.get(), "DELETE FROM _sluice_names WHERE entity=?"));
  names.BindText(1, name);
  RETURN_IF_ERROR(names.Run());
  tables_.erase(it);
  return absl::OkStatus();
}

// Whether the table may be copied: reads no more of it than that would.
absl::StatusOr<bool> LocalDatabase::IsSmall(const std::string& table) const {
  ASSIGN_OR_RETURN(Statement all, Statement::Prepare(db_.get(), "SELECT * FROM " + Quoted(table)));
  size_t rows = 0;
  size_t bytes = 0;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, all.Step());
    if (!more) {
      return true;
    }
    bytes += all.RowBytes();
    if (++rows > kRowsCopiedMax || bytes > kBytesCopiedMax) {
      return false;
    }
  }
}

// The end of the first load: there is a table for every entity, also for those without rows.
absl::Status LocalDatabase::ShowTables() {
  for (auto& [name, table] : tables_) {
    table.ForgetStatements();
    const std::string loaded = Quoted(FileTable(table));
    const std::string shown = Quoted(table.file_name());
    ASSIGN_OR_RETURN(const bool small, IsSmall(FileTable(table)));
    if (!small) {
      RETURN_IF_ERROR(
          Execute(db_.get(), fmt::format("ALTER TABLE {} RENAME TO {}", loaded, shown)));
      continue;
    }
    // The hidden ones too.
    ASSIGN_OR_RETURN(const std::vector<LocalTable::Column> columns, FileColumns(name, table));
    RETURN_IF_ERROR(
        Execute(db_.get(), fmt::format("CREATE TABLE {0}({1}); INSERT INTO {0} SELECT * FROM {2}; "
                                       "DROP TABLE {2}",
                                       shown, TableDefinition(table, columns), loaded)));
  }
  return absl::OkStatus();
}

}  // namespace sluice::client

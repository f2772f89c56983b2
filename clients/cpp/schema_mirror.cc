#include "clients/cpp/schema_mirror.h"

#include <fmt/format.h>

#include <algorithm>

#include "clients/cpp/file_names.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

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

// How the column is declared whose attribute is called `name`; empty where there is none.
template <typename Columns, typename Type>
std::string TypeOf(const Columns& columns, const std::string& name, const Type& type) {
  const auto at = std::find_if(columns.begin(), columns.end(),
                               [&name](const auto& column) { return column.name == name; });
  return at == columns.end() ? std::string() : std::string(type(*at));
}

}  // namespace

absl::Status SchemaChanged(std::string_view what, std::string_view entity) {
  return Error(
      absl::StatusCode::kUnavailable, "schema_changed",
      fmt::format("a row of entity \"{}\" came with {} that the server no longer shows: it "
                  "has to be asked anew",
                  entity, what));
}

absl::Status SchemaMirror::Load(std::optional<int64_t> from) {
  last_ = nullptr;
  // A client of before writes the position without it: what it hid is in doubt.
  ASSIGN_OR_RETURN(
      Statement own,
      Statement::Prepare(db_, "SELECT value FROM _sluice_meta WHERE name='columns_of'"));
  ASSIGN_OR_RETURN(const bool has_own, own.Step());
  asked_ = from.has_value() && !(!policy_.first_load() && has_own && own.Int(0) == from);
  ASSIGN_OR_RETURN(tables_, records_.Tables());
  for (auto& [entity, table] : tables_) {
    ASSIGN_OR_RETURN(std::vector<LocalTable::Column> columns,
                     records_.Columns(entity, FileTable(table)));
    ASSIGN_OR_RETURN(const std::set<std::string> hidden, records_.HiddenColumns(table.id()));
    std::erase_if(columns,
                  [&hidden](const auto& column) { return hidden.contains(column.file_name); });
    table.SetColumns(std::move(columns));
  }
  return absl::OkStatus();
}

void SchemaMirror::Restart() {
  seen_ = false;
  given_ = false;
  last_ = nullptr;
}

void SchemaMirror::Forget() {
  if (!given_) {
    seen_ = false;
    last_ = nullptr;
  }
}

absl::StatusOr<std::vector<std::string>> SchemaMirror::Mirror(
    const std::vector<ClientEntity>& entities) {
  given_ = true;
  dropped_.clear();
  RETURN_IF_ERROR(Apply(entities));
  return std::exchange(dropped_, {});
}

absl::Status SchemaMirror::RefreshOnce() { return seen_ ? absl::OkStatus() : Refresh(); }

absl::Status SchemaMirror::Refresh() {
  ASSIGN_OR_RETURN(const std::vector<ClientEntity> entities, source_());
  asked_ = true;
  RETURN_IF_ERROR(Execute(db_, "DELETE FROM _sluice_meta WHERE name='columns_of'"));
  return Apply(entities);
}

absl::StatusOr<SchemaMirror::NamedTable*> SchemaMirror::TableFor(std::string_view entity) {
  if (last_ != nullptr && last_->first == entity) {
    return last_;
  }
  auto it = seen_ ? tables_.find(entity) : tables_.end();
  if (it == tables_.end() && !given_) {
    RETURN_IF_ERROR(Refresh());
    it = tables_.find(entity);
  }
  if (it == tables_.end()) {
    return SchemaChanged("a name", entity);
  }
  last_ = &*it;
  return last_;
}

absl::Status SchemaMirror::RefreshFor(std::string_view entity) {
  return given_ ? SchemaChanged("an attribute", entity) : Refresh();
}

absl::Status SchemaMirror::Apply(const std::vector<ClientEntity>& entities) {
  RETURN_IF_ERROR(CheckNames(entities));
  RETURN_IF_ERROR(memberships_.Write());  // it knows the columns as they are
  last_ = nullptr;
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
  seen_ = true;
  return absl::OkStatus();
}

absl::Status SchemaMirror::ApplyEntity(const ClientEntity& entity,
                                       const std::set<std::string>& current) {
  const auto it = tables_.find(entity.name);
  if (it == tables_.end()) {
    return CreateTable(entity, current);
  }
  LocalTable& table = it->second;
  const std::string wanted =
      TypeOf(entity.columns, entity.primary_key,
             [](const ClientEntity::Column& column) { return SqlType(column.type); });
  const std::string present =
      TypeOf(table.columns(), entity.primary_key,
             [](const LocalTable::Column& column) { return column.sql_type; });
  if (table.primary_key() == entity.primary_key && wanted == present) {
    return FitColumns(table, entity);
  }
  // Deleted and made anew under the same name, with another key.
  RETURN_IF_ERROR(DropTable(entity.name));
  return CreateTable(entity, current);
}

absl::Status SchemaMirror::CreateTable(const ClientEntity& entity,
                                       const std::set<std::string>& current) {
  const std::string file_name = TableNameFor(entity.name, current);
  RETURN_IF_ERROR(MakeRoom(file_name, current));
  const std::map<std::string, std::string> names = ColumnNames(entity, {});
  LocalTable table(0, entity.primary_key, file_name);
  std::vector<LocalTable::Column> columns;
  for (const ClientEntity::Column& column : entity.columns) {
    const std::string& name = names.at(column.name);
    columns.push_back({column.name, name, std::string(SqlType(column.type))});
    RETURN_IF_ERROR(records_.SetName(entity.name, column.name, name));
  }
  RETURN_IF_ERROR(records_.SetName(entity.name, "", file_name));
  RETURN_IF_ERROR(Execute(db_, fmt::format("CREATE TABLE {}({})", Quoted(FileTable(table)),
                                           TableDefinition(table, columns))));
  ASSIGN_OR_RETURN(const int64_t id, records_.AddEntity(entity.name, entity.primary_key));
  table = LocalTable(id, entity.primary_key, file_name);
  table.SetColumns(std::move(columns));
  tables_.insert_or_assign(entity.name, std::move(table));
  return absl::OkStatus();
}

absl::Status SchemaMirror::DropTable(const std::string& entity) {
  const auto it = tables_.find(entity);
  ASSIGN_OR_RETURN(const std::vector<std::string> holders, memberships_.HoldersOf(it->second.id()));
  if (!holders.empty() && !given_) {
    // The checkpoint that takes them is still to come.
    return Error(absl::StatusCode::kUnavailable, "schema_changed",
                 fmt::format("table {} holds rows of an entity that the server has replaced: "
                             "it has to be asked anew",
                             it->second.file_name()));
  }
  // Another history may have given the entity's number to another one: the resets are still to
  // come.
  RETURN_IF_ERROR(memberships_.Drop(holders));
  memberships_.MarkStale(holders);
  dropped_.insert(dropped_.end(), holders.begin(), holders.end());
  it->second.ForgetStatements();
  RETURN_IF_ERROR(Execute(db_, fmt::format("DROP TABLE {}", Quoted(FileTable(it->second)))));
  RETURN_IF_ERROR(records_.RemoveEntity(entity, it->second.id()));
  tables_.erase(it);
  return absl::OkStatus();
}

// A table keeps its name as long as it is there, since applications' queries have it.
std::string SchemaMirror::TableNameFor(const std::string& entity,
                                       const std::set<std::string>& current) const {
  const bool taken = IsTakenTableName(entity) ||
                     std::any_of(tables_.begin(), tables_.end(), [&](const auto& held) {
                       return held.first != entity && current.contains(held.first) &&
                              FoldedName(held.second.file_name()) == FoldedName(entity);
                     });
  return taken ? EscapedName(entity) : entity;
}

// A new table must not meet another of its name: what is left, empty, of a deleted entity goes;
// what an application made stays, and is an error.
absl::Status SchemaMirror::MakeRoom(const std::string& file_name,
                                    const std::set<std::string>& current) {
  std::vector<std::string> left;
  for (const auto& [name, table] : tables_) {
    if (!current.contains(name) && FoldedName(table.file_name()) == FoldedName(file_name)) {
      left.push_back(name);
    }
  }
  for (const std::string& name : left) {
    RETURN_IF_ERROR(DropTable(name));
  }
  ASSIGN_OR_RETURN(Statement find,
                   Statement::Prepare(db_,
                                      "SELECT type FROM sqlite_schema WHERE name=? COLLATE NOCASE "
                                      "AND type IN ('table','view','index')",
                                      file_name));
  ASSIGN_OR_RETURN(const bool taken, find.Step());
  if (!taken) {
    return absl::OkStatus();
  }
  return Error(absl::StatusCode::kFailedPrecondition, "name_not_representable",
               fmt::format("the file has a {} called \"{}\" already, which is no table of Sluice: "
                           "rename it, or pull into another file",
                           find.Text(0), file_name));
}

// Makes the table's columns those of the schema.
absl::Status SchemaMirror::FitColumns(LocalTable& table, const ClientEntity& entity) {
  ASSIGN_OR_RETURN(const std::vector<LocalTable::Column> present,
                   records_.Columns(entity.name, FileTable(table)));
  // By attribute.
  ASSIGN_OR_RETURN(const auto kept, KeepColumns(table, entity, present));
  const std::map<std::string, std::string> names = ColumnNames(entity, kept);
  std::vector<LocalTable::Column> columns;
  for (const ClientEntity::Column& column : entity.columns) {
    columns.push_back({column.name, names.at(column.name), std::string(SqlType(column.type))});
    if (!kept.contains(column.name)) {
      RETURN_IF_ERROR(AddColumn(table, entity.name, columns.back(), present));
    }
  }
  table.SetColumns(std::move(columns));
  return absl::OkStatus();
}

// A hidden one that has the name, as SQLite compares it, goes for it. What it was called is
// forgotten before the new one's name is written down, which may be the same.
absl::Status SchemaMirror::AddColumn(LocalTable& table, const std::string& entity,
                                     const LocalTable::Column& column,
                                     const std::vector<LocalTable::Column>& present) {
  ASSIGN_OR_RETURN(const std::set<std::string> hidden, records_.HiddenColumns(table.id()));
  for (const LocalTable::Column& other : present) {
    if (hidden.contains(other.file_name) &&
        FoldedName(other.file_name) == FoldedName(column.file_name)) {
      RETURN_IF_ERROR(records_.SetHidden(table.id(), other.file_name, false));
      RETURN_IF_ERROR(records_.SetName(entity, other.name, other.name));
      RETURN_IF_ERROR(DropColumn(entity, table, other.file_name));
    }
  }
  RETURN_IF_ERROR(records_.SetName(entity, column.name, column.file_name));
  return Execute(db_, fmt::format("ALTER TABLE {} ADD COLUMN {} {}", Quoted(FileTable(table)),
                                  Quoted(column.file_name), column.sql_type));
}

// The columns that stay for their attributes, by attribute. A hidden attribute's column stays too,
// so that an application's queries still work, but its values go: the same name later is a new
// attribute.
absl::StatusOr<std::map<std::string, std::string>> SchemaMirror::KeepColumns(
    LocalTable& table, const ClientEntity& entity, const std::vector<LocalTable::Column>& present) {
  ASSIGN_OR_RETURN(const std::set<std::string> hidden, records_.HiddenColumns(table.id()));
  std::map<std::string, std::string> kept;
  bool lost = false;  // values that rows may have had
  for (const LocalTable::Column& column : present) {
    const bool was_hidden = hidden.contains(column.file_name);
    const auto wanted = std::find_if(entity.columns.begin(), entity.columns.end(),
                                     [&](const auto& c) { return c.name == column.name; });
    if (wanted == entity.columns.end()) {
      if (!was_hidden) {
        RETURN_IF_ERROR(
            Execute(db_, fmt::format("UPDATE {0} SET {1}=NULL WHERE {1} NOTNULL",
                                     Quoted(FileTable(table)), Quoted(column.file_name))));
        RETURN_IF_ERROR(records_.SetHidden(table.id(), column.file_name, true));
      }
      continue;
    }
    if (was_hidden) {
      RETURN_IF_ERROR(records_.SetHidden(table.id(), column.file_name, false));
    }
    if (SqlType(wanted->type) == column.sql_type) {
      kept.emplace(column.name, column.file_name);
      // Columns that were asked for apart may be newer than the rows: it may be the same attribute,
      // denied and allowed again before the checkpoint that took the rows. Where it was hidden, and
      // is shown, by columns that came with their checkpoints, it is not: whoever is shown the
      // attribute again has other buckets, and rows that are here now came when it had no value.
      lost = lost || (was_hidden && asked_);
      continue;
    }
    RETURN_IF_ERROR(DropColumn(entity.name, table, column.file_name));
    // Rows that came since may have had values of the new attribute.
    lost = lost || !was_hidden;
  }
  if (lost) {
    ASSIGN_OR_RETURN(const std::vector<std::string> holders, memberships_.HoldersOf(table.id()));
    memberships_.MarkStale(holders);
  }
  return kept;
}

absl::Status SchemaMirror::DropColumn(const std::string& entity, LocalTable& table,
                                      const std::string& column) {
  table.ForgetStatements();
  const absl::Status dropped = Execute(
      db_, fmt::format("ALTER TABLE {} DROP COLUMN {}", Quoted(FileTable(table)), Quoted(column)));
  if (!absl::IsInternal(dropped)) {
    return dropped;
  }
  return Error(absl::StatusCode::kFailedPrecondition, "incompatible_schema",
               fmt::format("attribute {} of entity {} is another one now and needs a new "
                           "column: drop the index, view or trigger of yours that uses the old one "
                           "({})",
                           column, entity, std::string(dropped.message())));
}

// Whether the table may be copied: reads no more of it than that would.
absl::StatusOr<bool> SchemaMirror::IsSmall(const std::string& table) const {
  ASSIGN_OR_RETURN(Statement all, Statement::Prepare(db_, "SELECT * FROM " + Quoted(table)));
  size_t rows = 0;
  size_t bytes = 0;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, all.Step());
    if (!more) {
      return true;
    }
    bytes += all.RowBytes();
    if (!LoadPolicy::Copies(++rows, bytes)) {
      return false;
    }
  }
}

// Within the transaction that completes the checkpoint: a crash leaves all of them hidden, and
// whoever reads sees all of them or none.
absl::Status SchemaMirror::Show() {
  for (auto& [name, table] : tables_) {
    table.ForgetStatements();
    const std::string loaded = Quoted(FileTable(table));
    const std::string shown = Quoted(table.file_name());
    ASSIGN_OR_RETURN(const bool small, IsSmall(FileTable(table)));
    if (!small) {
      RETURN_IF_ERROR(Execute(db_, fmt::format("ALTER TABLE {} RENAME TO {}", loaded, shown)));
      continue;
    }
    // The hidden ones too.
    ASSIGN_OR_RETURN(const std::vector<LocalTable::Column> columns,
                     records_.Columns(name, FileTable(table)));
    RETURN_IF_ERROR(
        Execute(db_, fmt::format("CREATE TABLE {0}({1}); INSERT INTO {0} SELECT * FROM {2}; "
                                 "DROP TABLE {2}",
                                 shown, TableDefinition(table, columns), loaded)));
  }
  return absl::OkStatus();
}

absl::Status SchemaMirror::Complete(int64_t position) {
  asked_ = asked_ && !given_;
  return asked_ ? absl::OkStatus()
                : Execute(db_, fmt::format("INSERT OR REPLACE INTO _sluice_meta "
                                           "VALUES('columns_of', {})",
                                           position));
}

}  // namespace sluice::client

#include "clients/cpp/schema_records.h"

#include <fmt/format.h>

#include "schemas/base/status.h"

namespace sluice::client {

absl::StatusOr<LocalTables> SchemaRecords::Tables() const {
  ASSIGN_OR_RETURN(
      Statement entities,
      Statement::Prepare(db_,
                         "SELECT e.id, e.name, e.primary_key, coalesce(n.name, e.name) FROM "
                         "_sluice_entity e LEFT JOIN _sluice_names n ON n.entity=e.name AND "
                         "n.attribute=''"));
  LocalTables tables;
  RETURN_IF_ERROR(entities.ForEachRow([&] {
    tables.emplace(entities.Text(1), LocalTable(entities.Int(0), std::string(entities.Text(2)),
                                                std::string(entities.Text(3))));
  }));
  return tables;
}

absl::StatusOr<int64_t> SchemaRecords::AddEntity(const std::string& entity,
                                                 const std::string& primary_key) {
  RETURN_IF_ERROR(ExecuteWith(db_, "INSERT INTO _sluice_entity(name, primary_key) VALUES(?, ?)",
                              entity, primary_key));
  return sqlite3_last_insert_rowid(db_);
}

absl::Status SchemaRecords::RemoveEntity(const std::string& entity, int64_t id) {
  RETURN_IF_ERROR(Execute(db_, fmt::format("DELETE FROM _sluice_entity WHERE id={0}; "
                                           "DELETE FROM _sluice_hidden WHERE entity={0}",
                                           id)));
  return ExecuteWith(db_, "DELETE FROM _sluice_names WHERE entity=?", entity);
}

absl::StatusOr<std::vector<LocalTable::Column>> SchemaRecords::Columns(
    const std::string& entity, const std::string& file_table) const {
  ASSIGN_OR_RETURN(
      Statement info,
      Statement::Prepare(db_,
                         "SELECT coalesce(n.attribute, t.name), t.name, t.type FROM "
                         "pragma_table_info(?1) t LEFT JOIN _sluice_names n ON n.entity=?2 "
                         "AND n.name=t.name AND n.attribute<>'' ORDER BY t.cid",
                         file_table, entity));
  std::vector<LocalTable::Column> columns;
  RETURN_IF_ERROR(info.ForEachRow([&] {
    columns.push_back(
        {std::string(info.Text(0)), std::string(info.Text(1)), std::string(info.Text(2))});
  }));
  return columns;
}

absl::Status SchemaRecords::SetName(const std::string& entity, const std::string& attribute,
                                    const std::string& file_name) {
  return file_name == (attribute.empty() ? entity : attribute)
             ? ExecuteWith(db_, "DELETE FROM _sluice_names WHERE entity=? AND attribute=?", entity,
                           attribute)
             : ExecuteWith(db_, "INSERT OR REPLACE INTO _sluice_names VALUES(?,?,?)", entity,
                           attribute, file_name);
}

absl::StatusOr<std::set<std::string>> SchemaRecords::HiddenColumns(int64_t entity) const {
  ASSIGN_OR_RETURN(
      Statement select,
      Statement::Prepare(db_, "SELECT name FROM _sluice_hidden WHERE entity=?", entity));
  std::set<std::string> names;
  RETURN_IF_ERROR(select.ForEachRow([&] { names.emplace(select.Text(0)); }));
  return names;
}

absl::Status SchemaRecords::SetHidden(int64_t entity, const std::string& column, bool hidden) {
  return ExecuteWith(db_,
                     hidden ? "INSERT OR IGNORE INTO _sluice_hidden VALUES(?,?)"
                            : "DELETE FROM _sluice_hidden WHERE entity=? AND name=?",
                     entity, column);
}

}  // namespace sluice::client

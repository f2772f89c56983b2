// What tables and columns are called in the file: as their entities and attributes, but where
// SQLite can't have it.
#include <fmt/format.h>

#include <algorithm>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"

namespace sluice::client {

absl::Status LocalDatabase::SetName(const std::string& entity, const std::string& attribute,
                                    const std::string& file_name) {
  const bool same = file_name == (attribute.empty() ? entity : attribute);
  ASSIGN_OR_RETURN(Statement set,
                   Statement::Prepare(
                       db_.get(), same ? "DELETE FROM _sluice_names WHERE entity=? AND attribute=?"
                                       : "INSERT OR REPLACE INTO _sluice_names VALUES(?,?,?)"));
  set.BindText(1, entity);
  set.BindText(2, attribute);
  if (!same) {
    set.BindText(3, file_name);
  }
  return set.Run();
}

// A table keeps its name as long as it is there, since applications' queries have it.
std::string LocalDatabase::TableNameFor(const std::string& entity,
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
absl::Status LocalDatabase::MakeRoom(const std::string& file_name,
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
                   Statement::Prepare(db_.get(),
                                      "SELECT type FROM sqlite_schema WHERE name=? COLLATE NOCASE "
                                      "AND type IN ('table','view','index')"));
  find.BindText(1, file_name);
  ASSIGN_OR_RETURN(const bool taken, find.Step());
  if (!taken) {
    return absl::OkStatus();
  }
  return Error(absl::StatusCode::kFailedPrecondition, "name_not_representable",
               fmt::format("the file has a {} called \"{}\" already, which is no table of Sluice: "
                           "rename it, or pull into another file",
                           find.Text(0), file_name));
}

}  // namespace sluice::client

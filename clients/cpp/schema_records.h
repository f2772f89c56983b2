#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/local_table.h"
#include "clients/cpp/sqlite.h"

namespace sluice::client {

// What the client writes down of the entities' tables in tables of its own: _sluice_entity,
// _sluice_names and _sluice_hidden (clients/docs/local-database.md). Not thread-safe.
class SchemaRecords {
 public:
  explicit SchemaRecords(sqlite3* db) : db_(db) {}

  // The tables, without their columns.
  [[nodiscard]] absl::StatusOr<LocalTables> Tables() const;
  // Writes down a new entity; its id.
  [[nodiscard]] absl::StatusOr<int64_t> AddEntity(const std::string& entity,
                                                  const std::string& primary_key);
  // Forgets the entity, the names and the hidden columns of its table.
  [[nodiscard]] absl::Status RemoveEntity(const std::string& entity, int64_t id);

  // All columns of the table that is called `file_table` now, the hidden ones too.
  [[nodiscard]] absl::StatusOr<std::vector<LocalTable::Column>> Columns(
      const std::string& entity, const std::string& file_table) const;
  // What an entity's table (`attribute` empty) or an attribute's column is called in the file.
  [[nodiscard]] absl::Status SetName(const std::string& entity, const std::string& attribute,
                                     const std::string& file_name);

  // Columns of attributes that the server no longer shows. All of their values are NULL, and this
  // is remembered, so that nobody has to look through the table again.
  [[nodiscard]] absl::StatusOr<std::set<std::string>> HiddenColumns(int64_t entity) const;
  [[nodiscard]] absl::Status SetHidden(int64_t entity, const std::string& column, bool hidden);

 private:
  sqlite3* const db_;
};

}  // namespace sluice::client

#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/frames.h"
#include "clients/cpp/sqlite.h"

namespace sluice::client {

// A value of a row in a RowBuffer. Texts are parts of the buffer's bytes.
struct Cell {
  uint32_t column;  // of the table's columns()
  RowValue::Kind kind;
  int64_t value;  // the integer, the double's bits, or where the text begins
  uint32_t text_size;
};

// How many rows one INSERT takes where they are known to be new.
inline constexpr size_t kRowsAtOnce = 32;

// A row in a RowBuffer.
struct BufferedRow {
  std::string_view key;
  std::span<const Cell> cells;
};

// The table of one entity and its statements. Not thread-safe.
class LocalTable {
 public:
  struct Column {
    std::string name;       // the attribute's
    std::string file_name;  // the column's: the same where SQLite can have it
    std::string sql_type;
  };

  LocalTable(int64_t id, std::string primary_key, std::string file_name)
      : id_(id), primary_key_(std::move(primary_key)), file_name_(std::move(file_name)) {}

  int64_t id() const { return id_; }
  // Of the table, once the first load is complete.
  const std::string& file_name() const { return file_name_; }
  const std::string& primary_key() const { return primary_key_; }
  const std::vector<Column>& columns() const { return columns_; }
  // The columns that rows fill. Forgets the statements.
  void SetColumns(std::vector<Column> columns);
  bool prepared() const { return put_.has_value(); }
  // For the table called `file_table` in `db`.
  [[nodiscard]] absl::Status PrepareFor(sqlite3* db, const std::string& file_table);
  // The table is renamed or altered.
  void ForgetStatements();

  // The row's values, their texts appended to `bytes`. False where it has an attribute that is no
  // column; what was appended is void then.
  [[nodiscard]] bool AppendCells(const std::vector<RowValue>& row, std::vector<Cell>* cells,
                                 std::string* bytes) const;
  // Writes the row, over the one that has its key. `bytes` are those of its buffer.
  [[nodiscard]] absl::Status PutRow(const BufferedRow& row, std::string_view bytes);
  // Whether the table is narrow enough for InsertRows().
  bool InsertsRows() const { return columns_.size() <= kColumnsAtOnce; }
  // Inserts kRowsAtOnce rows by one statement, which is a third faster than one by one. True where
  // none of their keys was there before; where some were, their rows stay as they are. Not for
  // tables to which an application may have added constraints: it would not hear of them.
  [[nodiscard]] absl::StatusOr<bool> InsertRows(std::span<const BufferedRow> rows,
                                                std::string_view bytes);
  // True where there was one.
  [[nodiscard]] absl::StatusOr<bool> RemoveRow(std::string_view key);

 private:
  static constexpr size_t kColumnsAtOnce = 256;  // SQLite takes 32,766 parameters

  size_t ColumnOf(std::string_view name, size_t hint) const;
  void BindKey(Statement& statement, size_t at, std::string_view key) const;
  // From the parameter after the first `skipped`.
  void BindRow(Statement& statement, size_t skipped, const BufferedRow& row,
               std::string_view bytes) const;

  int64_t id_;
  std::string primary_key_;
  std::string file_name_;
  size_t key_column_ = 0;
  std::vector<Column> columns_;
  std::string insert_sql_;
  std::optional<Statement> put_;
  std::optional<Statement> insert_;
  std::optional<Statement> remove_;
};

// By entity.
using LocalTables = std::map<std::string, LocalTable, std::less<>>;

}  // namespace sluice::client

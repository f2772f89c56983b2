#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/sqlite.h"

// What LocalDatabase is made of: one entity's table.
namespace sluice::client {

// An entity as the server shows it to the caller.
struct ClientEntity {
  struct Column {
    std::string name;
    std::string type;  // as in gateways/docs/api.md, section 1
  };
  std::string name;
  std::string primary_key;
  std::vector<Column> columns;  // the key among them
};

// A value of a row as JSON has it. One that is null is left out.
struct RowValue {
  enum class Kind { kText, kInteger, kDouble, kBool } kind = Kind::kText;
  std::string_view name;
  std::string_view text;
  int64_t integer = 0;
  double real = 0;
};

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

// How a type of gateways/docs/api.md, section 1, is declared in SQLite: decimals, datetimes and
// uuids as text, since SQLite has no exact type for them.
[[nodiscard]] std::string_view SqlType(std::string_view type);

// kFailedPrecondition, code "name_not_representable", for what is no entity with a key as
// gateways/docs/api.md, sections 0 and 1, has it.
[[nodiscard]] absl::Status CheckNames(const std::vector<ClientEntity>& entities);

// `name` as SQLite compares it: "Order" and "order" are one name.
[[nodiscard]] std::string FoldedName(std::string_view name);

// Names that begin with sqlite_ are SQLite's, those with _sluice_ the client's.
[[nodiscard]] bool IsTakenTableName(std::string_view name);

// What stands in the file for an entity or attribute whose name can't: x$ and the name, with a $
// before each capital letter. No two names share one, also as SQLite compares them, and no name of
// gateways/docs/api.md, section 0, is one.
[[nodiscard]] std::string EscapedName(std::string_view name);

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

}  // namespace sluice::client

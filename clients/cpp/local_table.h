#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/sqlite.h"

// What LocalDatabase is made of: one entity's table, and the lock of a file.
namespace sluice::client {

// An entity as the server shows it to the caller.
struct ClientEntity {
  struct Column {
    std::string name;
    std::string type;  // as in API section 1
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

// How a type of API section 1 is declared in SQLite: decimals, dates and uuids as text, since
// SQLite has no exact type for them.
[[nodiscard]] std::string_view SqlType(std::string_view type);

// kFailedPrecondition, code "name_not_representable", where the names can't be tables and columns
// side by side: SQLite takes "Order" and "order" for one name, and keeps names that begin with
// sqlite_ for itself as Sluice does those that begin with _sluice_.
[[nodiscard]] absl::Status CheckNames(const std::vector<ClientEntity>& entities);

// `name` as SQLite compares it.
[[nodiscard]] std::string FoldedName(std::string_view name);

// The table of one entity and its statements. Not thread-safe.
class LocalTable {
 public:
  struct Column {
    std::string name;
    std::string sql_type;
  };

  LocalTable(int64_t id, std::string primary_key) : id_(id), primary_key_(std::move(primary_key)) {}

  int64_t id() const { return id_; }
  const std::string& primary_key() const { return primary_key_; }
  const std::vector<Column>& columns() const { return columns_; }
  // The columns that rows fill. Forgets the statements.
  void SetColumns(std::vector<Column> columns);
  bool prepared() const { return put_.has_value(); }
  // For the table called `file_table` in `db`.
  [[nodiscard]] absl::Status PrepareFor(sqlite3* db, const std::string& file_table);
  // The table is renamed or altered.
  void ForgetStatements();

  // Binds the row to the next PutRow(). False where it has an attribute that is no column; nothing
  // is bound then. Texts must live until PutRow().
  [[nodiscard]] bool Bind(std::string_view key, const std::vector<RowValue>& row);
  [[nodiscard]] absl::Status PutRow() { return put_->Run(); }
  [[nodiscard]] absl::Status RemoveRow(std::string_view key);

 private:
  size_t ColumnOf(std::string_view name, size_t hint) const;
  void BindKey(Statement& statement, int at, std::string_view key) const;

  int64_t id_;
  std::string primary_key_;
  size_t key_column_ = 0;
  std::vector<Column> columns_;
  std::optional<Statement> put_;
  std::optional<Statement> remove_;
};

// Holds PATH.lock as long as it lives: one writer a file, over all processes.
class FileLock {
 public:
  // kFailedPrecondition: "database_in_use", or "database_unwritable".
  [[nodiscard]] static absl::StatusOr<FileLock> Take(const std::string& path);
  FileLock(FileLock&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  FileLock& operator=(FileLock&&) = delete;
  ~FileLock();

 private:
  explicit FileLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace sluice::client

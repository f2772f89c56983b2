#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "schemas/base/status.h"

// The little of SQLite's C interface that the client uses, with errors as statuses. Not
// thread-safe.
namespace sluice::client {

struct SqliteCloser {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct StatementFinalizer {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using SqliteHandle = std::unique_ptr<sqlite3, SqliteCloser>;

// The error that `db` reports for result code `rc`, while doing `what`.
[[nodiscard]] absl::Status SqliteError(sqlite3* db, int rc, std::string_view what);

// A prepared statement. Bind in order, then Run(), Step() or ForEachRow(); Run, Reset and
// ForEachRow clear for the next use.
class Statement {
 public:
  [[nodiscard]] static absl::StatusOr<Statement> Prepare(sqlite3* db, std::string_view sql);
  // ... with all of its parameters bound: texts and whole numbers.
  template <typename... Values>
  [[nodiscard]] static absl::StatusOr<Statement> Prepare(sqlite3* db, std::string_view sql,
                                                         const Values&... values) {
    ASSIGN_OR_RETURN(Statement statement, Prepare(db, sql));
    statement.BindAll(values...);
    return statement;
  }

  // Parameters from 1. Texts are not copied: they must live until Run or Reset.
  template <typename... Values>
  void BindAll(const Values&... values) {
    int at = 0;
    (Bind(++at, values), ...);
  }
  void BindText(int at, std::string_view text);
  void BindBlob(int at, std::string_view bytes);
  void BindInt(int at, int64_t value);
  void BindDouble(int at, double value);

  // Executes a statement that returns no row.
  [[nodiscard]] absl::Status Run();
  // True while there is a row.
  [[nodiscard]] absl::StatusOr<bool> Step();
  // Calls `visit`, which reads them by Int() and Text(), for all rows that are left.
  template <typename Visit>
  [[nodiscard]] absl::Status ForEachRow(const Visit& visit) {
    while (true) {
      ASSIGN_OR_RETURN(const bool more, Step());
      if (!more) {
        Reset();
        return absl::OkStatus();
      }
      visit();
    }
  }
  void Reset();

  sqlite3* db() const { return sqlite3_db_handle(statement_.get()); }
  int64_t Int(int column) const { return sqlite3_column_int64(statement_.get(), column); }
  std::string_view Text(int column) const;
  // Of the row's values, as texts.
  size_t RowBytes() const;

 private:
  void Bind(int at, std::string_view text) { BindText(at, text); }
  void Bind(int at, int64_t value) { BindInt(at, value); }

  explicit Statement(sqlite3_stmt* statement) : statement_(statement) {}
  std::unique_ptr<sqlite3_stmt, StatementFinalizer> statement_;
};

// Executes SQL that returns nothing.
[[nodiscard]] absl::Status Execute(sqlite3* db, const std::string& sql);
// One statement, with its parameters.
template <typename... Values>
[[nodiscard]] absl::Status ExecuteWith(sqlite3* db, std::string_view sql, const Values&... values) {
  ASSIGN_OR_RETURN(Statement statement, Statement::Prepare(db, sql, values...));
  return statement.Run();
}

// `name` as an SQL identifier, in double quotes.
[[nodiscard]] std::string Quoted(std::string_view name);

}  // namespace sluice::client

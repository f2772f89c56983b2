#include "clients/cpp/sqlite.h"

#include <fmt/format.h>

namespace sluice::client {

absl::Status SqliteError(sqlite3* db, int rc, std::string_view what) {
  const std::string message = fmt::format("{}: SQLite says \"{}\"", what,
                                          db == nullptr ? sqlite3_errstr(rc) : sqlite3_errmsg(db));
  // A quota or a limit on files' sizes is a failed write to SQLite, which keeps no reason for it.
  if (db != nullptr && sqlite3_extended_errcode(db) == SQLITE_IOERR_WRITE) {
    rc = SQLITE_FULL;
  }
  switch (rc & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Error(absl::StatusCode::kFailedPrecondition, "database_in_use",
                   message + "; another process uses the file: end it first");
    case SQLITE_FULL:
      return Error(absl::StatusCode::kResourceExhausted, "disk_full",
                   message + "; make room and pull again: nothing is lost");
    case SQLITE_READONLY:
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return Error(absl::StatusCode::kFailedPrecondition, "database_unwritable",
                   message + "; give a path that this user can write to");
    case SQLITE_CORRUPT:
      return Error(absl::StatusCode::kDataLoss, "database_corrupt",
                   message + "; remove the file and pull again");
    case SQLITE_NOTADB:
      return Error(absl::StatusCode::kDataLoss, "database_corrupt",
                   message +
                       "; the file is damaged or never was a database: give another path, or "
                       "remove it and pull again");
    default:
      return Error(absl::StatusCode::kInternal, "database_error", message);
  }
}

absl::StatusOr<Statement> Statement::Prepare(sqlite3* db, std::string_view sql) {
  sqlite3_stmt* statement = nullptr;
  const int rc = sqlite3_prepare_v3(db, sql.data(), static_cast<int>(sql.size()),
                                    SQLITE_PREPARE_PERSISTENT, &statement, nullptr);
  if (rc != SQLITE_OK) {
    return SqliteError(db, rc, fmt::format("preparing {}", sql));
  }
  return Statement(statement);
}

void Statement::BindText(int at, std::string_view text) {
  // A view without data is an empty text; SQLite takes a null pointer for NULL.
  sqlite3_bind_text64(statement_.get(), at, text.data() == nullptr ? "" : text.data(), text.size(),
                      SQLITE_STATIC, SQLITE_UTF8);
}
void Statement::BindBlob(int at, std::string_view bytes) {
  // Copied, as texts are not: these are decoded from a frame's text, and gone before the statement
  // runs.
  sqlite3_bind_blob64(statement_.get(), at, bytes.data() == nullptr ? "" : bytes.data(),
                      bytes.size(), SQLITE_TRANSIENT);
}
void Statement::BindInt(int at, int64_t value) { sqlite3_bind_int64(statement_.get(), at, value); }
void Statement::BindDouble(int at, double value) {
  sqlite3_bind_double(statement_.get(), at, value);
}

absl::Status Statement::Run() {
  const int rc = sqlite3_step(statement_.get());
  absl::Status status;
  if (rc != SQLITE_DONE && rc != SQLITE_ROW) {
    status = SqliteError(sqlite3_db_handle(statement_.get()), rc, sqlite3_sql(statement_.get()));
  }
  Reset();
  return status;
}

absl::StatusOr<bool> Statement::Step() {
  const int rc = sqlite3_step(statement_.get());
  if (rc == SQLITE_ROW) {
    return true;
  }
  if (rc == SQLITE_DONE) {
    return false;
  }
  const absl::Status status =
      SqliteError(sqlite3_db_handle(statement_.get()), rc, sqlite3_sql(statement_.get()));
  Reset();
  return status;
}

void Statement::Reset() {
  sqlite3_reset(statement_.get());
  sqlite3_clear_bindings(statement_.get());
}

size_t Statement::RowBytes() const {
  size_t bytes = 0;
  for (int column = 0; column < sqlite3_data_count(statement_.get()); ++column) {
    bytes += static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column));
  }
  return bytes;
}

std::string_view Statement::Text(int column) const {
  // The text before its size: sqlite3_column_text() may convert the value, and
  // sqlite3_column_bytes() tells the size of what it is by then.
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement_.get(), column));
  return text == nullptr
             ? std::string_view()
             : std::string_view(
                   text, static_cast<size_t>(sqlite3_column_bytes(statement_.get(), column)));
}

absl::Status Execute(sqlite3* db, const std::string& sql) {
  const int rc = sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
  return rc == SQLITE_OK ? absl::OkStatus() : SqliteError(db, rc, sql);
}

std::string Quoted(std::string_view name) {
  std::string out = "\"";
  for (const char c : name) {
    out += c;
    if (c == '"') {
      out += c;
    }
  }
  return out + "\"";
}

}  // namespace sluice::client

// How everything of the organisation leaves the file.
#include <fmt/format.h>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

// The entities' tables, under either name, and the client's own.
absl::StatusOr<std::vector<std::string>> TablesToDrop(sqlite3* db) {
  std::vector<std::string> names;
  ASSIGN_OR_RETURN(Statement own,
                   Statement::Prepare(db,
                                      "SELECT name FROM sqlite_schema WHERE type='table' AND name "
                                      "LIKE '\\_sluice\\_%' ESCAPE '\\'"));
  RETURN_IF_ERROR(own.ForEachRow([&] { names.emplace_back(own.Text(0)); }));
  return names;
}

// Copies the write-ahead log into the file and cuts it to nothing.
absl::Status EmptyLog(sqlite3* db) {
  int left = 0;
  int copied = 0;
  const int rc = sqlite3_wal_checkpoint_v2(db, nullptr, SQLITE_CHECKPOINT_TRUNCATE, &left, &copied);
  return rc == SQLITE_OK ? absl::OkStatus()
                         : SqliteError(db, rc, "overwriting what readers of the file still see");
}

}  // namespace

absl::Status LocalDatabase::Wipe(std::chrono::milliseconds readers_wait) {
  sqlite3* const db = db_.get();
  sqlite3_busy_timeout(db, static_cast<int>(readers_wait.count()));
  Rollback();
  if (unfinished_) {
    RETURN_IF_ERROR(LoadState());  // to know all tables
    unfinished_ = false;
  }
  ASSIGN_OR_RETURN(std::vector<std::string> names, TablesToDrop(db));
  for (const auto& [name, table] : tables_) {
    if (position_ >= 0) {
      names.push_back(table.file_name());
    }
  }
  if (!names.empty()) {  // else an earlier call has dropped them, and did not come to the pages
    // With their statements: SQLite drops no table that one of them may still be reading. Until the
    // tables are gone the state is to be read anew: a second call has to know which they are.
    unfinished_ = true;
    schema_.Restart();
    memberships_.Clear();
    tables_.clear();
    RETURN_IF_ERROR(Execute(db, "BEGIN IMMEDIATE"));
    for (const std::string& name : names) {
      if (const absl::Status dropped =
              Execute(db, fmt::format("DROP TABLE IF EXISTS {}", Quoted(name)));
          !dropped.ok()) {
        sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
        return dropped;
      }
    }
    RETURN_IF_ERROR(Execute(db, "COMMIT"));
    unfinished_ = false;
    position_ = -1;
    policy_.Start(/*first_load=*/true);
  }
  // secure_delete has overwritten the pages in the log; the file has the old ones until it is
  // copied.
  RETURN_IF_ERROR(EmptyLog(db));
  RETURN_IF_ERROR(Execute(db, "VACUUM"));
  return EmptyLog(db);
}

}  // namespace sluice::client

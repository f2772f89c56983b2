#include "clients/cpp/local_database.h"

#include <fmt/format.h>

#include <algorithm>

#include "schemas/base/status.h"

namespace sluice::client {
namespace {

constexpr int kFormat = 2;
constexpr int kFormatWithoutNames = 1;  // is taken over
constexpr char kStateTables[] = R"sql(
CREATE TABLE IF NOT EXISTS _sluice_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _sluice_entity(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL,
  primary_key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS _sluice_bucket(id INTEGER PRIMARY KEY, bucket TEXT UNIQUE NOT NULL,
  after INTEGER NOT NULL, count INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _sluice_member(entity INTEGER, key TEXT, bucket INTEGER,
  position TEXT NOT NULL, PRIMARY KEY(entity, key, bucket)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _sluice_hidden(entity INTEGER, name TEXT, PRIMARY KEY(entity, name))
  WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _sluice_names(entity TEXT, attribute TEXT, name TEXT NOT NULL,
  PRIMARY KEY(entity, attribute)) WITHOUT ROWID;
)sql";

absl::Status NoBucket() {
  return absl::InternalError("an operation outside of a transaction, or of no bucket");
}

}  // namespace

LocalDatabase::LocalDatabase(FileLock lock, SqliteHandle db, SchemaSource schema)
    : lock_(std::move(lock)),
      db_(std::move(db)),
      memberships_(db_.get(), policy_, tables_),
      schema_(db_.get(), policy_, tables_, memberships_, std::move(schema)) {}

LocalDatabase::~LocalDatabase() { Rollback(); }

absl::StatusOr<std::unique_ptr<LocalDatabase>> LocalDatabase::Make(FileLock lock,
                                                                   SchemaSource schema) {
  sqlite3* raw = nullptr;
  const int rc = sqlite3_open_v2(lock.path().c_str(), &raw,
                                 SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  SqliteHandle handle(raw);
  if (rc != SQLITE_OK) {
    return SqliteError(raw, rc, fmt::format("opening {}", lock.path()));
  }
  return std::unique_ptr<LocalDatabase>(
      new LocalDatabase(std::move(lock), std::move(handle), std::move(schema)));
}

absl::StatusOr<std::unique_ptr<LocalDatabase>> LocalDatabase::Open(const std::string& path,
                                                                   const std::string& org,
                                                                   SchemaSource schema) {
  ASSIGN_OR_RETURN(FileLock lock, FileLock::Take(path));
  ASSIGN_OR_RETURN(auto database, Make(std::move(lock), std::move(schema)));
  RETURN_IF_ERROR_CTX(database->UseLog(), path);
  RETURN_IF_ERROR_CTX(database->Prepare(org), path);
  return database;
}

absl::StatusOr<std::unique_ptr<LocalDatabase>> LocalDatabase::OpenToWipe(const std::string& path,
                                                                         const std::string& org) {
  ASSIGN_OR_RETURN(FileLock lock, FileLock::Take(path, FileLock::SecondName::kTaken));
  ASSIGN_OR_RETURN(auto database, Make(std::move(lock), nullptr));
  // Fails while another process has the file open, by whatever name. From then on pages are
  // overwritten where they are.
  RETURN_IF_ERROR_CTX(
      Execute(database->db_.get(), "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=OFF"), path);
  RETURN_IF_ERROR_CTX(database->Prepare(org), path);
  return database;
}

absl::Status LocalDatabase::UseLog() {
  sqlite3* db = db_.get();
  sqlite3_busy_timeout(db, 10'000);
  RETURN_IF_ERROR(Execute(db, "PRAGMA journal_mode=WAL"));
  // A checkpoint lost to a power cut is pulled again; the file stays whole.
  RETURN_IF_ERROR(Execute(db, "PRAGMA synchronous=NORMAL"));
  return Execute(db, "PRAGMA journal_size_limit=4194304");
}

absl::Status LocalDatabase::Prepare(const std::string& org) {
  sqlite3* db = db_.get();
  RETURN_IF_ERROR(Execute(db, "PRAGMA cache_size=-65536"));
  // Rows and columns that were taken from the caller are overwritten, not only unlinked.
  RETURN_IF_ERROR(Execute(db, "PRAGMA secure_delete=ON"));
  RETURN_IF_ERROR(Execute(db, "BEGIN IMMEDIATE"));
  unfinished_ = true;  // a file that is refused stays as it was
  RETURN_IF_ERROR(Execute(db, kStateTables));
  RETURN_IF_ERROR(CheckOwner(org));
  RETURN_IF_ERROR(Execute(db, "COMMIT"));
  unfinished_ = false;
  return LoadState();
}

absl::Status LocalDatabase::CheckOwner(const std::string& org) {
  RETURN_IF_ERROR(ExecuteWith(db_.get(),
                              "INSERT OR IGNORE INTO _sluice_meta VALUES('org', ?), ('format', ?)",
                              org, kFormat));
  const bool claimed = sqlite3_changes(db_.get()) > 0;
  ASSIGN_OR_RETURN(Statement owner,
                   Statement::Prepare(db_.get(),
                                      "SELECT value FROM _sluice_meta WHERE name IN "
                                      "('format', 'org') ORDER BY name"));
  ASSIGN_OR_RETURN(const bool has_format, owner.Step());
  const int64_t format = has_format ? owner.Int(0) : 0;
  if (format != kFormat && format != kFormatWithoutNames) {
    return Error(absl::StatusCode::kFailedPrecondition, "database_too_new",
                 fmt::format("the file has format {}, this client reads {}: use a newer client, or "
                             "another file",
                             owner.Text(0), kFormat));
  }
  ASSIGN_OR_RETURN(const bool has_owner, owner.Step());
  if (!has_owner || owner.Text(0) != org) {
    return Error(absl::StatusCode::kFailedPrecondition, "database_of_other_org",
                 fmt::format("the file holds organisation \"{}\", not \"{}\": use another file",
                             owner.Text(0), org));
  }
  owner.Reset();
  if (format == kFormatWithoutNames) {
    RETURN_IF_ERROR(Execute(
        db_.get(), fmt::format("UPDATE _sluice_meta SET value={} WHERE name='format'", kFormat)));
  }
  // Once: whom its owner lets read it later is the owner's choice.
  return claimed || format == kFormatWithoutNames ? lock_.KeepToOwner() : absl::OkStatus();
}

absl::Status LocalDatabase::LoadState() {
  position_ = -1;
  ASSIGN_OR_RETURN(
      Statement history,
      Statement::Prepare(db_.get(), "SELECT value FROM _sluice_meta WHERE name='history'"));
  ASSIGN_OR_RETURN(const bool has_history, history.Step());
  history_ = has_history ? std::string(history.Text(0)) : std::string();
  ASSIGN_OR_RETURN(Statement meta,
                   Statement::Prepare(db_.get(),
                                      "SELECT value, name='position' FROM _sluice_meta WHERE name "
                                      "IN ('loading', 'position')"));
  ASSIGN_OR_RETURN(const bool begun, meta.Step());
  newest_ = begun ? meta.Int(0) : -1;
  if (begun && meta.Int(1) == 1) {
    position_ = newest_;
  }
  policy_.Start(position_ < 0);
  sqlite3_wal_autocheckpoint(db_.get(), policy_.wal_pages());
  RETURN_IF_ERROR(memberships_.Load(position_));
  return schema_.Load(begun ? std::optional(newest_) : std::nullopt);
}

absl::StatusOr<HeldState> LocalDatabase::Connected() {
  if (unfinished_ && !InTransaction()) {
    RETURN_IF_ERROR(LoadState());
    unfinished_ = false;
  }
  schema_.Restart();
  memberships_.StartFromHere();
  return HeldState{position_, newest_, history_, memberships_.Have()};
}

absl::Status LocalDatabase::Begin() {
  if (InTransaction()) {
    return DropHalfFrame();
  }
  if (unfinished_) {
    RETURN_IF_ERROR(LoadState());
    unfinished_ = false;
  }
  return Execute(db_.get(), "BEGIN IMMEDIATE");
}

// A frame that the schema source broke off is given again. But of a bucket from its start the
// server sends no removals, so that a row which left it meanwhile would stay.
absl::Status LocalDatabase::DropHalfFrame() {
  const std::string* const bucket = memberships_.SelectedAndNew();
  return unfinished_ && bucket != nullptr ? Drop({*bucket}) : absl::OkStatus();
}

void LocalDatabase::Rollback() {
  if (InTransaction()) {
    if (position_ < 0 && !unfinished_ && !memberships_.stale() && SaveState().ok() &&
        Execute(db_.get(), "COMMIT").ok()) {
      memberships_.Deselect();
      return;
    }
    for (auto& [name, table] : tables_) {
      table.ForgetStatements();  // of tables that the transaction made
    }
    sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
    unfinished_ = true;
  }
  // Also where SQLite has rolled back by itself, as it does when the disk is full. If the state
  // can't be read now, Begin() tries again.
  if (unfinished_) {
    schema_.Restart();
    unfinished_ = !LoadState().ok();
  }
}

// The rows first: an operation changes its bucket's sums as it is written.
absl::Status LocalDatabase::SaveState() {
  RETURN_IF_ERROR(memberships_.Write());
  if (position_ < 0) {
    RETURN_IF_ERROR(
        Execute(db_.get(),
                fmt::format("INSERT OR REPLACE INTO _sluice_meta VALUES('loading', {})", newest_)));
    RETURN_IF_ERROR(SaveHistory(history_));
  }
  return memberships_.SaveBuckets();
}

absl::Status LocalDatabase::SaveHistory(const std::string& history) {
  return history.empty()
             ? Execute(db_.get(), "DELETE FROM _sluice_meta WHERE name='history'")
             : ExecuteWith(db_.get(), "INSERT OR REPLACE INTO _sluice_meta VALUES('history', ?)",
                           history);
}

absl::StatusOr<uint64_t> LocalDatabase::CountRows() const {
  uint64_t rows = 0;
  for (const auto& [name, table] : tables_) {
    ASSIGN_OR_RETURN(Statement count,
                     Statement::Prepare(db_.get(), fmt::format("SELECT count(*) FROM {}",
                                                               Quoted(table.file_name()))));
    RETURN_IF_ERROR(count.Step().status());
    rows += static_cast<uint64_t>(count.Int(0));
  }
  return rows;
}

// What a step begins and does not end may not be kept: a first load that is broken off in it goes
// back to what was kept last.
template <typename Step>
absl::Status LocalDatabase::AsOne(const Step& step) {
  if (!InTransaction()) {
    return NoBucket();
  }
  const bool before = std::exchange(unfinished_, true);
  RETURN_IF_ERROR(step());
  unfinished_ = before;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> LocalDatabase::SetEntities(
    const std::vector<ClientEntity>& entities) {
  std::vector<std::string> dropped;
  RETURN_IF_ERROR(AsOne([&]() -> absl::Status {
    ASSIGN_OR_RETURN(dropped, schema_.Mirror(entities));
    return absl::OkStatus();
  }));
  return dropped;
}

absl::Status LocalDatabase::Drop(const std::vector<std::string>& buckets) {
  return AsOne([&] { return memberships_.Drop(buckets); });
}

absl::Status LocalDatabase::Reset(std::string_view bucket) {
  RETURN_IF_ERROR(Drop({std::string(bucket)}));
  return SelectBucket(bucket);
}

absl::Status LocalDatabase::SelectBucket(std::string_view bucket) {
  return AsOne([&] { return memberships_.Select(bucket); });
}

absl::Status LocalDatabase::Put(std::string_view entity, std::string_view key,
                                std::string_view position, const std::vector<RowValue>& row) {
  if (!memberships_.selected()) {
    return NoBucket();
  }
  unfinished_ = true;
  const size_t before = memberships_.buffered();
  for (bool refreshed = false;; refreshed = true) {
    ASSIGN_OR_RETURN(Memberships::NamedTable* const table, schema_.TableFor(entity));
    ASSIGN_OR_RETURN(const bool fits, memberships_.Put(*table, key, position, row));
    if (fits) {
      break;
    }
    // Not skipped: an answer from a server that is behind would lose the values for good.
    RETURN_IF_ERROR(refreshed ? SchemaChanged("an attribute", entity) : schema_.RefreshFor(entity));
  }
  const size_t after = memberships_.buffered();  // what was there may have been written meanwhile
  policy_.Came(after - std::min(before, after));
  return LoadPolicy::IsMuch(after) ? memberships_.Write() : absl::OkStatus();
}

absl::Status LocalDatabase::Remove(std::string_view entity, std::string_view key) {
  if (!memberships_.selected()) {
    return NoBucket();
  }
  const auto it = tables_.find(entity);
  if (it == tables_.end()) {
    return absl::OkStatus();  // nothing of it was ever here
  }
  unfinished_ = true;
  RETURN_IF_ERROR(memberships_.Remove(*it, key));
  policy_.Came(0);
  return LoadPolicy::IsMuch(memberships_.buffered()) ? memberships_.Write() : absl::OkStatus();
}

absl::Status LocalDatabase::FrameDone(int64_t to) {
  if (!memberships_.selected()) {
    return NoBucket();
  }
  memberships_.Loaded(to);
  unfinished_ = false;
  // Rows that are to come again must not be kept without what says so.
  return policy_.KeepsPlace(rows_held()) && !memberships_.stale() ? KeepPlace() : absl::OkStatus();
}

// Between frames only, and rows and what says up to where they are in one transaction: after a
// crash a bucket's `after` is either of before both or of both.
absl::Status LocalDatabase::KeepPlace() {
  policy_.Kept();
  unfinished_ = true;
  RETURN_IF_ERROR(SaveState());
  RETURN_IF_ERROR(Execute(db_.get(), "COMMIT"));
  RETURN_IF_ERROR(Execute(db_.get(), "BEGIN IMMEDIATE"));
  unfinished_ = false;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> LocalDatabase::Differing(
    const std::vector<BucketSummary>& announced) {
  RETURN_IF_ERROR(schema_.RefreshOnce());
  const bool before = std::exchange(unfinished_, true);
  RETURN_IF_ERROR(memberships_.Write());
  unfinished_ = before;
  std::vector<std::string> differing;
  for (const BucketSummary& expected : announced) {
    if (memberships_.Differs(expected)) {
      differing.push_back(expected.bucket);
    }
  }
  return differing;
}

// All of it is in the file before COMMIT, and what this object says changes after: a commit that
// fails leaves both at the checkpoint before.
absl::Status LocalDatabase::Complete(int64_t position, const std::string& history) {
  if (!InTransaction()) {
    return absl::InternalError("a checkpoint that was not begun");
  }
  unfinished_ = true;
  RETURN_IF_ERROR(SaveState());
  RETURN_IF_ERROR(schema_.RefreshOnce());
  if (memberships_.stale()) {
    return Error(absl::StatusCode::kUnavailable, "schema_changed",
                 "an attribute was replaced by another of its name: its rows are asked anew");
  }
  if (policy_.first_load()) {
    RETURN_IF_ERROR(schema_.Show());
  }
  RETURN_IF_ERROR(schema_.Complete(position));
  RETURN_IF_ERROR(SaveHistory(history));
  // Counted once, by the first checkpoint of this object; then its changes are added up.
  RowCounts came = memberships_.pending();
  uint64_t rows = rows_shown() + came.inserted - came.removed;
  if (!rows_shown_.has_value()) {
    ASSIGN_OR_RETURN(rows, CountRows());
    if (policy_.first_load()) {  // nothing was shown before, whatever went while it was loaded
      came = {.inserted = rows};
    }
  }
  RETURN_IF_ERROR(
      Execute(db_.get(),
              fmt::format("INSERT OR REPLACE INTO _sluice_meta VALUES('position', {}); DELETE FROM "
                          "_sluice_meta WHERE name='loading'",
                          position)));
  // Before the commit, which is what copies the log into the file.
  sqlite3_wal_autocheckpoint(db_.get(), LoadPolicy(false).wal_pages());
  RETURN_IF_ERROR(Execute(db_.get(), "COMMIT"));
  policy_.Start(/*first_load=*/false);
  memberships_.Completed(position);
  position_ = position;
  newest_ = position;
  history_ = history;
  rows_shown_ = rows;
  counts_.inserted += came.inserted;
  counts_.changed += came.changed;
  counts_.removed += came.removed;
  unfinished_ = false;
  return absl::OkStatus();
}

}  // namespace sluice::client

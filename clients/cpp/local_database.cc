#include "clients/cpp/local_database.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::client {
namespace {

constexpr int kFormat = 2;
constexpr int kFormatWithoutNames = 1;  // is taken over
// Pages of the WAL that SQLite copies into the file at the end of a transaction. While a first load
// writes many pages again and again it waits for more of them: 32 MiB.
constexpr int kWalPages = 1000;
constexpr int kWalPagesLoading = 8192;
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

// One INSERT of so many rows; the entity is the first parameter of all.
std::string AddMembersSql(size_t rows) {
  std::string sql = "INSERT OR IGNORE INTO _sluice_member VALUES";
  for (size_t i = 0; i < rows; ++i) {
    sql += fmt::format("{}(?1,?{},?{},?{})", i == 0 ? "" : ",", 3 * i + 2, 3 * i + 3, 3 * i + 4);
  }
  return sql;
}

}  // namespace

LocalDatabase::LocalDatabase(FileLock lock, SqliteHandle db, SchemaSource schema)
    : lock_(std::move(lock)), db_(std::move(db)), schema_(std::move(schema)) {}

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
  const std::pair<std::optional<Statement>*, std::string> statements[] = {
      {&add_members_, AddMembersSql(kRowsAtOnce)},
      {&put_member_, "INSERT OR REPLACE INTO _sluice_member VALUES(?,?,?,?)"},
      {&find_members_, "SELECT bucket, position FROM _sluice_member WHERE entity=? AND key=?"},
      {&remove_member_, "DELETE FROM _sluice_member WHERE entity=? AND key=? AND bucket=?"}};
  for (const auto& [statement, sql] : statements) {
    ASSIGN_OR_RETURN(*statement, Statement::Prepare(db, sql));
  }
  return LoadState();
}

absl::Status LocalDatabase::CheckOwner(const std::string& org) {
  ASSIGN_OR_RETURN(Statement claim, Statement::Prepare(db_.get(),
                                                       "INSERT OR IGNORE INTO _sluice_meta "
                                                       "VALUES('org', ?), ('format', ?)"));
  claim.BindText(1, org);
  claim.BindInt(2, kFormat);
  RETURN_IF_ERROR(claim.Run());
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
  buffer_.Clear();
  expect_new_ = true;
  buckets_.clear();
  stale_.clear();
  tables_.clear();
  selected_ = nullptr;
  last_put_ = nullptr;
  position_ = -1;
  ops_since_commit_ = 0;
  bytes_since_commit_ = 0;
  pending_ = {};
  gone_.clear();
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
  const bool complete = begun && meta.Int(1) == 1;
  if (complete) {
    position_ = newest_;
  }
  // A client of before writes the position without it: what it hid is in doubt.
  ASSIGN_OR_RETURN(
      Statement own,
      Statement::Prepare(db_.get(), "SELECT value FROM _sluice_meta WHERE name='columns_of'"));
  ASSIGN_OR_RETURN(const bool has_own, own.Step());
  columns_asked_ = begun && !(complete && has_own && own.Int(0) == position_);
  ASSIGN_OR_RETURN(Statement buckets,
                   Statement::Prepare(
                       db_.get(), "SELECT id, bucket, after, count, checksum FROM _sluice_bucket"));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, buckets.Step());
    if (!more) {
      sqlite3_wal_autocheckpoint(db_.get(), complete ? kWalPages : kWalPagesLoading);
      StartFromHere();
      return LoadTables();
    }
    // Only buckets that changed are written; every bucket of a complete checkpoint is at it.
    buckets_.emplace(std::string(buckets.Text(1)),
                     Bucket{buckets.Int(0), complete ? position_ : buckets.Int(2),
                            static_cast<uint64_t>(buckets.Int(3)),
                            static_cast<uint64_t>(buckets.Int(4)), false});
  }
}

std::map<std::string, int64_t> LocalDatabase::Have() const {
  std::map<std::string, int64_t> have;
  for (const auto& [name, bucket] : buckets_) {
    have.emplace(name, bucket.after);
  }
  return have;
}

void LocalDatabase::Connected() {
  schema_seen_ = false;
  columns_given_ = false;
  last_put_ = nullptr;
  StartFromHere();
}

void LocalDatabase::StartFromHere() {
  resets_seen_ = false;
  goes_on_ = false;
  base_history_ = history_;
  from_before_.clear();
  for (const auto& [name, bucket] : buckets_) {
    if (bucket.after >= 0) {
      from_before_.insert(bucket.id);
    }
  }
}

// That the announced checkpoint goes on from what is here is certain only where the server sent
// operations of it without a reset before: one that knows the rows to be of another history resets
// every bucket first. Until then history() stays what it was, so that a connection that breaks in
// between is asked for the resets again.
absl::StatusOr<bool> LocalDatabase::Announce(int64_t position, const std::string& history) {
  if (position < newest_) {
    std::vector<std::string> beyond;
    for (const auto& [name, bucket] : buckets_) {
      if (bucket.after > position) {
        beyond.push_back(name);
      } else if (bucket.after >= 0) {
        return false;
      }
    }
    // At once: a row that is sent anew in one of them must not meet itself in another.
    RETURN_IF_ERROR(Drop(beyond));
  }
  newest_ = position;
  announced_history_ = history;
  if (from_before_.empty()) {
    history_ = announced_history_;
  }
  return true;
}

uint64_t LocalDatabase::rows_held() const {
  uint64_t rows = buffer_.puts();
  for (const auto& [name, bucket] : buckets_) {
    rows += bucket.count;
  }
  return rows;
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
  if (!unfinished_ || selected_ == nullptr || selected_->after >= 0) {
    return absl::OkStatus();
  }
  const auto it = std::find_if(buckets_.begin(), buckets_.end(),
                               [this](const auto& held) { return &held.second == selected_; });
  return Drop({it->first});
}

void LocalDatabase::Rollback() {
  if (InTransaction()) {
    if (position_ < 0 && !unfinished_ && stale_.empty() && SaveBuckets().ok() &&
        Execute(db_.get(), "COMMIT").ok()) {
      selected_ = nullptr;
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
    schema_seen_ = false;
    columns_given_ = false;
    unfinished_ = !LoadState().ok();
  }
}

absl::Status LocalDatabase::SaveBuckets() {
  RETURN_IF_ERROR(WriteBuffered());
  if (position_ < 0) {
    RETURN_IF_ERROR(
        Execute(db_.get(),
                fmt::format("INSERT OR REPLACE INTO _sluice_meta VALUES('loading', {})", newest_)));
    RETURN_IF_ERROR(SaveHistory(history_));
  }
  ASSIGN_OR_RETURN(
      Statement save,
      Statement::Prepare(db_.get(),
                         "UPDATE _sluice_bucket SET after=?, count=?, checksum=? WHERE id=?"));
  for (auto& [name, bucket] : buckets_) {
    if (!std::exchange(bucket.changed, false)) {
      continue;
    }
    save.BindInt(1, bucket.after);
    save.BindInt(2, static_cast<int64_t>(bucket.count));
    save.BindInt(3, static_cast<int64_t>(bucket.checksum));
    save.BindInt(4, bucket.id);
    RETURN_IF_ERROR(save.Run());
  }
  return absl::OkStatus();
}

absl::Status LocalDatabase::SaveHistory(const std::string& history) {
  ASSIGN_OR_RETURN(
      Statement save,
      Statement::Prepare(db_.get(), history.empty()
                                        ? "DELETE FROM _sluice_meta WHERE name=?"
                                        : "INSERT OR REPLACE INTO _sluice_meta VALUES(?, ?)"));
  save.BindText(1, "history");
  if (!history.empty()) {
    save.BindText(2, history);
  }
  return save.Run();
}

// Counted once, by the first checkpoint of this object; then its changes are added up.
absl::Status LocalDatabase::CountRows() {
  uint64_t rows = 0;
  for (const auto& [name, table] : tables_) {
    ASSIGN_OR_RETURN(Statement count,
                     Statement::Prepare(db_.get(), fmt::format("SELECT count(*) FROM {}",
                                                               Quoted(table.file_name()))));
    RETURN_IF_ERROR(count.Step().status());
    rows += static_cast<uint64_t>(count.Int(0));
  }
  rows_shown_ = rows;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> LocalDatabase::Differing(
    const std::vector<BucketSummary>& announced) {
  if (!schema_seen_) {
    RETURN_IF_ERROR(RefreshSchema());
  }
  const bool before = std::exchange(unfinished_, true);
  RETURN_IF_ERROR(WriteBuffered());
  unfinished_ = before;
  std::vector<std::string> differing;
  for (const BucketSummary& expected : announced) {
    const auto it = buckets_.find(expected.bucket);
    const Bucket empty;
    const Bucket& held = it == buckets_.end() ? empty : it->second;
    if (held.count != expected.count || held.checksum != expected.checksum ||
        stale_.contains(expected.bucket)) {
      differing.push_back(expected.bucket);
    }
  }
  return differing;
}

absl::Status LocalDatabase::Complete(int64_t position) {
  if (!InTransaction()) {
    return Error(absl::StatusCode::kInternal, "internal", "a checkpoint that was not begun");
  }
  unfinished_ = true;
  RETURN_IF_ERROR(SaveBuckets());
  if (!schema_seen_) {
    RETURN_IF_ERROR(RefreshSchema());
  }
  if (!stale_.empty()) {
    return Error(absl::StatusCode::kUnavailable, "schema_changed",
                 "an attribute was replaced by another of its name: its rows are asked anew");
  }
  if (position_ < 0) {
    RETURN_IF_ERROR(ShowTables());
  }
  columns_asked_ = columns_asked_ && !columns_given_;
  if (!columns_asked_) {
    RETURN_IF_ERROR(Execute(
        db_.get(),
        fmt::format("INSERT OR REPLACE INTO _sluice_meta VALUES('columns_of', {})", position)));
  }
  RETURN_IF_ERROR(SaveHistory(announced_history_));
  if (!rows_shown_.has_value()) {
    RETURN_IF_ERROR(CountRows());
    if (position_ < 0) {  // nothing was shown before, whatever went while it was loaded
      pending_ = {.inserted = *rows_shown_};
    }
  } else {
    *rows_shown_ += pending_.inserted - pending_.removed;
  }
  RETURN_IF_ERROR(
      Execute(db_.get(),
              fmt::format("INSERT OR REPLACE INTO _sluice_meta VALUES('position', {}); DELETE FROM "
                          "_sluice_meta WHERE name='loading'",
                          position)));
  sqlite3_wal_autocheckpoint(db_.get(), kWalPages);
  RETURN_IF_ERROR(Execute(db_.get(), "COMMIT"));
  for (auto& [name, bucket] : buckets_) {
    bucket.after = position;
  }
  position_ = position;
  newest_ = position;
  history_ = announced_history_;
  counts_.inserted += pending_.inserted;
  counts_.changed += pending_.changed;
  counts_.removed += pending_.removed;
  pending_ = {};
  gone_.clear();
  StartFromHere();
  ops_since_commit_ = 0;
  bytes_since_commit_ = 0;
  expect_new_ = false;
  buffer_ = RowBuffer();  // gives its memory back
  selected_ = nullptr;
  unfinished_ = false;
  return absl::OkStatus();
}

}  // namespace sluice::client

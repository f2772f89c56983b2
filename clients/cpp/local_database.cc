#include "clients/cpp/local_database.h"

#include <fmt/format.h>

#include <utility>

#include "schemas/status.h"

namespace sluice::client {
namespace {

constexpr int kFormat = 1;
constexpr char kStateTables[] = R"sql(
CREATE TABLE IF NOT EXISTS _sluice_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _sluice_entity(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL,
  primary_key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS _sluice_bucket(id INTEGER PRIMARY KEY, bucket TEXT UNIQUE NOT NULL,
  after INTEGER NOT NULL, count INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _sluice_member(entity INTEGER, key TEXT, bucket INTEGER,
  position TEXT NOT NULL, PRIMARY KEY(entity, key, bucket)) WITHOUT ROWID;
)sql";

}  // namespace

LocalDatabase::LocalDatabase(FileLock lock, SqliteHandle db, SchemaSource schema)
    : lock_(std::move(lock)), db_(std::move(db)), schema_(std::move(schema)) {}

LocalDatabase::~LocalDatabase() { Rollback(); }

absl::StatusOr<std::unique_ptr<LocalDatabase>> LocalDatabase::Open(const std::string& path,
                                                                   const std::string& org,
                                                                   SchemaSource schema) {
  ASSIGN_OR_RETURN(FileLock lock, FileLock::Take(path));
  sqlite3* raw = nullptr;
  const int rc =
      sqlite3_open_v2(path.c_str(), &raw,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  SqliteHandle handle(raw);
  if (rc != SQLITE_OK) {
    return SqliteError(raw, rc, fmt::format("opening {}", path));
  }
  std::unique_ptr<LocalDatabase> database(
      new LocalDatabase(std::move(lock), std::move(handle), std::move(schema)));
  RETURN_IF_ERROR_CTX(database->Prepare(org), path);
  return database;
}

absl::Status LocalDatabase::Prepare(const std::string& org) {
  sqlite3* db = db_.get();
  sqlite3_busy_timeout(db, 10'000);
  RETURN_IF_ERROR(Execute(db, "PRAGMA journal_mode=WAL"));
  // A checkpoint lost to a power cut is pulled again; the file stays whole.
  RETURN_IF_ERROR(Execute(db, "PRAGMA synchronous=NORMAL"));
  RETURN_IF_ERROR(Execute(db, "PRAGMA cache_size=-65536"));
  RETURN_IF_ERROR(Execute(db, "BEGIN IMMEDIATE"));
  unfinished_ = true;  // a file that is refused stays as it was
  RETURN_IF_ERROR(Execute(db, kStateTables));
  RETURN_IF_ERROR(CheckOwner(org));
  RETURN_IF_ERROR(Execute(db, "COMMIT"));
  unfinished_ = false;
  const std::pair<std::optional<Statement>*, const char*> statements[] = {
      {&add_member_, "INSERT INTO _sluice_member VALUES(?,?,?,?) ON CONFLICT DO NOTHING"},
      {&find_member_, "SELECT position FROM _sluice_member WHERE entity=? AND key=? AND bucket=?"},
      {&move_member_, "UPDATE _sluice_member SET position=? WHERE entity=? AND key=? AND bucket=?"},
      {&remove_member_, "DELETE FROM _sluice_member WHERE entity=? AND key=? AND bucket=?"},
      {&other_member_, "SELECT 1 FROM _sluice_member WHERE entity=? AND key=? LIMIT 1"}};
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
  ASSIGN_OR_RETURN(Statement owner,
                   Statement::Prepare(db_.get(),
                                      "SELECT value FROM _sluice_meta WHERE name IN "
                                      "('format', 'org') ORDER BY name"));
  ASSIGN_OR_RETURN(const bool has_format, owner.Step());
  if (!has_format || owner.Int(0) != kFormat) {
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
  return absl::OkStatus();
}

absl::Status LocalDatabase::LoadState() {
  pending_.clear();
  pending_bytes_.clear();
  buckets_.clear();
  tables_.clear();
  selected_ = nullptr;
  last_put_ = nullptr;
  position_ = -1;
  ops_since_commit_ = 0;
  ASSIGN_OR_RETURN(
      Statement meta,
      Statement::Prepare(db_.get(), "SELECT value FROM _sluice_meta WHERE name='position'"));
  ASSIGN_OR_RETURN(const bool complete, meta.Step());
  if (complete) {
    position_ = meta.Int(0);
  }
  ASSIGN_OR_RETURN(Statement buckets,
                   Statement::Prepare(
                       db_.get(), "SELECT id, bucket, after, count, checksum FROM _sluice_bucket"));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, buckets.Step());
    if (!more) {
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

uint64_t LocalDatabase::rows_held() const {
  uint64_t rows = pending_.size();
  for (const auto& [name, bucket] : buckets_) {
    rows += bucket.count;
  }
  return rows;
}

absl::Status LocalDatabase::Begin() {
  if (InTransaction()) {
    return absl::OkStatus();
  }
  if (unfinished_) {
    RETURN_IF_ERROR(LoadState());
    unfinished_ = false;
  }
  return Execute(db_.get(), "BEGIN IMMEDIATE");
}

void LocalDatabase::Rollback() {
  if (InTransaction()) {
    if (position_ < 0 && !unfinished_ && SaveBuckets().ok() && Execute(db_.get(), "COMMIT").ok()) {
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
    unfinished_ = !LoadState().ok();
  }
}

absl::Status LocalDatabase::SaveBuckets() {
  RETURN_IF_ERROR(WritePending());
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

absl::StatusOr<std::vector<std::string>> LocalDatabase::Differing(
    const std::vector<BucketSummary>& announced) {
  const bool before = std::exchange(unfinished_, true);
  RETURN_IF_ERROR(WritePending());
  unfinished_ = before;
  std::vector<std::string> differing;
  for (const BucketSummary& expected : announced) {
    const auto it = buckets_.find(expected.bucket);
    const Bucket empty;
    const Bucket& held = it == buckets_.end() ? empty : it->second;
    if (held.count != expected.count || held.checksum != expected.checksum) {
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
  if (position_ < 0) {
    RETURN_IF_ERROR(ShowTables());
  }
  RETURN_IF_ERROR(
      Execute(db_.get(),
              fmt::format("INSERT OR REPLACE INTO _sluice_meta VALUES('position', {})", position)));
  RETURN_IF_ERROR(Execute(db_.get(), "COMMIT"));
  for (auto& [name, bucket] : buckets_) {
    bucket.after = position;
  }
  position_ = position;
  ops_since_commit_ = 0;
  selected_ = nullptr;
  unfinished_ = false;
  return absl::OkStatus();
}

}  // namespace sluice::client

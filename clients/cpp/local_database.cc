#include "clients/cpp/local_database.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>
#include <xxhash.h>

#include <cstring>
#include <utility>

#include "schemas/status.h"

namespace sluice::client {
namespace {

constexpr int kFormat = 1;
// A first load is kept after this many operations: what a crash makes it receive again.
constexpr uint64_t kOpsPerCommit = 50'000;

constexpr char kStateTables[] = R"sql(
CREATE TABLE IF NOT EXISTS _sluice_meta(name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS _sluice_entity(id INTEGER PRIMARY KEY, name TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS _sluice_bucket(id INTEGER PRIMARY KEY, bucket TEXT UNIQUE NOT NULL,
  after INTEGER NOT NULL, count INTEGER NOT NULL, checksum INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS _sluice_member(entity INTEGER, key TEXT, bucket INTEGER,
  position TEXT NOT NULL, PRIMARY KEY(entity, key, bucket)) WITHOUT ROWID;
)sql";

// The checksum's term of one row: API section 3.2.
uint64_t RowTerm(std::string_view entity, std::string_view key, std::string_view position) {
  std::string text;
  text.reserve(entity.size() + key.size() + position.size() + 2);
  text.append(entity).push_back('\0');
  text.append(key).push_back('\0');
  text.append(position);
  return XXH64(text.data(), text.size(), 0);
}

absl::StatusOr<int> LockFile(const std::string& path) {
  const std::string lock_path = path + ".lock";
  const int fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) {
    return Error(absl::StatusCode::kFailedPrecondition, "database_unwritable",
                 fmt::format("{} can't be made: {}", lock_path, std::strerror(errno)));
  }
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    ::close(fd);
    return Error(absl::StatusCode::kFailedPrecondition, "database_in_use",
                 fmt::format("another process is pulling into {}: end it first", path));
  }
  return fd;
}

}  // namespace

LocalDatabase::LocalDatabase(SqliteHandle db, int lock_fd, SchemaSource schema)
    : db_(std::move(db)), lock_fd_(lock_fd), schema_(std::move(schema)) {}

LocalDatabase::~LocalDatabase() {
  Rollback();
  ::close(lock_fd_);
}

absl::StatusOr<std::unique_ptr<LocalDatabase>> LocalDatabase::Open(const std::string& path,
                                                                   const std::string& org,
                                                                   SchemaSource schema) {
  ASSIGN_OR_RETURN(const int lock_fd, LockFile(path));
  sqlite3* raw = nullptr;
  const int rc =
      sqlite3_open_v2(path.c_str(), &raw,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  std::unique_ptr<LocalDatabase> database(
      new LocalDatabase(SqliteHandle(raw), lock_fd, std::move(schema)));
  if (rc != SQLITE_OK) {
    return SqliteError(raw, rc, fmt::format("opening {}", path));
  }
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
  RETURN_IF_ERROR(Execute(db, kStateTables));
  RETURN_IF_ERROR(
      Execute(db, fmt::format("INSERT OR IGNORE INTO _sluice_meta VALUES('format', {})", kFormat)));
  ASSIGN_OR_RETURN(Statement claim,
                   Statement::Prepare(db, "INSERT OR IGNORE INTO _sluice_meta VALUES('org', ?)"));
  claim.BindText(1, org);
  RETURN_IF_ERROR(claim.Run());
  ASSIGN_OR_RETURN(Statement owner,
                   Statement::Prepare(db, "SELECT value FROM _sluice_meta WHERE name='org'"));
  ASSIGN_OR_RETURN(const bool has_owner, owner.Step());
  if (!has_owner || owner.Text(0) != org) {
    return Error(absl::StatusCode::kFailedPrecondition, "database_of_other_org",
                 fmt::format("the file holds organisation \"{}\", not \"{}\": use another file",
                             owner.Text(0), org));
  }
  owner.Reset();
  const std::pair<std::optional<Statement>*, const char*> statements[] = {
      {&find_member_, "SELECT position FROM _sluice_member WHERE entity=? AND key=? AND bucket=?"},
      {&put_member_, "INSERT OR REPLACE INTO _sluice_member VALUES(?,?,?,?)"},
      {&remove_member_, "DELETE FROM _sluice_member WHERE entity=? AND key=? AND bucket=?"},
      {&other_member_, "SELECT 1 FROM _sluice_member WHERE entity=? AND key=? LIMIT 1"}};
  for (const auto& [statement, sql] : statements) {
    ASSIGN_OR_RETURN(*statement, Statement::Prepare(db, sql));
  }
  return LoadState();
}

absl::Status LocalDatabase::LoadState() {
  buckets_.clear();
  tables_.clear();
  selected_ = nullptr;
  position_ = -1;
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
      return absl::OkStatus();
    }
    buckets_.emplace(std::string(buckets.Text(1)),
                     Bucket{buckets.Int(0), buckets.Int(2), static_cast<uint64_t>(buckets.Int(3)),
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
  uint64_t rows = 0;
  for (const auto& [name, bucket] : buckets_) {
    rows += bucket.count;
  }
  return rows;
}

absl::Status LocalDatabase::Begin() {
  if (in_transaction_) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(Execute(db_.get(), "BEGIN IMMEDIATE"));
  in_transaction_ = true;
  return absl::OkStatus();
}

void LocalDatabase::Rollback() {
  if (!in_transaction_) {
    return;
  }
  // A first load keeps what it has; if that fails, the last kept state stands.
  if (position_ < 0 && SaveBuckets().ok() && Execute(db_.get(), "COMMIT").ok()) {
    in_transaction_ = false;
    return;
  }
  tables_.clear();  // statements of tables that the transaction made
  sqlite3_exec(db_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
  in_transaction_ = false;
  (void)LoadState();
}

absl::Status LocalDatabase::SaveBuckets() {
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

absl::Status LocalDatabase::SelectBucket(std::string_view name) {
  if (const auto it = buckets_.find(name); it != buckets_.end()) {
    selected_ = &it->second;
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(Statement insert,
                   Statement::Prepare(db_.get(),
                                      "INSERT INTO _sluice_bucket(bucket, after, count, checksum) "
                                      "VALUES(?, -1, 0, 0)"));
  insert.BindText(1, name);
  RETURN_IF_ERROR(insert.Run());
  Bucket bucket;
  bucket.id = sqlite3_last_insert_rowid(db_.get());
  selected_ = &buckets_.emplace(std::string(name), bucket).first->second;
  return absl::OkStatus();
}

absl::Status LocalDatabase::Drop(std::string_view name) {
  const auto it = buckets_.find(name);
  if (it == buckets_.end()) {
    return absl::OkStatus();
  }
  if (selected_ == &it->second) {
    selected_ = nullptr;
  }
  const int64_t id = it->second.id;
  ASSIGN_OR_RETURN(
      Statement members,
      Statement::Prepare(db_.get(),
                         "SELECT e.name, m.key FROM _sluice_member m JOIN _sluice_entity e "
                         "ON e.id = m.entity WHERE m.bucket=?"));
  members.BindInt(1, id);
  std::vector<std::pair<std::string, std::string>> held;
  while (true) {
    ASSIGN_OR_RETURN(const bool more, members.Step());
    if (!more) {
      break;
    }
    held.emplace_back(members.Text(0), members.Text(1));
  }
  members.Reset();
  RETURN_IF_ERROR(
      Execute(db_.get(), fmt::format("DELETE FROM _sluice_member WHERE bucket={}", id)));
  RETURN_IF_ERROR(Execute(db_.get(), fmt::format("DELETE FROM _sluice_bucket WHERE id={}", id)));
  buckets_.erase(it);
  for (const auto& [entity, key] : held) {
    ASSIGN_OR_RETURN(Table* const table, FindTable(entity));
    RETURN_IF_ERROR(DeleteIfUnheld(*table, key));
  }
  return absl::OkStatus();
}

absl::Status LocalDatabase::DeleteIfUnheld(Table& table, std::string_view key) {
  other_member_->BindInt(1, table.id);
  other_member_->BindText(2, key);
  ASSIGN_OR_RETURN(const bool held, other_member_->Step());
  other_member_->Reset();
  if (held) {
    return absl::OkStatus();
  }
  table.remove->BindText(1, key);
  return table.remove->Run();
}

absl::Status LocalDatabase::Put(std::string_view entity, std::string_view key,
                                std::string_view position, const std::vector<RowValue>& row) {
  ASSIGN_OR_RETURN(Table * table, FindTable(entity));
  bool unknown_column = false;
  RETURN_IF_ERROR(BindRow(*table, row, &unknown_column));
  if (unknown_column) {
    table->put->Reset();
    RETURN_IF_ERROR(RefreshSchema());
    ASSIGN_OR_RETURN(table, FindTable(entity));
    // An attribute that is unknown still has been hidden since: its column is not missed.
    RETURN_IF_ERROR(BindRow(*table, row, &unknown_column));
  }
  RETURN_IF_ERROR(table->put->Run());

  find_member_->BindInt(1, table->id);
  find_member_->BindText(2, key);
  find_member_->BindInt(3, selected_->id);
  ASSIGN_OR_RETURN(const bool known, find_member_->Step());
  if (known) {
    selected_->checksum -= RowTerm(entity, key, find_member_->Text(0));
  } else {
    ++selected_->count;
  }
  find_member_->Reset();
  selected_->checksum += RowTerm(entity, key, position);
  selected_->changed = true;
  put_member_->BindInt(1, table->id);
  put_member_->BindText(2, key);
  put_member_->BindInt(3, selected_->id);
  put_member_->BindText(4, position);
  ++ops_since_commit_;
  return put_member_->Run();
}

absl::Status LocalDatabase::Remove(std::string_view entity, std::string_view key) {
  ASSIGN_OR_RETURN(Statement lookup,
                   Statement::Prepare(db_.get(), "SELECT id FROM _sluice_entity WHERE name=?"));
  lookup.BindText(1, entity);
  ASSIGN_OR_RETURN(const bool known_entity, lookup.Step());
  if (!known_entity) {
    return absl::OkStatus();  // nothing of it was ever here
  }
  lookup.Reset();
  ASSIGN_OR_RETURN(Table* const table, FindTable(entity));
  find_member_->BindInt(1, table->id);
  find_member_->BindText(2, key);
  find_member_->BindInt(3, selected_->id);
  ASSIGN_OR_RETURN(const bool known, find_member_->Step());
  if (known) {
    selected_->checksum -= RowTerm(entity, key, find_member_->Text(0));
    --selected_->count;
    selected_->changed = true;
  }
  find_member_->Reset();
  if (!known) {
    return absl::OkStatus();
  }
  remove_member_->BindInt(1, table->id);
  remove_member_->BindText(2, key);
  remove_member_->BindInt(3, selected_->id);
  RETURN_IF_ERROR(remove_member_->Run());
  ++ops_since_commit_;
  return DeleteIfUnheld(*table, key);
}

absl::Status LocalDatabase::FrameDone(int64_t to) {
  selected_->after = to;
  selected_->changed = true;
  if (position_ >= 0 || ops_since_commit_ < kOpsPerCommit) {
    return absl::OkStatus();
  }
  ops_since_commit_ = 0;
  RETURN_IF_ERROR(SaveBuckets());
  return Execute(db_.get(), "COMMIT; BEGIN IMMEDIATE");
}

std::vector<std::string> LocalDatabase::Differing(
    const std::vector<BucketSummary>& announced) const {
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
  for (auto& [name, bucket] : buckets_) {
    bucket.after = position;
    bucket.changed = true;
  }
  RETURN_IF_ERROR(SaveBuckets());
  if (position_ < 0) {
    RETURN_IF_ERROR(RefreshSchema());  // a table for every entity, also for those without rows
    for (auto& [name, table] : tables_) {
      table.put.reset();
      table.remove.reset();
      RETURN_IF_ERROR(Execute(
          db_.get(), fmt::format("ALTER TABLE {} RENAME TO {}", TableName(name), Quoted(name))));
    }
    tables_.clear();
  }
  RETURN_IF_ERROR(
      Execute(db_.get(),
              fmt::format("INSERT OR REPLACE INTO _sluice_meta VALUES('position', {})", position)));
  RETURN_IF_ERROR(Execute(db_.get(), "COMMIT"));
  in_transaction_ = false;
  position_ = position;
  ops_since_commit_ = 0;
  return absl::OkStatus();
}

}  // namespace sluice::client

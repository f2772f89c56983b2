#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/file_lock.h"
#include "clients/cpp/local_table.h"
#include "clients/cpp/row_buffer.h"
#include "clients/cpp/sqlite.h"

namespace sluice::client {

// A bucket as a checkpoint frame announces it, and as the database counts it.
struct BucketSummary {
  std::string bucket;
  uint64_t count = 0;
  uint64_t checksum = 0;
};

// Rows of the entities' tables that complete checkpoints inserted, changed and took away. One that
// goes with a bucket and comes with another in one checkpoint has changed, as long as no more than
// a quarter of a million go with buckets.
struct RowCounts {
  uint64_t inserted = 0;
  uint64_t changed = 0;
  uint64_t removed = 0;
};

// The SQLite file: a table an entity, and Sluice's own state in tables that begin with _sluice_
// (clients/docs/local-database.md). Everything between Begin() and Complete() is one transaction,
// so readers see complete checkpoints only; but for the first load, which is gathered in tables of
// its own and kept every so often, so that it can go on after a crash, and shown at its end by
// renaming them.
//
// After an error of Drop, SetEntities, Reset, SelectBucket, Put, Remove, FrameDone or Complete call
// Rollback(); only after one of the schema source (kUnavailable) may the frame be given again
// instead. Not thread-safe; one object a file, over all processes (FileLock).
class LocalDatabase {
 public:
  // The entities as the server shows them now; for servers that do not send them with their
  // checkpoints (SetEntities()). Asked before the first row or the end of a checkpoint after
  // Connected() and ForgetSchema(), and when a row has an entity or attribute that the tables lack.
  using SchemaSource = std::function<absl::StatusOr<std::vector<ClientEntity>>()>;

  // kFailedPrecondition with "database_in_use", "database_of_other_org", "database_too_new" or
  // "database_unwritable"; kDataLoss with "database_corrupt" for what is no SQLite file.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LocalDatabase>> Open(const std::string& path,
                                                                           const std::string& org,
                                                                           SchemaSource schema);
  // For Wipe() alone, and also where the file has a second name (FileLock): nothing is made beside
  // it, so that a crash amid the wipe may leave a file that can't be read. Errors as Open().
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LocalDatabase>> OpenToWipe(
      const std::string& path, const std::string& org);
  ~LocalDatabase();

  // Where each bucket's load is: what `have` of the stream request says. -1: nothing of it yet.
  [[nodiscard]] std::map<std::string, int64_t> Have() const;
  // The last complete checkpoint, -1 for none.
  int64_t position() const { return position_; }
  // Over all buckets: a row that two of them hold counts twice, as in what a checkpoint announces.
  // One that came again may count twice in its bucket, and one that went count still, until the
  // buckets are compared or complete.
  uint64_t rows_held() const;

  // The name of the history that the rows here come from, as the server gave it with the newest
  // checkpoint of which it is certain that it goes on from what was here; empty for none. See
  // clients/docs/local-database.md.
  const std::string& history() const { return history_; }
  // Since it was last asked; of checkpoints that are complete.
  RowCounts TakeRowCounts() { return std::exchange(counts_, {}); }
  // That the entities' tables have at the last complete checkpoint of this object; 0 before.
  uint64_t rows_shown() const { return rows_shown_.value_or(0); }

  // A new connection: what was here before is what its server was told of.
  void Connected();
  [[nodiscard]] absl::Status Begin();
  // The operations that follow make rows what they are at `position`. Where that is before what
  // rows are from, a replica is behind: buckets beyond it are dropped, since it sends them anew.
  // False where it would go on with others of which rows may be too new: then Rollback(), or before
  // the first complete checkpoint Drop() everything, and ask anew.
  [[nodiscard]] absl::StatusOr<bool> Announce(int64_t position, const std::string& history = {});
  // The entities and columns that the rows of this checkpoint have, and those of the ones that
  // follow on this connection until they are given again. After Drop() of what the checkpoint no
  // longer has. Buckets that still hold rows of an entity that is another now are dropped, and have
  // to be reset or loaded anew, see Differing().
  [[nodiscard]] absl::Status SetEntities(const std::vector<ClientEntity>& entities);
  // The server may show other entities or columns by now: nothing where it gives them itself.
  void ForgetSchema();
  // Forgets buckets and the rows that no other holds: they were removed, reset, or have to be
  // reloaded. Unknown ones are skipped. Reads the membership of all rows once.
  [[nodiscard]] absl::Status Drop(const std::vector<std::string>& buckets);
  // Drops the bucket, which is sent from its start; it is the selected one then. Its rows come as
  // they are now, so they take the place of what buckets from before the connection hold of them.
  [[nodiscard]] absl::Status Reset(std::string_view bucket);
  // Resolves the bucket of the operations that follow; made when unknown.
  [[nodiscard]] absl::Status SelectBucket(std::string_view bucket);
  bool Holds(std::string_view bucket) const { return buckets_.contains(bucket); }
  // Where buckets that hold the row differ in its position, the row is as at the newest, in
  // whatever order they came.
  [[nodiscard]] absl::Status Put(std::string_view entity, std::string_view key,
                                 std::string_view position, const std::vector<RowValue>& row);
  [[nodiscard]] absl::Status Remove(std::string_view entity, std::string_view key);
  // The selected bucket is loaded up to `to`.
  [[nodiscard]] absl::Status FrameDone(int64_t to);
  // Buckets whose count or checksum is not as announced, and those of whose rows values were lost
  // because an attribute was replaced by another of its name: both have to be loaded anew.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> Differing(
      const std::vector<BucketSummary>& announced);
  // Every bucket is at `position`: shows it to readers.
  [[nodiscard]] absl::Status Complete(int64_t position);
  // Gives up what was begun, back to the last complete checkpoint. A first load keeps what it has,
  // if that ends with a whole frame, and else goes back to what was kept last.
  void Rollback();
  // Deletes and overwrites everything of the organisation and of the client itself; the file is of
  // no use to this object then. "database_in_use" where a reader keeps the old pages alive for so
  // long; they are overwritten when it is called again.
  [[nodiscard]] absl::Status Wipe(
      std::chrono::milliseconds readers_wait = std::chrono::seconds(10));

 private:
  using Bucket = LocalBucket;
  using NamedTable = RowBuffer::NamedTable;
  // That a bucket holds the row which is being merged.
  struct Member {
    int64_t bucket;
    std::string position;
    bool held;     // now
    bool stored;   // in the file
    bool changed;  // the two differ
  };

  LocalDatabase(FileLock lock, SqliteHandle db, SchemaSource schema);
  static absl::StatusOr<std::unique_ptr<LocalDatabase>> Make(FileLock lock, SchemaSource schema);
  absl::Status UseLog();
  absl::Status Prepare(const std::string& org);
  absl::Status CheckOwner(const std::string& org);
  absl::Status LoadState();
  absl::Status SaveBuckets();
  void StartFromHere();
  absl::Status SaveHistory(const std::string& history);
  absl::Status CountRows();
  absl::Status DropHalfFrame();
  bool InTransaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }

  // local_schema.cc: the entities' tables.
  std::string FileTable(const LocalTable& table) const;
  absl::Status LoadTables();
  absl::StatusOr<std::vector<LocalTable::Column>> FileColumns(const std::string& entity,
                                                              const LocalTable& table) const;
  absl::StatusOr<std::set<std::string>> HiddenColumns(int64_t entity) const;
  absl::Status SetHidden(int64_t entity, const std::string& column, bool hidden);
  absl::Status RefreshSchema();
  absl::Status ApplySchema(const std::vector<ClientEntity>& entities);
  absl::Status ApplyEntity(const ClientEntity& entity, const std::set<std::string>& current);
  absl::Status CreateTable(const ClientEntity& entity, const std::set<std::string>& current);
  absl::Status FitColumns(LocalTable& table, const ClientEntity& entity);
  absl::StatusOr<std::map<std::string, std::string>> KeepColumns(
      LocalTable& table, const ClientEntity& entity,
      const std::vector<LocalTable::Column>& present);
  absl::Status DropColumn(const std::string& entity, const LocalTable& table,
                          const std::string& column);
  absl::StatusOr<std::vector<std::string>> HoldersOf(int64_t entity) const;
  absl::Status DropTable(const std::string& name);
  absl::StatusOr<bool> IsSmall(const std::string& table) const;
  absl::Status ShowTables();

  // local_names.cc: what tables and columns are called in the file.
  absl::Status SetName(const std::string& entity, const std::string& attribute,
                       const std::string& file_name);
  std::string TableNameFor(const std::string& entity, const std::set<std::string>& current) const;
  absl::Status MakeRoom(const std::string& file_name, const std::set<std::string>& current);

  // local_rows.cc: the operations.
  absl::StatusOr<NamedTable*> TableForPut(std::string_view entity);
  absl::Status Prepared(NamedTable& table);
  absl::Status KeepPlace();

  // local_merge.cc: what is buffered goes into the file.
  absl::Status WriteBuffered();
  absl::Status WriteNewRows(std::vector<uint32_t>* rows);
  absl::Status MergeEach(std::vector<uint32_t>* rows);
  absl::Status MergeRow(std::span<const uint32_t> ops);
  absl::Status RemoveRow(LocalTable& table, std::string_view key, bool with_bucket);
  void CountPut(const LocalTable& table, std::string_view key, bool was_held);
  absl::Status ReadMembers(int64_t entity, std::string_view key);
  absl::Status WriteMembers(int64_t entity, std::string_view key);
  bool MergePut(const RowBuffer::Op& op);
  void MergeRemove(const RowBuffer::Op& op);
  uint64_t RowTerm(std::string_view entity, std::string_view key, std::string_view position);

  FileLock lock_;  // goes last
  SqliteHandle db_;
  SchemaSource schema_;
  bool schema_seen_ = false;    // since Connected()
  bool columns_given_ = false;  // by SetEntities(), since Connected()
  // Some of the file's columns are as the schema source said: not since a checkpoint was complete
  // that gave them itself. Or that is not known: the file is of a client of before.
  bool columns_asked_ = false;
  int64_t position_ = -1;
  int64_t newest_ = -1;                // position that rows may be from
  bool unfinished_ = false;            // rows of a frame that has not ended, or an error
  std::string history_;                // see history()
  std::string announced_history_;      // of the checkpoint that is being loaded
  std::string base_history_;           // history_ as the connection began
  bool resets_seen_ = false;           // on this connection
  bool goes_on_ = false;               // it is certain that this connection does, see history()
  std::set<int64_t> from_before_;      // buckets that hold something from before this connection
  RowCounts pending_;                  // of the transaction; a first load is counted at its end
  std::unordered_set<uint64_t> gone_;  // hashes of rows that went with buckets, of pending_.removed
  RowCounts counts_;
  std::optional<uint64_t> rows_shown_;
  uint64_t ops_since_commit_ = 0;
  uint64_t bytes_since_commit_ = 0;
  std::map<std::string, Bucket, std::less<>> buckets_;
  std::set<std::string, std::less<>> stale_;  // buckets whose rows lack values: see Differing()
  Bucket* selected_ = nullptr;
  std::map<std::string, LocalTable, std::less<>> tables_;
  NamedTable* last_put_ = nullptr;  // the table of the last Put
  RowBuffer buffer_;
  bool expect_new_ = true;  // rows of a first load, mostly not in the file yet
  size_t rows_met_ = 0;     // that were there already, of those that are being written
  std::vector<Member> members_;
  std::string term_bytes_;
  std::optional<Statement> add_members_, put_member_, find_members_, remove_member_;
};

}  // namespace sluice::client

#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/checkpoint_state.h"
#include "clients/cpp/file_lock.h"
#include "clients/cpp/frames.h"
#include "clients/cpp/load_policy.h"
#include "clients/cpp/local_table.h"
#include "clients/cpp/memberships.h"
#include "clients/cpp/schema_mirror.h"
#include "clients/cpp/sqlite.h"

namespace sluice::client {

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
  using SchemaSource = SchemaMirror::Source;

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
  [[nodiscard]] std::map<std::string, int64_t, std::less<>> Have() const {
    return memberships_.Have();
  }
  // The last complete checkpoint, -1 for none.
  int64_t position() const { return position_; }
  // See Memberships::rows_held().
  uint64_t rows_held() const { return memberships_.rows_held(); }
  // The history that the rows here come from, as SetHistory() and Complete() said; empty for none.
  const std::string& history() const { return history_; }
  // Since it was last asked; of checkpoints that are complete.
  RowCounts TakeRowCounts() { return std::exchange(counts_, {}); }
  // That the entities' tables have at the last complete checkpoint of this object; 0 before.
  uint64_t rows_shown() const { return rows_shown_.value_or(0); }

  // A new connection: what is here now is what its server is told of.
  [[nodiscard]] absl::StatusOr<HeldState> Connected();
  [[nodiscard]] absl::Status Begin();
  // The operations that follow make rows what they are at `position`.
  void Announce(int64_t position) { newest_ = position; }
  // What is here is of this history; in a first load it is kept with the rows.
  void SetHistory(std::string history) { history_ = std::move(history); }
  // The entities and columns that the rows of this checkpoint have, and those of the ones that
  // follow on this connection until they are given again. After Drop() of what the checkpoint no
  // longer has. Buckets that still hold rows of an entity that is another now are dropped, and have
  // to be reset or loaded anew, see Differing(): they are returned.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> SetEntities(
      const std::vector<ClientEntity>& entities);
  // The server may show other entities or columns by now: nothing where it gives them itself.
  void ForgetSchema() { schema_.Forget(); }
  // Forgets buckets and the rows that no other holds: they were removed, reset, or have to be
  // reloaded. Unknown ones are skipped. Reads the membership of all rows once.
  [[nodiscard]] absl::Status Drop(const std::vector<std::string>& buckets);
  // Drops the bucket, which is sent from its start; it is the selected one then. Its rows come as
  // they are now, so they take the place of what buckets from before the connection hold of them.
  [[nodiscard]] absl::Status Reset(std::string_view bucket);
  // Resolves the bucket of the operations that follow; made when unknown.
  [[nodiscard]] absl::Status SelectBucket(std::string_view bucket);
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
  // Every bucket is at `position`, of `history`: shows it to readers.
  [[nodiscard]] absl::Status Complete(int64_t position, const std::string& history = {});
  // Gives up what was begun, back to the last complete checkpoint. A first load keeps what it has,
  // if that ends with a whole frame, and else goes back to what was kept last.
  void Rollback();
  // Deletes and overwrites everything of the organisation and of the client itself; the file is of
  // no use to this object then. "database_in_use" where a reader keeps the old pages alive for so
  // long; they are overwritten when it is called again.
  [[nodiscard]] absl::Status Wipe(
      std::chrono::milliseconds readers_wait = std::chrono::seconds(10));

 private:
  LocalDatabase(FileLock lock, SqliteHandle db, SchemaSource schema);
  static absl::StatusOr<std::unique_ptr<LocalDatabase>> Make(FileLock lock, SchemaSource schema);
  absl::Status UseLog();
  absl::Status Prepare(const std::string& org);
  absl::Status CheckOwner(const std::string& org);
  absl::Status LoadState();
  absl::Status SaveState();
  absl::Status SaveHistory(const std::string& history);
  absl::StatusOr<uint64_t> CountRows() const;
  absl::Status KeepPlace();
  absl::Status DropHalfFrame();
  template <typename Step>
  absl::Status AsOne(const Step& step);
  bool InTransaction() const { return sqlite3_get_autocommit(db_.get()) == 0; }

  FileLock lock_;  // goes last
  SqliteHandle db_;
  LoadPolicy policy_{/*first_load=*/true};
  LocalTables tables_;
  Memberships memberships_;
  SchemaMirror schema_;
  int64_t position_ = -1;
  int64_t newest_ = -1;      // position that rows may be from
  bool unfinished_ = false;  // rows of a frame that has not ended, or an error
  std::string history_;      // see history()
  RowCounts counts_;
  std::optional<uint64_t> rows_shown_;
};

}  // namespace sluice::client

#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/frames.h"
#include "clients/cpp/load_policy.h"
#include "clients/cpp/local_table.h"
#include "clients/cpp/row_buffer.h"
#include "clients/cpp/sqlite.h"

namespace sluice::client {

// Rows of the entities' tables that complete checkpoints inserted, changed and took away. One that
// goes with a bucket and comes with another in one checkpoint has changed, as long as no more than
// a quarter of a million go with buckets.
struct RowCounts {
  uint64_t inserted = 0;
  uint64_t changed = 0;
  uint64_t removed = 0;
};

// Which bucket holds which row (_sluice_bucket and _sluice_member): merges the operations of
// several buckets into the entities' tables. A row is in its table while it has at least one
// member, and is as the newest of their positions has it, in whatever order they came. Operations
// are gathered in memory until Write(). All of it within transactions of the caller's, who rolls
// back after an error and calls Load(). Not thread-safe.
class Memberships {
 public:
  using NamedTable = RowBuffer::NamedTable;

  // All of them outlive it. `tables` are those of the file: to change a table's columns, Write()
  // first.
  Memberships(sqlite3* db, LoadPolicy& policy, LocalTables& tables)
      : db_(db), policy_(policy), tables_(tables) {}

  // Reads the buckets from the file. `position` of the last complete checkpoint, at which every
  // bucket is then, or -1.
  [[nodiscard]] absl::Status Load(int64_t position);
  // Forgets all, its statements too.
  void Clear();
  // A connection begins, or a checkpoint is complete: what is here is of before. A bucket that is
  // not, or is dropped, is sent from its start.
  void StartFromHere();

  // Up to where each bucket is loaded, -1: nothing of it yet.
  [[nodiscard]] std::map<std::string, int64_t, std::less<>> Have() const;
  // Over all buckets: a row that two of them hold counts twice, as in what a checkpoint announces.
  // One that came again may count twice in its bucket, and one that went count still, until
  // Write().
  uint64_t rows_held() const;

  // The bucket of the operations that follow; made when unknown.
  [[nodiscard]] absl::Status Select(std::string_view bucket);
  bool selected() const { return selected_ != nullptr; }
  void Deselect() { selected_ = nullptr; }
  // The selected bucket, if nothing of it is whole yet; nullptr for others.
  const std::string* SelectedAndNew() const;
  // False where the row has an attribute that the table has no column for; nothing is kept then.
  [[nodiscard]] absl::StatusOr<bool> Put(NamedTable& table, std::string_view key,
                                         std::string_view position,
                                         const std::vector<RowValue>& row);
  [[nodiscard]] absl::Status Remove(NamedTable& table, std::string_view key);
  // The selected bucket is loaded up to `to`.
  void Loaded(int64_t to);
  // Forgets buckets and the rows that no other holds. Unknown ones are skipped. Reads the
  // membership of all rows once.
  [[nodiscard]] absl::Status Drop(const std::vector<std::string>& buckets);

  // Memory of the operations that are not written yet, in bytes.
  size_t buffered() const { return buffer_.size(); }
  // Writes them into the file.
  [[nodiscard]] absl::Status Write();
  // Writes up to where the buckets are loaded and their sums. After Write().
  [[nodiscard]] absl::Status SaveBuckets();
  // Whether the bucket's count or checksum is not as announced, or its rows lack values, see
  // MarkStale(). After Write().
  bool Differs(const BucketSummary& announced) const;

  // The buckets that hold rows of the entity with that id. After Write().
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> HoldersOf(int64_t entity) const;
  // Rows of these buckets lack values that the server has: they have to be loaded anew, and until
  // then no checkpoint may be completed, nor anything of a first load be kept.
  void MarkStale(const std::vector<std::string>& buckets);
  bool stale() const { return !stale_.empty(); }

  // A checkpoint at `position` is complete: every bucket is at it.
  void Completed(int64_t position);
  // Of the checkpoint that is being loaded; a first load is not counted.
  const RowCounts& pending() const { return pending_; }

 private:
  // That a bucket holds the row which is being merged.
  struct Member {
    int64_t bucket;
    std::string position;
    bool held;     // now
    bool stored;   // in the file
    bool changed;  // the two differ
  };
  using NamedBucket = std::pair<const std::string, LocalBucket>;

  absl::Status PrepareStatements();
  absl::Status Prepared(NamedTable& table);
  absl::Status RemoveUnheld(const std::string& ids);
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

  sqlite3* const db_;
  LoadPolicy& policy_;
  LocalTables& tables_;
  std::map<std::string, LocalBucket, std::less<>> buckets_;
  std::set<int64_t> from_before_;             // see StartFromHere()
  std::set<std::string, std::less<>> stale_;  // see MarkStale()
  NamedBucket* selected_ = nullptr;
  RowBuffer buffer_;
  size_t rows_met_ = 0;                // that were there already, of those that are being written
  std::vector<Member> members_;        // of the row that is being merged
  std::string term_bytes_;             // RowTerm()'s
  RowCounts pending_;                  // see pending()
  std::unordered_set<uint64_t> gone_;  // hashes of rows that went with buckets, of pending_.removed
  std::optional<Statement> add_members_, put_member_, find_members_, remove_member_;
};

}  // namespace sluice::client

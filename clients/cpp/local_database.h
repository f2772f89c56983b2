#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/sqlite.h"

namespace sluice::client {

// An entity as the server shows it to the caller.
struct ClientEntity {
  struct Column {
    std::string name;
    std::string type;  // as in API section 1
  };
  std::string name;
  std::string primary_key;
  std::vector<Column> columns;  // the key among them
};

// A value of a row as JSON has it.
struct RowValue {
  enum class Kind { kText, kInteger, kDouble, kBool } kind = Kind::kText;
  std::string_view name;
  std::string_view text;
  int64_t integer = 0;
  double real = 0;
};

// A bucket as a checkpoint frame announces it, and as the database counts it.
struct BucketSummary {
  std::string bucket;
  uint64_t count = 0;
  uint64_t checksum = 0;
};

// The SQLite file: a table an entity, and Sluice's own state in tables that begin with _sluice_
// (clients/cpp/README.md). Everything between Begin() and Complete() is one transaction, so readers
// see complete checkpoints only; but for the first load, which is gathered in tables of its own and
// kept every so often, so that it can go on after a crash, and shown at its end by renaming them.
// Not thread-safe; one object a file, over all processes (a lock file beside it).
class LocalDatabase {
 public:
  using SchemaSource = std::function<absl::StatusOr<std::vector<ClientEntity>>()>;

  // `schema` is called when a row has an entity or attribute that the tables lack.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<LocalDatabase>> Open(const std::string& path,
                                                                           const std::string& org,
                                                                           SchemaSource schema);
  ~LocalDatabase();

  // Where each bucket's load is: what `have` of the stream request says. -1: nothing of it yet.
  [[nodiscard]] std::map<std::string, int64_t> Have() const;
  // The last complete checkpoint, -1 for none.
  int64_t position() const { return position_; }
  uint64_t rows_held() const;

  [[nodiscard]] absl::Status Begin();
  // Forgets a bucket and the rows that no other holds: it was removed, reset, or has to be
  // reloaded.
  [[nodiscard]] absl::Status Drop(std::string_view bucket);
  // Resolves the bucket of the operations that follow; made when unknown.
  [[nodiscard]] absl::Status SelectBucket(std::string_view bucket);
  [[nodiscard]] absl::Status Put(std::string_view entity, std::string_view key,
                                 std::string_view position, const std::vector<RowValue>& row);
  [[nodiscard]] absl::Status Remove(std::string_view entity, std::string_view key);
  // The selected bucket is loaded up to `to`.
  [[nodiscard]] absl::Status FrameDone(int64_t to);
  // Buckets whose count or checksum is not as announced.
  [[nodiscard]] std::vector<std::string> Differing(
      const std::vector<BucketSummary>& announced) const;
  // Every bucket is at `position`: shows it to readers.
  [[nodiscard]] absl::Status Complete(int64_t position);
  // Gives up what was begun, back to the last complete checkpoint (a first load: to what was kept).
  void Rollback();

 private:
  struct Bucket {
    int64_t id = 0;
    int64_t after = -1;
    uint64_t count = 0;
    uint64_t checksum = 0;
    bool changed = false;
  };
  struct Table {
    int64_t id = 0;
    ClientEntity entity;
    std::unordered_map<std::string, int> column_of;  // name -> parameter, from 1
    std::optional<Statement> put;
    std::optional<Statement> remove;
  };

  LocalDatabase(SqliteHandle db, int lock_fd, SchemaSource schema);
  absl::Status Prepare(const std::string& org);
  absl::Status LoadState();
  absl::Status SaveBuckets();
  absl::Status RefreshSchema();
  absl::Status AddTable(const ClientEntity& entity);
  absl::Status ExtendTable(Table& table, const ClientEntity& entity);
  absl::StatusOr<Table*> FindTable(std::string_view entity);
  absl::Status BindRow(Table& table, const std::vector<RowValue>& row, bool* unknown_column);
  absl::Status DeleteIfUnheld(Table& table, std::string_view key);
  std::string TableName(std::string_view entity) const;

  SqliteHandle db_;
  int lock_fd_;
  SchemaSource schema_;
  int64_t position_ = -1;
  bool in_transaction_ = false;
  uint64_t ops_since_commit_ = 0;
  std::map<std::string, Bucket, std::less<>> buckets_;
  Bucket* selected_ = nullptr;
  std::map<std::string, Table, std::less<>> tables_;
  std::optional<Statement> find_member_, put_member_, remove_member_, other_member_;
};

}  // namespace sluice::client

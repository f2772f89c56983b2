#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "clients/cpp/frames.h"
#include "clients/cpp/load_policy.h"
#include "clients/cpp/local_table.h"
#include "clients/cpp/memberships.h"
#include "clients/cpp/schema_records.h"
#include "clients/cpp/sqlite.h"

namespace sluice::client {

// kUnavailable, code "schema_changed": a row of `entity` came with something that the tables lack.
[[nodiscard]] absl::Status SchemaChanged(std::string_view what, std::string_view entity);

// Keeps the entities' tables and their columns as the server's schema says, which comes with the
// checkpoints or, from a server that does not send it, is asked for. All of it within transactions
// of the caller's, who rolls back after an error and calls Load(); after one of the source alone
// nothing has changed. Not thread-safe.
class SchemaMirror {
 public:
  using NamedTable = Memberships::NamedTable;
  // The entities as the server shows them now. kUnavailable where it can't be asked.
  using Source = std::function<absl::StatusOr<std::vector<ClientEntity>>()>;

  // All of them outlive it; `tables` are those of the file, which it makes and changes.
  SchemaMirror(sqlite3* db, const LoadPolicy& policy, LocalTables& tables, Memberships& memberships,
               Source source)
      : db_(db),
        policy_(policy),
        tables_(tables),
        memberships_(memberships),
        source_(std::move(source)),
        records_(db) {}

  // Reads the tables from the file. `from`: the position of its last complete checkpoint, or of the
  // first load that has begun; nullopt for a new file.
  [[nodiscard]] absl::Status Load(std::optional<int64_t> from);
  // A connection begins: what its server shows is not known yet.
  void Restart();
  // The server may show other entities or columns by now: nothing where it gives them itself.
  void Forget();
  // The entities that rows have from now on, and until they are given again. Buckets that still
  // hold rows of an entity that is another now are dropped, and marked as stale; they are returned.
  [[nodiscard]] absl::StatusOr<std::vector<std::string>> Mirror(
      const std::vector<ClientEntity>& entities);
  // Asks the source, unless it is known what the server shows.
  [[nodiscard]] absl::Status RefreshOnce();

  // The table of a put of this entity; asks the source where it has to. kUnavailable with
  // "schema_changed" where the server shows no such entity.
  [[nodiscard]] absl::StatusOr<NamedTable*> TableFor(std::string_view entity);
  // A put had an attribute that its table lacks: asks the source, where the server does not give
  // the columns itself; else kUnavailable with "schema_changed".
  [[nodiscard]] absl::Status RefreshFor(std::string_view entity);

  // The end of the first load: shows its tables to readers, one for every entity, also for those
  // without rows.
  [[nodiscard]] absl::Status Show();
  // The checkpoint at `position` is being completed: writes down whether its columns came with it.
  [[nodiscard]] absl::Status Complete(int64_t position);

 private:
  std::string FileTable(const LocalTable& table) const {
    return policy_.TableName(table.file_name());
  }
  absl::Status Refresh();
  absl::Status Apply(const std::vector<ClientEntity>& entities);
  absl::Status ApplyEntity(const ClientEntity& entity, const std::set<std::string>& current);
  absl::Status CreateTable(const ClientEntity& entity, const std::set<std::string>& current);
  absl::Status DropTable(const std::string& entity);
  std::string TableNameFor(const std::string& entity, const std::set<std::string>& current) const;
  absl::Status MakeRoom(const std::string& file_name, const std::set<std::string>& current);
  absl::Status FitColumns(LocalTable& table, const ClientEntity& entity);
  absl::StatusOr<std::map<std::string, std::string>> KeepColumns(
      LocalTable& table, const ClientEntity& entity,
      const std::vector<LocalTable::Column>& present);
  absl::Status AddColumn(LocalTable& table, const std::string& entity,
                         const LocalTable::Column& column,
                         const std::vector<LocalTable::Column>& present);
  absl::Status DropColumn(const std::string& entity, LocalTable& table, const std::string& column);
  absl::StatusOr<bool> IsSmall(const std::string& table) const;

  sqlite3* const db_;
  const LoadPolicy& policy_;
  LocalTables& tables_;
  Memberships& memberships_;
  const Source source_;
  SchemaRecords records_;
  bool seen_ = false;   // since Restart() and Forget()
  bool given_ = false;  // by Mirror(), since Restart()
  // Some of the file's columns are as the source said: not since a checkpoint was complete that
  // gave them itself. Or that is not known: the file is of a client of before.
  bool asked_ = false;
  std::vector<std::string> dropped_;  // buckets, by the Mirror() that runs
  NamedTable* last_ = nullptr;        // of the last TableFor()
};

}  // namespace sluice::client

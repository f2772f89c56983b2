#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/record_source.h"
#include "gateways/debezium/debezium_metrics.h"
#include "gateways/debezium/snapshot_generations.h"
#include "gateways/debezium/table_mapper.h"
#include "gateways/debezium/tenant_router.h"
#include "gateways/debezium/transaction_assembler.h"
#include "gateways/sources/connector.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// Makes rows and sets of assembled changes, and gives them to the sink: defines entities, adds
// attributes for columns that were added, gives versions, finds the organisation of each row, and
// rejects rows that can't be taken. Not thread-safe.
class ChangeWriter {
 public:
  // A partition of a table's topic; TableChange::partition is its place in the list.
  struct Place {
    size_t table = 0;
    std::string topic;
    PartitionId partition;
  };

  // Tables are those of the settings, without the disabled ones. All must outlive it.
  ChangeWriter(const SourceContext& context, RowSink& sink, const Clock& clock,
               DebeziumMetrics& metrics);

  // Where changes lie, and their generations; from Plan to plan of who reads them.
  void Follow(const std::vector<Place>* places, SnapshotGenerations* generations);
  // Entities may have been changed by others since: they are looked up again.
  void BeginRound();

  // Takes a change in. `repeated`: its transaction had been written before. Writes what it holds
  // where there is no more room, without a cursor, and around a TRUNCATE.
  absl::Status Apply(const TableChange& change, std::optional<int64_t> set_lsn, bool repeated);
  // A record that is no change.
  absl::Status RejectRecord(const Place& place, const eventlog::Record& record,
                            const absl::Status& why);

  bool empty() const { return size_ == 0; }
  size_t size() const { return size_; }
  size_t bytes() const { return bytes_; }
  // Writes what it holds, with the cursor behind it. nullopt: it stays where it is.
  absl::Status Flush(std::optional<std::string> cursor);
  // Removes rows of the table that are at or below `version`. Nothing may be held.
  absl::Status Sweep(size_t table, int64_t version, std::string cursor);

 private:
  using SchemaPtr = std::shared_ptr<const schemas::EntitySchema>;
  struct Table {
    TableMapper mapper;
    std::map<OrgId, SchemaPtr> schemas;       // of this round
    std::unordered_set<std::string> ignored;  // columns that can't be attributes
  };
  // Operations of one set, in the source's order. What an upsert keeps is taken from the row as it
  // is behind those before it (projectors/docs/fold.md).
  struct Batch {
    std::vector<v1::Operation> ops;
    std::string places;  // of its changes: what its id is made of
  };

  absl::StatusOr<std::optional<int64_t>> VersionOf(const TableChange& change,
                                                   std::optional<int64_t> set_lsn) const;
  absl::StatusOr<OrgId> OrgOf(const TableChange& change) const;
  absl::Status Truncate(Table& table, const TableChange& change, int64_t version);
  absl::Status Upsert(Table& table, const OrgId& org, const TableChange& change, int64_t version);
  // A row of a snapshot that can't be taken: what is stored of it stays.
  absl::Status Touch(Table& table, const OrgId& org, const TableChange& change, int64_t version);
  absl::Status Delete(Table& table, const OrgId& org, const TableChange& change, int64_t version);
  // Whose an entity of this source is there.
  std::string OwnerIn(const OrgId& org) const;
  // nullptr: there is none.
  SchemaPtr Find(Table& table, const OrgId& org);
  // Has the entity defined there, and the organisation opened where the settings say so. nullptr:
  // the change was rejected.
  absl::StatusOr<SchemaPtr> DefineIn(Table& table, const OrgId& org, const TableChange& change,
                                     const v1::ProvisioningRequest::PutEntity& entity);
  absl::StatusOr<SchemaPtr> Define(Table& table, const OrgId& org, const TableChange& change);
  // The row and its schema; no schema: it was rejected.
  absl::StatusOr<std::pair<SchemaPtr, DecodedRow>> RowOf(Table& table, const OrgId& org,
                                                         const TableChange& change);
  absl::Status Reject(const Table& table, const OrgId& org, const TableChange& change,
                      const absl::Status& why);
  void Add(const OrgId& org, const TableChange& change, v1::Operation op);
  // Appends a set of one organisation; one that is gone by now is passed over, where there are
  // many.
  absl::Status Append(SourceSet set);
  // `why`: what the sweep is of, for its id where there are many organisations.
  absl::Status SweepTable(const Table& table, int64_t version, std::string_view why);

  const SourceContext& context_;
  RowSink& sink_;
  const Clock& clock_;
  DebeziumMetrics& metrics_;
  const TenantRouter router_;
  std::vector<Table> tables_;
  const std::vector<Place>* places_ = nullptr;
  SnapshotGenerations* generations_ = nullptr;
  std::map<OrgId, Batch> batches_;  // of the source's own organisation: the default id
  size_t size_ = 0;
  size_t bytes_ = 0;
  std::map<OrgId, SteadyTime> told_;  // organisations that are not there: one letter an hour
};

}  // namespace sluice::gateways

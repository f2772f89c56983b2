#include "gateways/debezium/change_writer.h"

#include <fmt/format.h>
#include <prometheus/counter.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "schemas/base/sha256.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kHeldBytesMax = 4 << 20;  // a row more must fit into a set
constexpr size_t kOperationOverhead = 24;
constexpr std::chrono::hours kTellAgain{1};
constexpr size_t kToldMax = 10'000;
constexpr size_t kSnapshotOrgsMax = 100'000;
constexpr size_t kRejectedKeyBytes = 512;

bool IsSnapshotRow(const ChangeEnvelope& event) {
  return event.snapshot != SnapshotPart::kNone && event.snapshot != SnapshotPart::kIncremental;
}

// What ends the run, rather than a row.
bool IsOfTheRow(const absl::Status& status) {
  return status.code() == absl::StatusCode::kInvalidArgument;
}

}  // namespace

ChangeWriter::ChangeWriter(const SourceContext& context, RowSink& sink, const Clock& clock,
                           DebeziumMetrics& metrics)
    : context_(context),
      sink_(sink),
      clock_(clock),
      metrics_(metrics),
      router_(context.settings.tenants()) {}

size_t ChangeWriter::AddTable(const v1::SourceEntity& settings) {
  std::string owner = router_.is_on() ? fmt::format("debezium:@{}/{}", context_.org.value(),
                                                    context_.settings.name())
                                      : fmt::format("debezium:{}", context_.settings.name());
  tables_.push_back({TableMapper(settings, std::move(owner)), {}, {}, {}});
  return tables_.size() - 1;
}

void ChangeWriter::Follow(const std::vector<Place>* places, SnapshotGenerations* generations) {
  places_ = places;
  generations_ = generations;
}

void ChangeWriter::BeginRound() {
  for (Table& table : tables_) {
    table.schemas.clear();
  }
}

absl::StatusOr<std::optional<int64_t>> ChangeWriter::VersionOf(
    const TableChange& change, std::optional<int64_t> set_lsn) const {
  const ChangeEnvelope& event = change.event;
  const bool has_lsn = set_lsn.has_value() || event.lsn.has_value();
  const bool is_snapshot = has_lsn && IsSnapshotRow(event);
  // With the LSNs of commits a snapshot's rows are above what was committed by its LSN;
  // PostgreSQL's are 8 bytes apart. Without, they are the first of their generation. A database
  // without LSNs has the order of its topic.
  int64_t lsn = has_lsn ? set_lsn.value_or(event.lsn.value_or(0)) : change.offset.value();
  if (is_snapshot) {
    lsn = context_.settings.transactions().empty() ? 0 : lsn + 1;
  }
  const Place& place = (*places_)[change.partition];
  const uint32_t generation =
      is_snapshot || !has_lsn
          ? change.generation
          : generations_->Of(place.topic, place.partition, change.generation, lsn);
  if (lsn < 0 || lsn > kVersionLsnMax || generation > kGenerationMax) {
    return Error(absl::StatusCode::kFailedPrecondition, "position_out_of_range",
                 fmt::format("position {} of generation {} is beyond what a version holds", lsn,
                             generation));
  }
  const int64_t version = int64_t{generation} << kGenerationShift | lsn;
  return has_lsn && generations_->IsStale(place.topic, version) ? std::nullopt
                                                                : std::optional(version);
}

absl::StatusOr<OrgId> ChangeWriter::OrgOf(const TableChange& change) const {
  if (!router_.is_on()) {
    return OrgId();
  }
  if (!change.event.after.empty()) {
    return router_.OrgOf(change.event.after);
  }
  auto org = router_.OrgOf(change.key.key);
  return org.ok() || change.event.before.empty() ? org : router_.OrgOf(change.event.before);
}

absl::Status ChangeWriter::Reject(const Table& table, const OrgId& org, const TableChange& change,
                                  const absl::Status& why) {
  RejectedRow row;
  row.org = org;
  row.entity = table.mapper.settings().name();
  row.key = change.key.key.substr(0, kRejectedKeyBytes);
  row.code = ErrorCode(why);
  row.reason = Message(why);
  row.row = change.event.after.empty() ? change.event.before : change.event.after;
  return sink_.Reject(row);
}

absl::Status ChangeWriter::RejectRecord(const Place& place, const eventlog::Record& record,
                                        const absl::Status& why) {
  RejectedRow row;
  row.entity = tables_[place.table].mapper.settings().name();
  row.key = record.key.value_or("").substr(0, kRejectedKeyBytes);
  row.code = ErrorCode(why);
  row.reason = fmt::format("{}-{} at offset {}: {}", place.topic, place.partition.value(),
                           record.offset.value(), Message(why));
  row.row = *record.value;
  return sink_.Reject(row);
}

ChangeWriter::SchemaPtr ChangeWriter::Find(Table& table, const OrgId& org) {
  SchemaPtr& schema = table.schemas[org];
  if (schema == nullptr) {
    schema = sink_.Find(org, table.mapper.settings().name());
  }
  return schema;
}

absl::StatusOr<ChangeWriter::SchemaPtr> ChangeWriter::Define(Table& table, const OrgId& org,
                                                             const TableChange& change) {
  const auto definition = table.mapper.Define(Find(table, org).get(), change);
  if (!definition.ok()) {
    if (!IsOfTheRow(definition.status())) {
      return definition.status();
    }
    RETURN_IF_ERROR(Reject(table, org, change, definition.status()));
    return nullptr;
  }
  for (const RefusedColumn& column : definition->refused) {
    table.ignored.insert(column.name);
  }
  auto defined = sink_.Define(org, definition->entity);
  if (defined.ok()) {
    return table.schemas[org] = *std::move(defined);
  }
  const bool is_absent = defined.status().code() == absl::StatusCode::kNotFound ||
                         defined.status().code() == absl::StatusCode::kFailedPrecondition;
  if (!router_.is_on() || !is_absent) {
    return defined.status();
  }
  // One of many organisations is not there, or has the entity from elsewhere: the others go on.
  const SteadyTime now = clock_.SteadyNow();
  const auto [told, is_new] = told_.try_emplace(org, now);
  if (!is_new && now < told->second + kTellAgain) {
    return nullptr;
  }
  told->second = now;
  absl::Status rejected = Reject(table, {}, change, defined.status());
  if (told_.size() > kToldMax) {
    told_.clear();
  }
  return rejected.ok() ? absl::StatusOr<SchemaPtr>(nullptr) : rejected;
}

absl::StatusOr<std::pair<ChangeWriter::SchemaPtr, DecodedRow>> ChangeWriter::RowOf(
    Table& table, const OrgId& org, const TableChange& change) {
  const auto lacks = [&](const SchemaPtr& schema) {
    return schema == nullptr ||
           std::ranges::any_of(table.mapper.settings().attributes(), [&](const auto& declared) {
             return schema->Find(declared.name()) == nullptr;
           });
  };
  SchemaPtr schema = Find(table, org);
  if (lacks(schema)) {
    ASSIGN_OR_RETURN(schema, Define(table, org, change));
  }
  for (bool again = true; schema != nullptr; again = false) {
    auto row = table.mapper.Row(*schema, change, change.event.after);
    if (!row.ok()) {
      RETURN_IF_ERROR(Reject(table, org, change, row.status()));
      break;
    }
    std::erase_if(row->unknown, [&](const auto& name) { return table.ignored.contains(name); });
    if (row->unknown.empty()) {
      return std::pair(std::move(schema), *std::move(row));
    }
    if (!again) {
      // Defining did not help: an administrator's doing. The row goes without them.
      table.ignored.insert(row->unknown.begin(), row->unknown.end());
      return std::pair(std::move(schema), *std::move(row));
    }
    ASSIGN_OR_RETURN(schema, Define(table, org, change));
  }
  return std::pair(SchemaPtr(), DecodedRow());
}

void ChangeWriter::Add(const OrgId& org, const TableChange& change, v1::Operation op) {
  Batch& batch = batches_[org];
  if (router_.is_on()) {
    // With the version, as what is read in another generation is no repeat.
    const Place& place = (*places_)[change.partition];
    batch.places += fmt::format("{}/{}/{}/{},", place.topic, place.partition.value(),
                                change.offset.value(), op.version());
  }
  ++size_;
  bytes_ += op.row().size() + op.key().size() + kOperationOverhead;
  batch.ops.push_back(std::move(op));
}

void ChangeWriter::NoteSnapshotRow(Table& table, const OrgId& org, const TableChange& change) {
  if (!router_.is_on() || !IsSnapshotRow(change.event)) {
    return;
  }
  if (change.event.snapshot == SnapshotPart::kFirst ||
      change.event.snapshot == SnapshotPart::kFirstOfTable) {
    table.snapshot_orgs.emplace();
  }
  if (table.snapshot_orgs.has_value()) {
    table.snapshot_orgs->insert(org);
    if (table.snapshot_orgs->size() > kSnapshotOrgsMax) {
      table.snapshot_orgs.reset();
    }
  }
}

absl::Status ChangeWriter::Upsert(Table& table, const OrgId& org, const TableChange& change,
                                  int64_t version) {
  ASSIGN_OR_RETURN(auto found, RowOf(table, org, change));
  auto& [schema, row] = found;
  if (schema == nullptr) {
    return absl::OkStatus();
  }
  v1::Operation op;
  op.set_kind(v1::Operation::KIND_UPSERT);
  op.set_entity_id(schema->id().value());
  op.set_version(version);
  for (const schemas::AttributeId id : row.kept) {
    op.add_kept(id.value());
  }
  if (!change.old_key.empty() && !row.kept.empty()) {
    auto old_key = table.mapper.OldKey(*schema, change);
    if (!old_key.ok()) {
      return Reject(table, org, change, old_key.status());
    }
    op.set_kept_from(*old_key == row.key ? std::string() : *std::move(old_key));
  }
  op.set_key(std::move(row.key));
  op.set_row(std::move(row.bytes));
  NoteSnapshotRow(table, org, change);
  Add(org, change, std::move(op));
  return absl::OkStatus();
}

absl::Status ChangeWriter::Delete(Table& table, const OrgId& org, const TableChange& change,
                                  int64_t version) {
  const SchemaPtr schema = Find(table, org);
  if (schema == nullptr) {
    return absl::OkStatus();  // no row of it was ever there
  }
  auto key = table.mapper.DeletedKey(*schema, change);
  if (!key.ok()) {
    return Reject(table, org, change, key.status());
  }
  v1::Operation op;
  op.set_kind(v1::Operation::KIND_DELETE);
  op.set_entity_id(schema->id().value());
  op.set_key(*std::move(key));
  op.set_version(version);
  Add(org, change, std::move(op));
  return absl::OkStatus();
}

absl::Status ChangeWriter::AppendSweep(const OrgId& org, const Table& table,
                                       const SchemaPtr& schema, int64_t version,
                                       std::optional<std::string> cursor) {
  SourceSet set;
  set.org = org;
  if (!org.value().empty()) {
    set.id = fmt::format("{}/sweep/{}/{}", context_.settings.name(), table.mapper.settings().name(),
                         version);
  }
  set.cursor = std::move(cursor);
  if (schema != nullptr) {
    v1::Operation& op = set.ops.emplace_back();
    op.set_kind(v1::Operation::KIND_SWEEP);
    op.set_entity_id(schema->id().value());
    op.set_version(version);
  }
  return set.ops.empty() && !set.cursor.has_value() ? absl::OkStatus()
                                                    : sink_.Append(std::move(set));
}

absl::Status ChangeWriter::Truncate(Table& table, const TableChange& change, int64_t version) {
  if (router_.is_on()) {
    return Reject(table, {}, change,
                  Error(absl::StatusCode::kInvalidArgument, "truncate_of_many",
                        "a table of many organisations was truncated: whose rows are gone is not "
                        "known, so a snapshot has to be taken"));
  }
  // A sweep is alone in its set: what came before it in the transaction goes out before.
  RETURN_IF_ERROR(Flush(std::nullopt));
  generations_->Truncated((*places_)[change.partition].topic, version);
  return AppendSweep({}, table, Find(table, {}), version, std::nullopt);
}

absl::Status ChangeWriter::Apply(const TableChange& change, std::optional<int64_t> set_lsn,
                                 bool repeated) {
  if (change.event.op == ChangeOp::kMessage) {
    return absl::OkStatus();
  }
  if (size_ >= kSetOpsMax - 1 || bytes_ >= kHeldBytesMax) {
    RETURN_IF_ERROR(Flush(std::nullopt));
  }
  Table& table = tables_[(*places_)[change.partition].table];
  metrics_.changes->Increment();
  ASSIGN_OR_RETURN(std::optional<int64_t> version, VersionOf(change, set_lsn));
  if (!version.has_value()) {
    metrics_.stale->Increment();
    return absl::OkStatus();
  }
  // Below what its transaction has written itself: rows do not go back to what they were amid it,
  // and what was missed is made good.
  *version -= repeated ? 1 : 0;
  if (change.event.op == ChangeOp::kTruncate) {
    return Truncate(table, change, *version);
  }
  const absl::StatusOr<OrgId> org = OrgOf(change);
  if (!org.ok()) {
    return Reject(table, {}, change, org.status());
  }
  if (change.event.op == ChangeOp::kDelete) {
    return Delete(table, *org, change, *version);
  }
  if (router_.is_on() && !change.event.before.empty()) {
    const auto former = router_.OrgOf(change.event.before);
    if (former.ok() && *former != *org) {
      RETURN_IF_ERROR(Delete(table, *former, change, *version));
    }
  }
  return Upsert(table, *org, change, *version);
}

absl::Status ChangeWriter::Flush(std::optional<std::string> cursor) {
  for (auto& [org, batch] : batches_) {
    SourceSet set;
    set.org = org;
    if (router_.is_on()) {
      // The same changes have the same id, however often they are read. A replay of Debezium's lies
      // elsewhere, and does nothing by its versions.
      const Sha256Digest digest = Sha256(batch.places);
      set.id = fmt::format("{}/{:016x}{:016x}", context_.settings.name(), DigestWord(digest, 0),
                           DigestWord(digest, 8));
    } else {
      set.cursor = std::exchange(cursor, std::nullopt);
    }
    set.ops = std::move(batch.ops);
    RETURN_IF_ERROR(sink_.Append(std::move(set)));
  }
  batches_.clear();
  size_ = 0;
  bytes_ = 0;
  if (!cursor.has_value()) {
    return absl::OkStatus();
  }
  if (router_.is_on()) {
    RETURN_IF_ERROR(sink_.Flush());  // the cursor is of the home, and must not be there before
  }
  SourceSet set;
  set.cursor = std::move(cursor);
  return sink_.Append(std::move(set));
}

absl::Status ChangeWriter::Sweep(size_t index, int64_t version, std::string cursor) {
  Table& table = tables_[index];
  if (!router_.is_on()) {
    return AppendSweep({}, table, Find(table, {}), version, std::move(cursor));
  }
  for (const OrgId& org : table.snapshot_orgs.value_or(std::set<OrgId>())) {
    RETURN_IF_ERROR(AppendSweep(org, table, Find(table, org), version, std::nullopt));
  }
  table.snapshot_orgs.reset();
  return Flush(std::move(cursor));
}

}  // namespace sluice::gateways

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
constexpr size_t kRejectedKeyBytes = 512;

bool IsSnapshotRow(const ChangeEnvelope& event) {
  return event.snapshot != SnapshotPart::kNone && event.snapshot != SnapshotPart::kIncremental;
}

// Of one organisation of many, rather than of the source.
bool IsOfTheOrg(const absl::Status& status) {
  return absl::IsNotFound(status) || absl::IsFailedPrecondition(status);
}
// Rather than of the run, which it ends.
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
      router_(context.settings.tenants()) {
  for (const v1::SourceEntity& entity : context.settings.entities()) {
    if (!entity.disabled()) {
      tables_.push_back({TableMapper(entity, OwnerIn({})), {}, {}});
    }
  }
}

std::string ChangeWriter::OwnerIn(const OrgId& org) const {
  return org.value().empty() || org == context_.org
             ? fmt::format("debezium:{}", context_.settings.name())
             : fmt::format("debezium:@{}/{}", context_.org.value(), context_.settings.name());
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
  auto definition = table.mapper.Define(Find(table, org).get(), change);
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
  definition->entity.set_source(OwnerIn(org));
  ASSIGN_OR_RETURN(SchemaPtr schema, DefineIn(table, org, change, definition->entity));
  table.schemas[org] = schema;
  return schema;
}

// One of many organisations that is not there, or has the entity from elsewhere, holds up none of
// the others: it is told of once an hour, and is then asked for again.
absl::StatusOr<ChangeWriter::SchemaPtr> ChangeWriter::DefineIn(
    Table& table, const OrgId& org, const TableChange& change,
    const v1::ProvisioningRequest::PutEntity& entity) {
  auto defined = sink_.Define(org, entity);
  if (defined.ok() || !router_.is_on() || !IsOfTheOrg(defined.status())) {
    return defined;
  }
  const SteadyTime now = clock_.SteadyNow();
  if (const auto told = told_.find(org); told != told_.end() && now < told->second + kTellAgain) {
    return nullptr;
  }
  if (context_.settings.tenants().create() && absl::IsNotFound(defined.status())) {
    const absl::Status opened = sink_.OpenOrg(org);
    defined = opened.ok() ? sink_.Define(org, entity) : opened;
    if (defined.ok() || !IsOfTheOrg(defined.status())) {
      return defined;
    }
  }
  if (told_.size() >= kToldMax) {
    told_.clear();
  }
  told_[org] = now;
  RETURN_IF_ERROR(Reject(table, {}, change, defined.status()));
  return nullptr;
}

absl::StatusOr<std::pair<ChangeWriter::SchemaPtr, DecodedRow>> ChangeWriter::RowOf(
    Table& table, const OrgId& org, const TableChange& change) {
  const auto lacks = [&](const SchemaPtr& schema) {
    // One that is another's is asked for, too, and refused: its rows are not this source's.
    return schema == nullptr || schema->proto().source() != OwnerIn(org) ||
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

absl::Status ChangeWriter::Upsert(Table& table, const OrgId& org, const TableChange& change,
                                  int64_t version) {
  ASSIGN_OR_RETURN(auto found, RowOf(table, org, change));
  auto& [schema, row] = found;
  if (schema == nullptr) {
    return IsSnapshotRow(change.event) ? Touch(table, org, change, version) : absl::OkStatus();
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
  Add(org, change, std::move(op));
  return absl::OkStatus();
}

absl::Status ChangeWriter::Touch(Table& table, const OrgId& org, const TableChange& change,
                                 int64_t version) {
  const SchemaPtr schema = Find(table, org);
  if (schema == nullptr || schema->proto().source() != OwnerIn(org)) {
    return absl::OkStatus();
  }
  auto key = table.mapper.DeletedKey(*schema, change);
  if (!key.ok()) {
    return absl::OkStatus();  // that it can't be told was said with the row
  }
  v1::Operation op;
  op.set_kind(v1::Operation::KIND_TOUCH);
  op.set_entity_id(schema->id().value());
  op.set_key(*std::move(key));
  op.set_version(version);
  Add(org, change, std::move(op));
  return absl::OkStatus();
}

absl::Status ChangeWriter::Delete(Table& table, const OrgId& org, const TableChange& change,
                                  int64_t version) {
  const SchemaPtr schema = Find(table, org);
  if (schema == nullptr || schema->proto().source() != OwnerIn(org)) {
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

absl::Status ChangeWriter::Append(SourceSet set) {
  const bool is_one_of_many = !set.org.value().empty();
  const absl::Status status = sink_.Append(std::move(set));
  return is_one_of_many && absl::IsNotFound(status) ? absl::OkStatus() : status;
}

absl::Status ChangeWriter::SweepTable(const Table& table, int64_t version, std::string_view why) {
  const std::string& entity = table.mapper.settings().name();
  const auto sweep = [&](const OrgId& org) {
    const SchemaPtr schema = sink_.Find(org, entity);
    if (schema == nullptr || schema->proto().source() != OwnerIn(org)) {
      return absl::OkStatus();
    }
    SourceSet set;
    set.org = org;
    if (router_.is_on()) {
      set.id = fmt::format("{}/sweep/{}/{}/{}", context_.settings.name(), entity, version, why);
    }
    v1::Operation& op = set.ops.emplace_back();
    op.set_kind(v1::Operation::KIND_SWEEP);
    op.set_entity_id(schema->id().value());
    op.set_version(version);
    return Append(std::move(set));
  };
  return router_.is_on() ? sink_.ForEachOrg(entity, sweep) : sweep({});
}

absl::Status ChangeWriter::Truncate(Table& table, const TableChange& change, int64_t version) {
  // A sweep is alone in its set: what came before it in the transaction goes out before.
  RETURN_IF_ERROR(Flush(std::nullopt));
  const Place& place = (*places_)[change.partition];
  generations_->Truncated(place.topic, version);
  // A transaction may truncate twice, and what it wrote between goes, too.
  return SweepTable(table, version,
                    fmt::format("{}/{}", place.partition.value(), change.offset.value()));
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
    RETURN_IF_ERROR(Append(std::move(set)));
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
  RETURN_IF_ERROR(SweepTable(tables_[index], version, "snapshot"));
  return Flush(std::move(cursor));
}

}  // namespace sluice::gateways

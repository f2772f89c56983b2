// The operations of LocalDatabase: rows, and which buckets hold them.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

// A first load is kept after a quarter more than what is here already, within these bounds: what a
// crash makes it receive again. More often costs more than it saves, since every time most pages of
// the indexes are written: a million rows came at 47 % of raw inserts with every 50,000 kept.
constexpr uint64_t kOpsKeptMin = 10'000;
constexpr uint64_t kOpsKeptMax = 500'000;
constexpr uint64_t kBytesKeptMax = 128 << 20;
// And of what is on its way into the file, in memory.
constexpr size_t kBufferBytesMax = 16 << 20;

absl::Status SchemaChanged(std::string_view what, std::string_view entity) {
  return Error(
      absl::StatusCode::kUnavailable, "schema_changed",
      fmt::format("a row of entity \"{}\" came with {} that the server no longer shows: it "
                  "has to be asked anew",
                  entity, what));
}

absl::Status NoBucket() {
  return Error(absl::StatusCode::kInternal, "internal",
               "an operation outside of a transaction, or of no bucket");
}

}  // namespace

absl::Status LocalDatabase::SelectBucket(std::string_view name) {
  if (!InTransaction()) {
    return NoBucket();
  }
  if (const auto it = buckets_.find(name); it != buckets_.end()) {
    selected_ = &it->second;
    return absl::OkStatus();
  }
  const bool before = std::exchange(unfinished_, true);
  ASSIGN_OR_RETURN(Statement insert,
                   Statement::Prepare(db_.get(),
                                      "INSERT INTO _sluice_bucket(bucket, after, count, checksum) "
                                      "VALUES(?, -1, 0, 0)"));
  insert.BindText(1, name);
  RETURN_IF_ERROR(insert.Run());
  Bucket bucket;
  bucket.id = sqlite3_last_insert_rowid(db_.get());
  selected_ = &buckets_.emplace(std::string(name), bucket).first->second;
  unfinished_ = before;
  return absl::OkStatus();
}

absl::Status LocalDatabase::Drop(const std::vector<std::string>& buckets) {
  std::string ids;
  for (const std::string& name : buckets) {
    if (const auto it = buckets_.find(name); it != buckets_.end()) {
      fmt::format_to(std::back_inserter(ids), "{}{}", ids.empty() ? "" : ",", it->second.id);
    }
  }
  if (ids.empty()) {
    return absl::OkStatus();
  }
  if (!InTransaction()) {
    return NoBucket();
  }
  const bool before = std::exchange(unfinished_, true);
  RETURN_IF_ERROR(WriteBuffered());
  std::unordered_map<int64_t, LocalTable*> by_id;
  for (auto& [name, table] : tables_) {
    by_id.emplace(table.id(), &table);
  }
  for (NamedTable& table : tables_) {
    RETURN_IF_ERROR(Prepared(table));
  }
  {
    ASSIGN_OR_RETURN(
        Statement unheld,
        Statement::Prepare(
            db_.get(),
            fmt::format("SELECT m.entity, m.key FROM _sluice_member m WHERE m.bucket IN ({0}) AND "
                        "NOT EXISTS(SELECT 1 FROM _sluice_member o WHERE o.entity=m.entity AND "
                        "o.key=m.key AND o.bucket NOT IN ({0}))",
                        ids)));
    while (true) {
      ASSIGN_OR_RETURN(const bool more, unheld.Step());
      if (!more) {
        break;
      }
      if (const auto it = by_id.find(unheld.Int(0)); it != by_id.end()) {
        RETURN_IF_ERROR(RemoveRow(*it->second, unheld.Text(1), true));
      }
    }
  }
  RETURN_IF_ERROR(
      Execute(db_.get(), fmt::format("DELETE FROM _sluice_member WHERE bucket IN ({})", ids)));
  RETURN_IF_ERROR(
      Execute(db_.get(), fmt::format("DELETE FROM _sluice_bucket WHERE id IN ({})", ids)));
  selected_ = nullptr;
  for (const std::string& name : buckets) {
    if (const auto it = buckets_.find(name); it != buckets_.end()) {
      from_before_.erase(it->second.id);
      buckets_.erase(it);
    }
    stale_.erase(name);
  }
  unfinished_ = before;
  return absl::OkStatus();
}

absl::Status LocalDatabase::Reset(std::string_view bucket) {
  RETURN_IF_ERROR(Drop({std::string(bucket)}));
  resets_seen_ = true;
  history_ = goes_on_ || from_before_.empty() ? announced_history_ : base_history_;
  return SelectBucket(bucket);
}

absl::StatusOr<LocalDatabase::NamedTable*> LocalDatabase::TableForPut(std::string_view entity) {
  if (last_put_ == nullptr || last_put_->first != entity) {
    auto it = schema_seen_ ? tables_.find(entity) : tables_.end();
    if (it == tables_.end()) {
      if (columns_given_) {
        return SchemaChanged("a name", entity);
      }
      RETURN_IF_ERROR(RefreshSchema());
      it = tables_.find(entity);
    }
    if (it == tables_.end()) {
      return SchemaChanged("a name", entity);
    }
    last_put_ = &*it;
  }
  RETURN_IF_ERROR(Prepared(*last_put_));
  return last_put_;
}

absl::Status LocalDatabase::Prepared(NamedTable& table) {
  return table.second.prepared() ? absl::OkStatus()
                                 : table.second.PrepareFor(db_.get(), FileTable(table.second));
}

absl::Status LocalDatabase::Put(std::string_view entity, std::string_view key,
                                std::string_view position, const std::vector<RowValue>& row) {
  if (selected_ == nullptr) {
    return NoBucket();
  }
  unfinished_ = true;
  const size_t before = buffer_.size();
  ASSIGN_OR_RETURN(NamedTable * table, TableForPut(entity));
  if (!buffer_.AddPut(table, selected_, key, position, row)) {
    if (columns_given_) {
      return SchemaChanged("an attribute", entity);
    }
    RETURN_IF_ERROR(RefreshSchema());
    ASSIGN_OR_RETURN(table, TableForPut(entity));
    if (!buffer_.AddPut(table, selected_, key, position, row)) {
      // Not skipped: an answer from a server that is behind would lose the values for good.
      return SchemaChanged("an attribute", entity);
    }
  }
  ++ops_since_commit_;
  bytes_since_commit_ += buffer_.size() - std::min(before, buffer_.size());
  return buffer_.size() < kBufferBytesMax ? absl::OkStatus() : WriteBuffered();
}

absl::Status LocalDatabase::Remove(std::string_view entity, std::string_view key) {
  if (selected_ == nullptr) {
    return NoBucket();
  }
  const auto it = tables_.find(entity);
  if (it == tables_.end()) {
    return absl::OkStatus();  // nothing of it was ever here
  }
  unfinished_ = true;
  RETURN_IF_ERROR(Prepared(*it));
  buffer_.AddRemove(&*it, selected_, key);
  ++ops_since_commit_;
  return buffer_.size() < kBufferBytesMax ? absl::OkStatus() : WriteBuffered();
}

absl::Status LocalDatabase::FrameDone(int64_t to) {
  if (selected_ == nullptr) {
    return NoBucket();
  }
  selected_->after = to;
  selected_->changed = true;
  unfinished_ = false;
  goes_on_ = goes_on_ || !resets_seen_ || from_before_.contains(selected_->id);
  if (goes_on_ || from_before_.empty()) {
    history_ = announced_history_;
  }
  // Rows that are to come again must not be kept without what says so.
  return position_ < 0 && stale_.empty() ? KeepPlace() : absl::OkStatus();
}

absl::Status LocalDatabase::KeepPlace() {
  const bool few = ops_since_commit_ < kOpsKeptMin;  // large ones, if they have many bytes
  if (bytes_since_commit_ < (few ? kBufferBytesMax : kBytesKeptMax) &&
      (few || ops_since_commit_ < std::min(rows_held() / 4, kOpsKeptMax))) {
    return absl::OkStatus();
  }
  ops_since_commit_ = 0;
  bytes_since_commit_ = 0;
  unfinished_ = true;
  RETURN_IF_ERROR(SaveBuckets());
  RETURN_IF_ERROR(Execute(db_.get(), "COMMIT"));
  RETURN_IF_ERROR(Execute(db_.get(), "BEGIN IMMEDIATE"));
  unfinished_ = false;
  return absl::OkStatus();
}

}  // namespace sluice::client

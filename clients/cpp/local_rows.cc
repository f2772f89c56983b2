// The operations of LocalDatabase: rows, and which buckets hold them.
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "clients/cpp/local_database.h"
#include "schemas/status.h"

namespace sluice::client {
namespace {

// A first load is kept after this many operations: what a crash makes it receive again.
constexpr uint64_t kOpsPerCommit = 10'000;
// Memberships that wait to be written together.
constexpr size_t kPendingMax = 50'000;
constexpr size_t kPendingBytesMax = 8 << 20;

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

// The checksum's term of one row: API section 3.2.
uint64_t LocalDatabase::RowTerm(std::string_view entity, std::string_view key,
                                std::string_view position) {
  term_bytes_.assign(entity).push_back('\0');
  term_bytes_.append(key).push_back('\0');
  term_bytes_.append(position);
  return XXH64(term_bytes_.data(), term_bytes_.size(), 0);
}

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
  RETURN_IF_ERROR(WritePending());
  std::unordered_map<int64_t, LocalTable*> by_id;
  for (auto& [name, table] : tables_) {
    if (!table.prepared()) {
      RETURN_IF_ERROR(table.PrepareFor(db_.get(), FileTable(name)));
    }
    by_id.emplace(table.id(), &table);
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
        RETURN_IF_ERROR(it->second->RemoveRow(unheld.Text(1)));
      }
    }
  }
  RETURN_IF_ERROR(
      Execute(db_.get(), fmt::format("DELETE FROM _sluice_member WHERE bucket IN ({})", ids)));
  RETURN_IF_ERROR(
      Execute(db_.get(), fmt::format("DELETE FROM _sluice_bucket WHERE id IN ({})", ids)));
  selected_ = nullptr;
  for (const std::string& name : buckets) {
    buckets_.erase(name);
  }
  unfinished_ = before;
  return absl::OkStatus();
}

absl::StatusOr<LocalDatabase::NamedTable*> LocalDatabase::TableForPut(std::string_view entity) {
  if (last_put_ == nullptr || last_put_->first != entity) {
    auto it = schema_seen_ ? tables_.find(entity) : tables_.end();
    if (it == tables_.end()) {
      RETURN_IF_ERROR(RefreshSchema());
      it = tables_.find(entity);
    }
    if (it == tables_.end()) {
      return SchemaChanged("a name", entity);
    }
    last_put_ = &*it;
  }
  LocalTable& table = last_put_->second;
  if (!table.prepared()) {
    RETURN_IF_ERROR(table.PrepareFor(db_.get(), FileTable(entity)));
  }
  return last_put_;
}

absl::StatusOr<LocalDatabase::NamedTable*> LocalDatabase::WriteRow(
    std::string_view entity, std::string_view key, const std::vector<RowValue>& row) {
  ASSIGN_OR_RETURN(NamedTable * table, TableForPut(entity));
  if (!table->second.Bind(key, row)) {
    RETURN_IF_ERROR(RefreshSchema());
    ASSIGN_OR_RETURN(table, TableForPut(entity));
    if (!table->second.Bind(key, row)) {
      // Not skipped: an answer from a server that is behind would lose the values for good.
      return SchemaChanged("an attribute", entity);
    }
  }
  RETURN_IF_ERROR(table->second.PutRow());
  return table;
}

absl::Status LocalDatabase::Put(std::string_view entity, std::string_view key,
                                std::string_view position, const std::vector<RowValue>& row) {
  if (selected_ == nullptr) {
    return NoBucket();
  }
  unfinished_ = true;
  ASSIGN_OR_RETURN(const NamedTable* const table, WriteRow(entity, key, row));
  ++ops_since_commit_;
  pending_.push_back({table, selected_, pending_bytes_.size(), key.size(), position.size()});
  pending_bytes_.append(key).append(position);
  return pending_.size() < kPendingMax && pending_bytes_.size() < kPendingBytesMax
             ? absl::OkStatus()
             : WritePending();
}

// In the order of the index: neighbours share its pages, so that a batch costs half of what its
// rows cost one by one.
absl::Status LocalDatabase::WritePending() {
  const auto key = [this](const PendingMember& m) {
    return std::string_view(pending_bytes_).substr(m.at, m.key_size);
  };
  // Of one row in one bucket the later stays the later, by where its bytes are.
  std::sort(pending_.begin(), pending_.end(), [&](const auto& a, const auto& b) {
    if (a.table != b.table) {
      return a.table->second.id() < b.table->second.id();
    }
    if (const int order = key(a).compare(key(b)); order != 0) {
      return order < 0;
    }
    return a.bucket != b.bucket ? a.bucket->id < b.bucket->id : a.at < b.at;
  });
  for (const PendingMember& member : pending_) {
    RETURN_IF_ERROR(WriteMember(member, key(member),
                                std::string_view(pending_bytes_)
                                    .substr(member.at + member.key_size, member.position_size)));
  }
  pending_.clear();
  pending_bytes_.clear();
  return absl::OkStatus();
}

absl::Status LocalDatabase::WriteMember(const PendingMember& member, std::string_view key,
                                        std::string_view position) {
  const auto& [entity, table] = *member.table;
  Bucket& bucket = *member.bucket;
  bucket.changed = true;
  bucket.checksum += RowTerm(entity, key, position);
  add_member_->BindInt(1, table.id());
  add_member_->BindText(2, key);
  add_member_->BindInt(3, bucket.id);
  add_member_->BindText(4, position);
  RETURN_IF_ERROR(add_member_->Run());
  if (sqlite3_changes(db_.get()) != 0) {
    ++bucket.count;
    return absl::OkStatus();
  }
  // The bucket holds the row already, at an earlier position.
  find_member_->BindInt(1, table.id());
  find_member_->BindText(2, key);
  find_member_->BindInt(3, bucket.id);
  ASSIGN_OR_RETURN(const bool known, find_member_->Step());
  if (known) {
    bucket.checksum -= RowTerm(entity, key, find_member_->Text(0));
  }
  find_member_->Reset();
  move_member_->BindText(1, position);
  move_member_->BindInt(2, table.id());
  move_member_->BindText(3, key);
  move_member_->BindInt(4, bucket.id);
  return move_member_->Run();
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
  RETURN_IF_ERROR(WritePending());
  LocalTable& table = it->second;
  if (!table.prepared()) {
    RETURN_IF_ERROR(table.PrepareFor(db_.get(), FileTable(entity)));
  }
  find_member_->BindInt(1, table.id());
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
  ++ops_since_commit_;
  remove_member_->BindInt(1, table.id());
  remove_member_->BindText(2, key);
  remove_member_->BindInt(3, selected_->id);
  RETURN_IF_ERROR(remove_member_->Run());
  other_member_->BindInt(1, table.id());
  other_member_->BindText(2, key);
  ASSIGN_OR_RETURN(const bool held, other_member_->Step());
  other_member_->Reset();
  return held ? absl::OkStatus() : table.RemoveRow(key);
}

absl::Status LocalDatabase::FrameDone(int64_t to) {
  if (selected_ == nullptr) {
    return NoBucket();
  }
  selected_->after = to;
  selected_->changed = true;
  unfinished_ = false;
  if (position_ >= 0 || ops_since_commit_ < kOpsPerCommit) {
    return absl::OkStatus();
  }
  ops_since_commit_ = 0;
  unfinished_ = true;
  RETURN_IF_ERROR(SaveBuckets());
  RETURN_IF_ERROR(Execute(db_.get(), "COMMIT"));
  RETURN_IF_ERROR(Execute(db_.get(), "BEGIN IMMEDIATE"));
  unfinished_ = false;
  return absl::OkStatus();
}

}  // namespace sluice::client

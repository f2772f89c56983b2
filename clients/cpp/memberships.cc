#include "clients/cpp/memberships.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "schemas/base/status.h"

namespace sluice::client {
namespace {

// Of rows that went with buckets, what is remembered of a checkpoint: about 12 MiB.
constexpr size_t kGoneMax = 1 << 18;

// One INSERT of so many rows; the entity is the first parameter of all.
std::string AddMembersSql(size_t rows) {
  std::string sql = "INSERT OR IGNORE INTO _sluice_member VALUES";
  for (size_t i = 0; i < rows; ++i) {
    sql += fmt::format("{}(?1,?{},?{},?{})", i == 0 ? "" : ",", 3 * i + 2, 3 * i + 3, 3 * i + 4);
  }
  return sql;
}

uint64_t HashOf(const LocalTable& table, std::string_view key) {
  return XXH64(key.data(), key.size(), static_cast<uint64_t>(table.id()));
}

}  // namespace

absl::Status Memberships::PrepareStatements() {
  const std::pair<std::optional<Statement>*, std::string> statements[] = {
      {&add_members_, AddMembersSql(kRowsAtOnce)},
      {&put_member_, "INSERT OR REPLACE INTO _sluice_member VALUES(?,?,?,?)"},
      {&find_members_, "SELECT bucket, position FROM _sluice_member WHERE entity=? AND key=?"},
      {&remove_member_, "DELETE FROM _sluice_member WHERE entity=? AND key=? AND bucket=?"}};
  for (const auto& [statement, sql] : statements) {
    ASSIGN_OR_RETURN(*statement, Statement::Prepare(db_, sql));
  }
  return absl::OkStatus();
}

absl::Status Memberships::Load(int64_t position) {
  Clear();
  RETURN_IF_ERROR(PrepareStatements());
  ASSIGN_OR_RETURN(
      Statement buckets,
      Statement::Prepare(db_, "SELECT id, bucket, after, count, checksum FROM _sluice_bucket"));
  RETURN_IF_ERROR(buckets.ForEachRow([&] {
    // Only buckets that changed are written; every bucket of a complete checkpoint is at it.
    buckets_.emplace(std::string(buckets.Text(1)),
                     LocalBucket{buckets.Int(0), position >= 0 ? position : buckets.Int(2),
                                 static_cast<uint64_t>(buckets.Int(3)),
                                 static_cast<uint64_t>(buckets.Int(4)), false});
  }));
  StartFromHere();
  return absl::OkStatus();
}

void Memberships::Clear() {
  for (std::optional<Statement>* statement :
       {&add_members_, &put_member_, &find_members_, &remove_member_}) {
    statement->reset();
  }
  buffer_.Clear();
  selected_ = nullptr;
  buckets_.clear();
  from_before_.clear();
  stale_.clear();
  pending_ = {};
  gone_.clear();
}

void Memberships::StartFromHere() {
  from_before_.clear();
  for (const auto& [name, bucket] : buckets_) {
    if (bucket.after >= 0) {
      from_before_.insert(bucket.id);
    }
  }
}

std::map<std::string, int64_t, std::less<>> Memberships::Have() const {
  std::map<std::string, int64_t, std::less<>> have;
  for (const auto& [name, bucket] : buckets_) {
    have.emplace(name, bucket.after);
  }
  return have;
}

uint64_t Memberships::rows_held() const {
  uint64_t rows = buffer_.puts();
  for (const auto& [name, bucket] : buckets_) {
    rows += bucket.count;
  }
  return rows;
}

absl::Status Memberships::Select(std::string_view name) {
  if (const auto it = buckets_.find(name); it != buckets_.end()) {
    selected_ = &*it;
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(ExecuteWith(
      db_, "INSERT INTO _sluice_bucket(bucket, after, count, checksum) VALUES(?, -1, 0, 0)", name));
  LocalBucket bucket;
  bucket.id = sqlite3_last_insert_rowid(db_);
  selected_ = &*buckets_.emplace(std::string(name), bucket).first;
  return absl::OkStatus();
}

const std::string* Memberships::SelectedAndNew() const {
  return selected_ != nullptr && selected_->second.after < 0 ? &selected_->first : nullptr;
}

absl::Status Memberships::Prepared(NamedTable& table) {
  return table.second.prepared()
             ? absl::OkStatus()
             : table.second.PrepareFor(db_, policy_.TableName(table.second.file_name()));
}

absl::StatusOr<bool> Memberships::Put(NamedTable& table, std::string_view key,
                                      std::string_view position, const std::vector<RowValue>& row) {
  RETURN_IF_ERROR(Prepared(table));
  return buffer_.AddPut(&table, &selected_->second, key, position, row);
}

absl::Status Memberships::Remove(NamedTable& table, std::string_view key) {
  RETURN_IF_ERROR(Prepared(table));
  buffer_.AddRemove(&table, &selected_->second, key);
  return absl::OkStatus();
}

void Memberships::Loaded(int64_t to) {
  selected_->second.after = to;
  selected_->second.changed = true;
}

absl::Status Memberships::Drop(const std::vector<std::string>& buckets) {
  std::string ids;
  for (const std::string& name : buckets) {
    if (const auto it = buckets_.find(name); it != buckets_.end()) {
      fmt::format_to(std::back_inserter(ids), "{}{}", ids.empty() ? "" : ",", it->second.id);
    }
  }
  if (ids.empty()) {
    return absl::OkStatus();
  }
  // What is buffered first: an operation of a bucket that stays may be what holds a row. Then the
  // rows, as long as the memberships tell which no other bucket holds, and the memberships last.
  RETURN_IF_ERROR(Write());
  RETURN_IF_ERROR(RemoveUnheld(ids));
  RETURN_IF_ERROR(
      Execute(db_, fmt::format("DELETE FROM _sluice_member WHERE bucket IN ({})", ids)));
  RETURN_IF_ERROR(Execute(db_, fmt::format("DELETE FROM _sluice_bucket WHERE id IN ({})", ids)));
  selected_ = nullptr;
  for (const std::string& name : buckets) {
    if (const auto it = buckets_.find(name); it != buckets_.end()) {
      from_before_.erase(it->second.id);
      buckets_.erase(it);
    }
    stale_.erase(name);
  }
  return absl::OkStatus();
}

// The rows that only buckets of `ids` hold go from their tables.
absl::Status Memberships::RemoveUnheld(const std::string& ids) {
  std::unordered_map<int64_t, LocalTable*> by_id;
  for (NamedTable& table : tables_) {
    RETURN_IF_ERROR(Prepared(table));
    by_id.emplace(table.second.id(), &table.second);
  }
  ASSIGN_OR_RETURN(
      Statement unheld,
      Statement::Prepare(
          db_, fmt::format("SELECT m.entity, m.key FROM _sluice_member m WHERE m.bucket IN ({0}) "
                           "AND NOT EXISTS(SELECT 1 FROM _sluice_member o WHERE "
                           "o.entity=m.entity AND o.key=m.key AND o.bucket NOT IN ({0}))",
                           ids)));
  while (true) {
    ASSIGN_OR_RETURN(const bool more, unheld.Step());
    if (!more) {
      return absl::OkStatus();
    }
    if (const auto it = by_id.find(unheld.Int(0)); it != by_id.end()) {
      RETURN_IF_ERROR(RemoveRow(*it->second, unheld.Text(1), true));
    }
  }
}

absl::Status Memberships::SaveBuckets() {
  ASSIGN_OR_RETURN(
      Statement save,
      Statement::Prepare(db_, "UPDATE _sluice_bucket SET after=?, count=?, checksum=? WHERE id=?"));
  for (auto& [name, bucket] : buckets_) {
    if (!std::exchange(bucket.changed, false)) {
      continue;
    }
    save.BindAll(bucket.after, static_cast<int64_t>(bucket.count),
                 static_cast<int64_t>(bucket.checksum), bucket.id);
    RETURN_IF_ERROR(save.Run());
  }
  return absl::OkStatus();
}

bool Memberships::Differs(const BucketSummary& announced) const {
  const auto it = buckets_.find(announced.bucket);
  const LocalBucket empty;
  const LocalBucket& held = it == buckets_.end() ? empty : it->second;
  return held.count != announced.count || held.checksum != announced.checksum ||
         stale_.contains(announced.bucket);
}

absl::StatusOr<std::vector<std::string>> Memberships::HoldersOf(int64_t entity) const {
  ASSIGN_OR_RETURN(
      Statement holders,
      Statement::Prepare(db_,
                         "SELECT bucket FROM _sluice_bucket WHERE id IN (SELECT DISTINCT "
                         "bucket FROM _sluice_member WHERE entity=?)",
                         entity));
  std::vector<std::string> names;
  RETURN_IF_ERROR(holders.ForEachRow([&] { names.emplace_back(holders.Text(0)); }));
  return names;
}

void Memberships::MarkStale(const std::vector<std::string>& buckets) {
  stale_.insert(buckets.begin(), buckets.end());
}

void Memberships::Completed(int64_t position) {
  for (auto& [name, bucket] : buckets_) {
    bucket.after = position;
  }
  pending_ = {};
  gone_.clear();
  buffer_ = RowBuffer();  // gives its memory back
  selected_ = nullptr;
  StartFromHere();
}

// The checksum's term of one row: gateways/docs/api.md, section 3.2.
uint64_t Memberships::RowTerm(std::string_view entity, std::string_view key,
                              std::string_view position) {
  term_bytes_.assign(entity).push_back('\0');
  term_bytes_.append(key).push_back('\0');
  term_bytes_.append(position);
  return XXH64(term_bytes_.data(), term_bytes_.size(), 0);
}

absl::Status Memberships::Write() {
  if (buffer_.empty()) {
    return absl::OkStatus();
  }
  const std::vector<uint32_t> order = buffer_.Sorted();
  std::vector<uint32_t> new_rows;
  size_t rows = 0;
  rows_met_ = 0;
  for (size_t at = 0, end = 0; at < order.size(); at = end, ++rows) {
    const RowBuffer::Op& first = buffer_.op(order[at]);
    const std::string_view key = buffer_.key(first);
    for (end = at + 1; end < order.size(); ++end) {
      const RowBuffer::Op& next = buffer_.op(order[end]);
      if (next.table != first.table || buffer_.key(next) != key) {
        break;
      }
    }
    if (!new_rows.empty() && buffer_.op(new_rows.front()).table != first.table) {
      RETURN_IF_ERROR(MergeEach(&new_rows));
    }
    // Tables with hundreds of columns gain nothing by it.
    if (!policy_.ExpectsNew() || end - at > 1 || !first.put || !first.table->second.InsertsRows()) {
      RETURN_IF_ERROR(MergeRow(std::span(order).subspan(at, end - at)));
      continue;
    }
    new_rows.push_back(order[at]);
    if (new_rows.size() == kRowsAtOnce) {
      RETURN_IF_ERROR(WriteNewRows(&new_rows));
    }
  }
  RETURN_IF_ERROR(MergeEach(&new_rows));
  policy_.Wrote(rows, rows_met_);
  buffer_.Clear();  // not before all of it is written: operations refer to its bytes
  return absl::OkStatus();
}

// Rows of one table that probably nothing is known of: so nobody looks. The rows before their
// members: where one was there the statement has left it as it was, and all of them are merged one
// by one, for which no member may say yet that this bucket holds them.
absl::Status Memberships::WriteNewRows(std::vector<uint32_t>* rows) {
  NamedTable& table = *buffer_.op(rows->front()).table;
  std::vector<BufferedRow> values;
  values.reserve(rows->size());
  for (const uint32_t index : *rows) {
    const RowBuffer::Op& op = buffer_.op(index);
    values.push_back({buffer_.key(op), buffer_.cells(op)});
  }
  ASSIGN_OR_RETURN(const bool all_new, table.second.InsertRows(values, buffer_.bytes()));
  if (!all_new) {
    return MergeEach(rows);
  }
  add_members_->BindInt(1, table.second.id());
  int at = 1;
  for (const uint32_t index : *rows) {
    const RowBuffer::Op& op = buffer_.op(index);
    op.bucket->changed = true;
    op.bucket->checksum += RowTerm(table.first, buffer_.key(op), buffer_.position(op));
    ++op.bucket->count;
    add_members_->BindText(++at, buffer_.key(op));
    add_members_->BindInt(++at, op.bucket->id);
    add_members_->BindText(++at, buffer_.position(op));
  }
  RETURN_IF_ERROR(add_members_->Run());
  if (static_cast<size_t>(sqlite3_changes(db_)) != rows->size()) {
    return Error(
        absl::StatusCode::kDataLoss, "database_corrupt",
        fmt::format("buckets hold rows that table {} lacks: remove the file and pull again",
                    table.first));
  }
  rows->clear();
  return absl::OkStatus();
}

absl::Status Memberships::MergeEach(std::vector<uint32_t>* rows) {
  for (const uint32_t& index : *rows) {
    RETURN_IF_ERROR(MergeRow(std::span(&index, 1)));
  }
  rows->clear();
  return absl::OkStatus();
}

// The operations of one row, the oldest first, on top of what is in the file. A row and its members
// are written in one transaction, so a crash between the two leaves both as they were; an error
// does too, since the caller rolls back.
absl::Status Memberships::MergeRow(std::span<const uint32_t> ops) {
  const RowBuffer::Op& first = buffer_.op(ops.front());
  LocalTable& table = first.table->second;
  const std::string_view key = buffer_.key(first);
  RETURN_IF_ERROR(ReadMembers(table.id(), key));
  const bool was_held = !members_.empty();
  rows_met_ += was_held ? 1 : 0;
  const RowBuffer::Op* content = nullptr;
  for (const uint32_t index : ops) {
    const RowBuffer::Op& op = buffer_.op(index);
    if (!op.put) {
      MergeRemove(op);
    } else if (MergePut(op)) {
      content = &op;
    }
  }
  RETURN_IF_ERROR(WriteMembers(table.id(), key));
  const bool is_held = std::any_of(members_.begin(), members_.end(),
                                   [](const Member& member) { return member.held; });
  if (!is_held) {
    return was_held ? RemoveRow(table, key, false) : absl::OkStatus();
  }
  if (content == nullptr) {
    return absl::OkStatus();
  }
  CountPut(table, key, was_held);
  return table.PutRow({key, buffer_.cells(*content)}, buffer_.bytes());
}

absl::Status Memberships::RemoveRow(LocalTable& table, std::string_view key, bool with_bucket) {
  ASSIGN_OR_RETURN(const bool there, table.RemoveRow(key));
  if (there && !policy_.first_load()) {
    ++pending_.removed;
    if (with_bucket && gone_.size() < kGoneMax) {
      gone_.insert(HashOf(table, key));
    }
  }
  return absl::OkStatus();
}

void Memberships::CountPut(const LocalTable& table, std::string_view key, bool was_held) {
  if (policy_.first_load()) {
    return;
  }
  const bool is_back = !was_held && !gone_.empty() && gone_.erase(HashOf(table, key)) > 0;
  pending_.removed -= is_back ? 1 : 0;
  ++(was_held || is_back ? pending_.changed : pending_.inserted);
}

// True where the row is to be as the operation has it: no other bucket holds it as it was later, or
// at the same position, which is the same row. But a bucket that is sent from its start on this
// connection brings the row as it is now, whatever buckets from before the connection hold of it:
// their positions may be another history's, in which they mean other rows, and the server resets
// them in any order. In one history both are the same row.
bool Memberships::MergePut(const RowBuffer::Op& op) {
  const std::string_view key = buffer_.key(op);
  const std::string_view position = buffer_.position(op);
  LocalBucket& bucket = *op.bucket;
  Member* own = nullptr;
  bool newest = true;
  const bool anew = !from_before_.contains(bucket.id);
  for (Member& member : members_) {
    if (member.bucket == bucket.id) {
      own = &member;
    } else if (member.held && !(anew && from_before_.contains(member.bucket)) &&
               PositionOrder(member.position) >= PositionOrder(position)) {
      newest = false;
    }
  }
  bucket.changed = true;
  bucket.checksum += RowTerm(op.table->first, key, position);
  if (own == nullptr) {
    members_.push_back({bucket.id, std::string(position), true, false, true});
    ++bucket.count;
    return newest;
  }
  if (own->held) {
    bucket.checksum -= RowTerm(op.table->first, key, own->position);
  } else {
    ++bucket.count;
  }
  own->changed = own->changed || !own->held || own->position != position;
  own->held = true;
  own->position = position;
  return newest;
}

void Memberships::MergeRemove(const RowBuffer::Op& op) {
  LocalBucket& bucket = *op.bucket;
  const auto own = std::find_if(members_.begin(), members_.end(), [&bucket](const Member& member) {
    return member.bucket == bucket.id && member.held;
  });
  if (own == members_.end()) {
    return;
  }
  bucket.changed = true;
  bucket.checksum -= RowTerm(op.table->first, buffer_.key(op), own->position);
  --bucket.count;
  own->held = false;
  own->changed = true;
}

absl::Status Memberships::ReadMembers(int64_t entity, std::string_view key) {
  members_.clear();
  find_members_->BindAll(entity, key);
  return find_members_->ForEachRow([this] {
    members_.push_back(
        {find_members_->Int(0), std::string(find_members_->Text(1)), true, true, false});
  });
}

absl::Status Memberships::WriteMembers(int64_t entity, std::string_view key) {
  for (const Member& member : members_) {
    if (!member.changed || (!member.held && !member.stored)) {
      continue;
    }
    Statement& statement = member.held ? *put_member_ : *remove_member_;
    statement.BindInt(1, entity);
    statement.BindText(2, key);
    statement.BindInt(3, member.bucket);
    if (member.held) {
      statement.BindText(4, member.position);
    }
    RETURN_IF_ERROR(statement.Run());
  }
  return absl::OkStatus();
}

}  // namespace sluice::client

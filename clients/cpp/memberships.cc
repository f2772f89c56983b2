// How what LocalDatabase has buffered goes into the file: rows, and which buckets hold them.
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <utility>

#include "clients/cpp/local_database.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

// A first load stops to look rows up in advance where fewer than one of so many was there.
constexpr size_t kNewPerMet = 16;
// Of rows that went with buckets, what is remembered of a checkpoint: about 12 MiB.
constexpr size_t kGoneMax = 1 << 18;

uint64_t HashOf(const LocalTable& table, std::string_view key) {
  return XXH64(key.data(), key.size(), static_cast<uint64_t>(table.id()));
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

absl::Status LocalDatabase::WriteBuffered() {
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
    // Later most rows are there already, and an application's triggers would fire for rows that are
    // then merged again. Tables with hundreds of columns gain nothing.
    if (position_ >= 0 || !expect_new_ || end - at > 1 || !first.put ||
        !first.table->second.InsertsRows()) {
      RETURN_IF_ERROR(MergeRow(std::span(order).subspan(at, end - at)));
      continue;
    }
    new_rows.push_back(order[at]);
    if (new_rows.size() == kRowsAtOnce) {
      RETURN_IF_ERROR(WriteNewRows(&new_rows));
    }
  }
  RETURN_IF_ERROR(MergeEach(&new_rows));
  expect_new_ = rows_met_ * kNewPerMet <= rows;
  buffer_.Clear();
  return absl::OkStatus();
}

// Rows of one table that probably nothing is known of: so nobody looks.
absl::Status LocalDatabase::WriteNewRows(std::vector<uint32_t>* rows) {
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
  if (static_cast<size_t>(sqlite3_changes(db_.get())) != rows->size()) {
    return Error(
        absl::StatusCode::kDataLoss, "database_corrupt",
        fmt::format("buckets hold rows that table {} lacks: remove the file and pull again",
                    table.first));
  }
  rows->clear();
  return absl::OkStatus();
}

absl::Status LocalDatabase::MergeEach(std::vector<uint32_t>* rows) {
  for (const uint32_t& index : *rows) {
    RETURN_IF_ERROR(MergeRow(std::span(&index, 1)));
  }
  rows->clear();
  return absl::OkStatus();
}

// The operations of one row, the oldest first, on top of what is in the file.
absl::Status LocalDatabase::MergeRow(std::span<const uint32_t> ops) {
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

absl::Status LocalDatabase::RemoveRow(LocalTable& table, std::string_view key, bool with_bucket) {
  ASSIGN_OR_RETURN(const bool there, table.RemoveRow(key));
  if (there && position_ >= 0) {
    ++pending_.removed;
    if (with_bucket && gone_.size() < kGoneMax) {
      gone_.insert(HashOf(table, key));
    }
  }
  return absl::OkStatus();
}

void LocalDatabase::CountPut(const LocalTable& table, std::string_view key, bool was_held) {
  if (position_ < 0) {
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
bool LocalDatabase::MergePut(const RowBuffer::Op& op) {
  const std::string_view key = buffer_.key(op);
  const std::string_view position = buffer_.position(op);
  Bucket& bucket = *op.bucket;
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

void LocalDatabase::MergeRemove(const RowBuffer::Op& op) {
  Bucket& bucket = *op.bucket;
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

absl::Status LocalDatabase::ReadMembers(int64_t entity, std::string_view key) {
  members_.clear();
  find_members_->BindInt(1, entity);
  find_members_->BindText(2, key);
  while (true) {
    ASSIGN_OR_RETURN(const bool more, find_members_->Step());
    if (!more) {
      find_members_->Reset();
      return absl::OkStatus();
    }
    members_.push_back(
        {find_members_->Int(0), std::string(find_members_->Text(1)), true, true, false});
  }
}

absl::Status LocalDatabase::WriteMembers(int64_t entity, std::string_view key) {
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

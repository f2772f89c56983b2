#include "clients/cpp/local_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>

#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::client {
namespace {

constexpr size_t kNoColumn = static_cast<size_t>(-1);

// Numbers that JSON can't hold, and bytes, come as text.
void BindConverted(Statement& statement, int at, std::string_view sql_type, std::string_view text) {
  const char* const end = text.data() + text.size();
  if (sql_type == "INTEGER") {
    int64_t number = 0;
    if (const auto read = std::from_chars(text.data(), end, number);
        read.ec == std::errc() && read.ptr == end) {
      statement.BindInt(at, number);
      return;
    }
  } else if (sql_type == "REAL") {
    double number = 0;
    if (const auto read = std::from_chars(text.data(), end, number);
        read.ec == std::errc() && read.ptr == end) {
      statement.BindDouble(at, number);
      return;
    }
  } else if (sql_type == "BLOB") {
    if (const auto bytes = DecodeBase64(text); bytes.has_value()) {
      statement.BindBlob(at, *bytes);
      return;
    }
  }
  statement.BindText(at, text);
}

}  // namespace

void LocalTable::ForgetStatements() {
  put_.reset();
  insert_.reset();
  remove_.reset();
}

void LocalTable::SetColumns(std::vector<Column> columns) {
  columns_ = std::move(columns);
  ForgetStatements();
  const auto at = std::find_if(columns_.begin(), columns_.end(),
                               [this](const Column& c) { return c.name == primary_key_; });
  key_column_ = at == columns_.end() ? kNoColumn : static_cast<size_t>(at - columns_.begin());
}

absl::Status LocalTable::PrepareFor(sqlite3* db, const std::string& file_table) {
  if (key_column_ == kNoColumn) {
    return Error(absl::StatusCode::kDataLoss, "database_corrupt",
                 fmt::format("table {} lacks its key {}: remove the file and pull again",
                             file_table, primary_key_));
  }
  const std::string key = Quoted(columns_[key_column_].file_name);
  std::string names;
  std::string parameters;
  std::string updates;
  for (const Column& column : columns_) {
    const std::string name = Quoted(column.file_name);
    names += (names.empty() ? "" : ",") + name;
    parameters += parameters.empty() ? "?" : ",?";
    if (column.name != primary_key_) {
      updates +=
          fmt::format("{}{}=excluded.{}", updates.empty() ? " DO UPDATE SET " : ",", name, name);
    }
  }
  // Not OR REPLACE: a row that changes keeps its rowid, and an application's triggers see an
  // update.
  ASSIGN_OR_RETURN(
      put_, Statement::Prepare(db, fmt::format("INSERT INTO {}({}) VALUES({}) ON CONFLICT({}){}",
                                               Quoted(file_table), names, parameters, key,
                                               updates.empty() ? " DO NOTHING" : updates)));
  ASSIGN_OR_RETURN(remove_, Statement::Prepare(db, fmt::format("DELETE FROM {} WHERE {}=?",
                                                               Quoted(file_table), key)));
  // OR IGNORE: with any other way to treat a conflict SQLite would copy each page that such a
  // statement touches, to be able to take back its first rows.
  insert_sql_ = fmt::format("INSERT OR IGNORE INTO {}({}) VALUES", Quoted(file_table), names);
  for (size_t row = 0; row < kRowsAtOnce; ++row) {
    insert_sql_ += fmt::format("{}({})", row == 0 ? "" : ",", parameters);
  }
  return absl::OkStatus();
}

// From `hint` on, because rows name their attributes in the columns' order.
size_t LocalTable::ColumnOf(std::string_view name, size_t hint) const {
  for (size_t i = hint; i < columns_.size(); ++i) {
    if (columns_[i].name == name) {
      return i;
    }
  }
  for (size_t i = 0; i < hint && i < columns_.size(); ++i) {
    if (columns_[i].name == name) {
      return i;
    }
  }
  return kNoColumn;
}

bool LocalTable::AppendCells(const std::vector<RowValue>& row, std::vector<Cell>* cells,
                             std::string* bytes) const {
  size_t next = 0;
  for (const RowValue& value : row) {
    const size_t column = ColumnOf(value.name, next);
    if (column == kNoColumn) {
      return false;
    }
    next = column + 1;
    if (column == key_column_) {
      continue;  // BindRow() takes it from the operation
    }
    Cell cell{static_cast<uint32_t>(column), value.kind, value.integer, 0};
    if (value.kind == RowValue::Kind::kText) {
      cell.value = static_cast<int64_t>(bytes->size());
      cell.text_size = static_cast<uint32_t>(value.text.size());
      bytes->append(value.text);
    } else if (value.kind == RowValue::Kind::kDouble) {
      cell.value = std::bit_cast<int64_t>(value.real);
    }
    cells->push_back(cell);
  }
  return true;
}

void LocalTable::BindRow(Statement& statement, size_t skipped, const BufferedRow& row,
                         std::string_view bytes) const {
  for (const Cell& cell : row.cells) {
    const int at = static_cast<int>(skipped + cell.column + 1);
    switch (cell.kind) {
      case RowValue::Kind::kText:
        BindConverted(statement, at, columns_[cell.column].sql_type,
                      bytes.substr(static_cast<size_t>(cell.value), cell.text_size));
        break;
      case RowValue::Kind::kInteger:
      case RowValue::Kind::kBool:
        statement.BindInt(at, cell.value);
        break;
      case RowValue::Kind::kDouble:
        statement.BindDouble(at, std::bit_cast<double>(cell.value));
        break;
    }
  }
  // Always as RemoveRow() will look for it.
  BindKey(statement, skipped + key_column_ + 1, row.key);
}

void LocalTable::BindKey(Statement& statement, size_t at, std::string_view key) const {
  const std::string& type = columns_[key_column_].sql_type;
  if (type == "INTEGER" && (key == "true" || key == "false")) {
    statement.BindInt(static_cast<int>(at), key == "true" ? 1 : 0);
    return;
  }
  BindConverted(statement, static_cast<int>(at), type, key);
}

absl::Status LocalTable::PutRow(const BufferedRow& row, std::string_view bytes) {
  BindRow(*put_, 0, row, bytes);
  return put_->Run();
}

absl::StatusOr<bool> LocalTable::InsertRows(std::span<const BufferedRow> rows,
                                            std::string_view bytes) {
  sqlite3* const db = put_->db();
  if (!insert_.has_value()) {
    ASSIGN_OR_RETURN(insert_, Statement::Prepare(db, insert_sql_));
  }
  for (size_t i = 0; i < rows.size(); ++i) {
    BindRow(*insert_, i * columns_.size(), rows[i], bytes);
  }
  RETURN_IF_ERROR(insert_->Run());
  return static_cast<size_t>(sqlite3_changes(db)) == rows.size();
}

absl::StatusOr<bool> LocalTable::RemoveRow(std::string_view key) {
  BindKey(*remove_, 1, key);
  RETURN_IF_ERROR(remove_->Run());
  return sqlite3_changes(remove_->db()) > 0;
}

}  // namespace sluice::client

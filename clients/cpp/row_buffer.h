#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "clients/cpp/local_table.h"

namespace sluice::client {

// A bucket that the client holds: up to where it is loaded, and the sums over its rows.
struct LocalBucket {
  int64_t id = 0;
  int64_t after = -1;
  uint64_t count = 0;
  uint64_t checksum = 0;
  bool changed = false;  // since it was saved
};

// Operations on their way into the file: written together and in the order of their keys, they
// share the pages of the indexes, and what happens to one row is seen at once. Keeps copies of all
// texts. Not thread-safe.
class RowBuffer {
 public:
  using NamedTable = std::pair<const std::string, LocalTable>;
  // `table` and `bucket` belong to the caller and have to outlive the operation.
  struct Op {
    NamedTable* table;
    LocalBucket* bucket;
    bool put;  // or a removal
    uint32_t key_size;
    uint32_t position_size;
    size_t bytes_at;  // key, then position
    size_t cells_at;
    uint32_t cells;
  };

  // False where the row has an attribute that the table has no column for; nothing is kept then.
  [[nodiscard]] bool AddPut(NamedTable* table, LocalBucket* bucket, std::string_view key,
                            std::string_view position, const std::vector<RowValue>& row);
  void AddRemove(NamedTable* table, LocalBucket* bucket, std::string_view key);
  void Clear();

  size_t puts() const { return puts_; }
  bool empty() const { return ops_.empty(); }
  // Of memory, in bytes.
  size_t size() const {
    return bytes_.size() + cells_.size() * sizeof(Cell) +
           ops_.size() * (sizeof(Op) + sizeof(SortKey));
  }

  // Indexes of all operations by table, key and arrival: those of one row are neighbours, the
  // oldest first. Good until the next Add or Clear.
  [[nodiscard]] std::vector<uint32_t> Sorted() const;
  const Op& op(uint32_t index) const { return ops_[index]; }
  std::string_view key(const Op& op) const {
    return std::string_view(bytes_).substr(op.bytes_at, op.key_size);
  }
  std::string_view position(const Op& op) const {
    return std::string_view(bytes_).substr(op.bytes_at + op.key_size, op.position_size);
  }
  std::span<const Cell> cells(const Op& op) const {
    return std::span(cells_).subspan(op.cells_at, op.cells);
  }
  // What the cells' texts are parts of.
  std::string_view bytes() const { return bytes_; }

 private:
  // Decides nearly all comparisons without a look at the key itself.
  struct SortKey {
    int64_t table;
    uint64_t prefix;
    uint32_t index;
  };

  std::vector<Op> ops_;
  std::vector<Cell> cells_;
  std::string bytes_;
  size_t puts_ = 0;
};

// A position as text, `1042.7` or `1042`, as what it compares by. One that is neither, which no
// server sends, comes before all others.
[[nodiscard]] std::pair<uint64_t, uint64_t> PositionOrder(std::string_view position);

}  // namespace sluice::client

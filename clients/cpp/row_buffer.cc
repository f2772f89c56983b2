#include "clients/cpp/row_buffer.h"

#include <algorithm>
#include <charconv>
#include <tuple>

namespace sluice::client {
namespace {

uint64_t Prefix(std::string_view key) {
  uint64_t prefix = 0;
  for (size_t i = 0; i < sizeof(prefix); ++i) {
    prefix = prefix << 8 | (i < key.size() ? static_cast<unsigned char>(key[i]) : 0);
  }
  return prefix;
}

}  // namespace

bool RowBuffer::AddPut(NamedTable* table, LocalBucket* bucket, std::string_view key,
                       std::string_view position, const std::vector<RowValue>& row) {
  const size_t cells_at = cells_.size();
  const size_t bytes_at = bytes_.size();
  bytes_.append(key).append(position);
  if (!table->second.AppendCells(row, &cells_, &bytes_)) {
    cells_.resize(cells_at);
    bytes_.resize(bytes_at);
    return false;
  }
  ops_.push_back({table, bucket, true, static_cast<uint32_t>(key.size()),
                  static_cast<uint32_t>(position.size()), bytes_at, cells_at,
                  static_cast<uint32_t>(cells_.size() - cells_at)});
  ++puts_;
  return true;
}

void RowBuffer::AddRemove(NamedTable* table, LocalBucket* bucket, std::string_view key) {
  ops_.push_back({table, bucket, false, static_cast<uint32_t>(key.size()), 0, bytes_.size(),
                  cells_.size(), 0});
  bytes_.append(key);
}

void RowBuffer::Clear() {
  ops_.clear();
  cells_.clear();
  bytes_.clear();
  puts_ = 0;
}

std::vector<uint32_t> RowBuffer::Sorted() const {
  std::vector<SortKey> keys;
  keys.reserve(ops_.size());
  for (const Op& op : ops_) {
    keys.push_back({op.table->second.id(), Prefix(key(op)), static_cast<uint32_t>(keys.size())});
  }
  std::sort(keys.begin(), keys.end(), [this](const SortKey& a, const SortKey& b) {
    if (a.table != b.table || a.prefix != b.prefix) {
      return std::tie(a.table, a.prefix) < std::tie(b.table, b.prefix);
    }
    const int order = key(ops_[a.index]).compare(key(ops_[b.index]));
    return order != 0 ? order < 0 : a.index < b.index;
  });
  std::vector<uint32_t> order;
  order.reserve(keys.size());
  for (const SortKey& sorted : keys) {
    order.push_back(sorted.index);
  }
  return order;
}

std::pair<uint64_t, uint64_t> PositionOrder(std::string_view position) {
  std::pair<uint64_t, uint64_t> order(0, 0);
  const char* const end = position.data() + position.size();
  const auto offset = std::from_chars(position.data(), end, order.first);
  if (offset.ec == std::errc() && offset.ptr == end) {
    return order;
  }
  if (offset.ec != std::errc() || *offset.ptr != '.') {
    return {0, 0};
  }
  const auto index = std::from_chars(offset.ptr + 1, end, order.second);
  return index.ec == std::errc() && index.ptr == end ? order : std::pair<uint64_t, uint64_t>(0, 0);
}

}  // namespace sluice::client

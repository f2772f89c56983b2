#pragma once

#include <rocksdb/slice.h>

#include <string_view>

namespace sluice::projectors {

// The same bytes, which must outlive it, as RocksDB takes them.
[[nodiscard]] inline rocksdb::Slice ToSlice(std::string_view bytes) {
  return {bytes.data(), bytes.size()};
}

}  // namespace sluice::projectors

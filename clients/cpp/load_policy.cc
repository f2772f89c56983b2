#include "clients/cpp/load_policy.h"

#include <fmt/format.h>

#include <algorithm>

namespace sluice::client {
namespace {

// A first load is kept after a quarter more than what is here already, within these bounds: what a
// crash makes it receive again. More often costs more than it saves, since every time most pages of
// the indexes are written: a million rows came at 47 % of raw inserts with every 50,000 kept.
constexpr uint64_t kOperationsKeptMin = 10'000;
constexpr uint64_t kOperationsKeptMax = 500'000;
constexpr uint64_t kBytesKeptMax = 128 << 20;
// And of what is on its way into the file, in memory.
constexpr size_t kBufferBytesMax = 16 << 20;
// While a first load writes many pages again and again SQLite waits for more of them: 32 MiB.
constexpr int kWalPages = 1000;
constexpr int kWalPagesLoading = 8192;
// Rows are not looked up in advance where fewer than one of so many was there.
constexpr size_t kNewPerMet = 16;
constexpr size_t kRowsCopiedMax = 20'000;
constexpr size_t kBytesCopiedMax = 16 << 20;

}  // namespace

std::string LoadPolicy::TableName(const std::string& file_name) const {
  return first_load_ ? fmt::format("_sluice_load_{}", file_name) : file_name;
}

int LoadPolicy::wal_pages() const { return first_load_ ? kWalPagesLoading : kWalPages; }

void LoadPolicy::Came(size_t bytes) {
  ++operations_;
  bytes_ += bytes;
}

bool LoadPolicy::IsMuch(size_t bytes_buffered) { return bytes_buffered >= kBufferBytesMax; }

bool LoadPolicy::KeepsPlace(uint64_t rows) const {
  if (!first_load_) {
    return false;
  }
  const bool few = operations_ < kOperationsKeptMin;  // large ones, if they have many bytes
  return bytes_ >= (few ? kBufferBytesMax : kBytesKeptMax) ||
         (!few && operations_ >= std::min(rows / 4, kOperationsKeptMax));
}

void LoadPolicy::Kept() {
  operations_ = 0;
  bytes_ = 0;
}

void LoadPolicy::Wrote(size_t rows, size_t met) { expects_new_ = met * kNewPerMet <= rows; }

bool LoadPolicy::Copies(size_t rows, size_t bytes) {
  return rows <= kRowsCopiedMax && bytes <= kBytesCopiedMax;
}

}  // namespace sluice::client

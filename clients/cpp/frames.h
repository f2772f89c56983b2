#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

// What the sync protocol's frames say (gateways/docs/api.md, section 3.2), as FrameReader reads
// them.
namespace sluice::client {

// An entity as the server shows it to the caller.
struct ClientEntity {
  struct Column {
    std::string name;
    std::string type;  // as in gateways/docs/api.md, section 1
  };
  std::string name;
  std::string primary_key;
  std::vector<Column> columns;  // the key among them
};

// A value of a row as JSON has it. One that is null is left out.
struct RowValue {
  enum class Kind { kText, kInteger, kDouble, kBool } kind = Kind::kText;
  std::string_view name;
  std::string_view text;
  int64_t integer = 0;
  double real = 0;
};

// A bucket as a checkpoint frame announces it, and as the file counts it.
struct BucketSummary {
  std::string bucket;
  uint64_t count = 0;
  uint64_t checksum = 0;
};

// A `checkpoint` frame.
struct Checkpoint {
  int64_t position = -1;
  std::vector<BucketSummary> buckets;  // all of the caller's
  std::vector<std::string> removed;
  // The columns that belong to its rows; nullopt: as before, or a server of before they were sent.
  std::optional<std::vector<ClientEntity>> entities;
  std::string history;  // opaque; empty where the server sends none
};

}  // namespace sluice::client

#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gateways/debezium/value_codec.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::gateways {

// Operations of one set. What an upsert keeps is taken from the row as it was before the set, so
// that a row which the set itself has written or moved is completed here. Not thread-safe.
class OperationBatch {
 public:
  // `kept_from`: the key that the row had before; empty: its own.
  void Upsert(uint32_t entity_id, DecodedRow row, std::string kept_from, int64_t version);
  void Delete(uint32_t entity_id, std::string key, int64_t version);

  bool empty() const { return ops_.empty(); }
  size_t size() const { return ops_.size(); }
  size_t bytes() const { return bytes_; }
  // Whether an operation takes values from the row of another key: done twice, it would find it
  // gone.
  bool moves() const { return moves_; }
  // The operations, and begins anew.
  std::vector<v1::Operation> Take();

 private:
  struct Latest {
    size_t upsert = 0;  // the last of the key
    bool deleted = false;
  };

  void CompleteFrom(const v1::Operation& earlier, v1::Operation* op);

  std::vector<v1::Operation> ops_;
  absl::flat_hash_map<std::pair<uint32_t, std::string>, Latest> upserts_;
  size_t bytes_ = 0;
  bool moves_ = false;
};

}  // namespace sluice::gateways

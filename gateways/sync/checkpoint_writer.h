#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "gateways/sync/caller_columns.h"
#include "gateways/sync/entity_json.h"
#include "gateways/sync/frames.h"

namespace sluice::gateways {

struct BucketSummary {
  std::string_view id;
  uint64_t count = 0;
  uint64_t checksum = 0;
};

// A checkpoint's frame and the resets behind it, in pieces: what a session holds of it is no more
// than a piece, however many buckets and columns there are. Not thread-safe.
class CheckpointWriter {
 public:
  struct Content {
    Offset position;
    std::string history;
    std::vector<BucketSummary> buckets;            // their ids must outlive the writer
    std::vector<std::string> removed;              // ids of buckets
    std::vector<std::string> resets;               // likewise
    std::shared_ptr<const CallerColumns> columns;  // left out where nullptr
  };
  CheckpointWriter(FrameFormat format, Content content);

  // Appends until `out` has `bytes`, which one bucket or column may go past, or all is written:
  // then true, and nothing more is appended.
  bool Write(size_t bytes, std::string* out);

 private:
  enum class Next { kHead, kBucket, kRemoved, kColumns, kEnd, kReset, kNothing };

  void Go(Next next) {
    next_ = next;
    at_ = 0;
  }

  const FrameFormat format_;
  const Content content_;
  EntitiesWriter columns_;
  Next next_ = Next::kHead;
  size_t at_ = 0;  // in the list that is being written
};

}  // namespace sluice::gateways

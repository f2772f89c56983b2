#pragma once

#include <cstddef>
#include <string>

#include "gateways/sync/encoder.h"
#include "gateways/sync/entity_json.h"
#include "gateways/sync/json_encoder.h"

namespace sluice::gateways {

class JsonCheckpoint final : public CheckpointWriter {
 public:
  // `frames` must outlive the writer.
  JsonCheckpoint(const JsonFrames& frames, Checkpoint content);

  bool Write(size_t bytes, std::string* out) override;

 private:
  enum class Next { kHead, kBucket, kRemoved, kColumns, kEnd, kReset, kNothing };

  void Go(Next next) {
    next_ = next;
    at_ = 0;
  }

  const JsonFrames& frames_;
  const Checkpoint content_;
  EntitiesWriter columns_;
  Next next_ = Next::kHead;
  size_t at_ = 0;  // in the list that is being written
};

}  // namespace sluice::gateways

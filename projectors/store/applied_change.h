#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <vector>

#include "schemas/base/ids.h"

namespace sluice::projectors {

// What a batch that readers now see has changed of an organisation.
struct AppliedChange {
  Offset applied = kNoOffset;  // last event applied whole
  // Buckets whose operations changed: ascending, unique. nullptr: any may have.
  std::shared_ptr<const std::vector<BucketKey>> buckets = nullptr;
  bool definitions = false;  // the model is another: buckets of callers may be, too
  bool closed = false;       // the organisation is closed
};
using AppliedCallback = std::function<void(const AppliedChange&)>;

// How many buckets a change names; past it any may have changed.
inline constexpr size_t kChangedBucketsMax = 10'000;

}  // namespace sluice::projectors

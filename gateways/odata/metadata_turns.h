#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

// Who may read a service's metadata now: that takes hundreds of megabytes where it is large. One
// reader of an organisation, so that no slow service holds up the others, and `readers_max` of all.
// Thread-safe.
class MetadataTurns {
 public:
  // Ends when it is destroyed, which must be before the MetadataTurns is.
  using Turn = std::shared_ptr<const void>;

  explicit MetadataTurns(size_t readers_max = 4) : readers_max_(readers_max) {}

  // Waits for a turn. kCancelled, code "cancelled", as soon as `stopping`, which may be empty.
  [[nodiscard]] absl::StatusOr<Turn> Take(const OrgId& org, const std::function<bool()>& stopping);

 private:
  const size_t readers_max_;
  absl::Mutex mutex_;
  absl::CondVar changed_;
  std::set<OrgId> readers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::gateways

#include "gateways/odata/metadata_turns.h"

#include "absl/time/time.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

absl::StatusOr<MetadataTurns::Turn> MetadataTurns::Take(const OrgId& org,
                                                        const std::function<bool()>& stopping) {
  const absl::MutexLock lock(&mutex_);
  while (readers_.size() == readers_max_ || readers_.contains(org)) {
    if (stopping && stopping()) {
      return Error(absl::StatusCode::kCancelled, "cancelled", "told to stop");
    }
    // Nobody tells when it is to stop.
    changed_.WaitWithTimeout(&mutex_, absl::Milliseconds(100));
  }
  readers_.insert(org);
  return Turn(nullptr, [this, org](const void*) {
    const absl::MutexLock ending(&mutex_);
    readers_.erase(org);
    changed_.SignalAll();
  });
}

}  // namespace sluice::gateways

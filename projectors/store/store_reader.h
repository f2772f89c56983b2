#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "absl/status/statusor.h"
#include "projectors/store/applied_change.h"
#include "projectors/store/org_snapshot.h"
#include "schemas/base/ids.h"

namespace sluice::projectors {

// What gateways read of the staging stores. Thread-safe.
class StoreReader {
 public:
  virtual ~StoreReader() = default;

  // kNotFound, code "org_not_found", where no open organisation of that name has been applied here.
  // kResourceExhausted, code "stores_busy", where twice the limit of stores are open and in use, or
  // the log is slow to tell whether it holds what the store does;
  // kUnavailable, code "not_caught_up", for a store that was opened amid a large event or is being
  // built anew; code "log_truncated" or "log_diverged" where it has events that the log has not.
  virtual absl::StatusOr<std::shared_ptr<const OrgSnapshot>> Snapshot(const OrgId& org) = 0;

  // The offset at which (source, id) was applied within the window, nullopt otherwise.
  virtual absl::StatusOr<std::optional<Offset>> FindChangeSet(const OrgId& org,
                                                              std::string_view source,
                                                              std::string_view id) = 0;

  // Calls `callback` after each batch applied to `org` that readers see (also when it is closed,
  // with its last offset) until Unsubscribe returns. Whatever differs between two snapshots is
  // named by the calls that come between the first and right after the second. The callback must
  // only enqueue: it runs on the projector's thread.
  virtual uint64_t Subscribe(const OrgId& org, AppliedCallback callback) = 0;
  virtual void Unsubscribe(uint64_t subscription) = 0;

  // The offset below which everything of the organisation, whose partition it is, has been applied.
  virtual Offset AppliedUntil(PartitionId partition, const OrgId& org) = 0;

  // The organisation's last applied event, kNoOffset where nothing of it has been applied here.
  virtual Offset AppliedOf(const OrgId& org) = 0;
  // The same by what is known without opening a store, for whoever asks for many: less, where the
  // store has not been opened since the start and its partition has not caught up.
  virtual Offset KnownAppliedOf(const OrgId& org) = 0;
};

}  // namespace sluice::projectors

#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "projectors/provisioning/directory.h"

namespace sluice::eventlog {
class PartitionGroup;
}
namespace prometheus {
class Registry;
}

namespace sluice::projectors {

// Follows `provisioning` on every partition into a Directory; every process that answers admin
// requests has one. Thread-safe.
class DirectoryFollower {
 public:
  DirectoryFollower(eventlog::Log& log, const Clock& clock,
                    std::shared_ptr<prometheus::Registry> registry);
  ~DirectoryFollower();

  [[nodiscard]] absl::Status Start();
  void Stop();
  const Directory& directory() const;

  // Appends a request, with who made it, and waits for its outcome: up to `timeout`, then
  // kUnavailable, code "provisioning_unavailable" (the request stands and may still be carried out:
  // repeating is safe).
  [[nodiscard]] absl::StatusOr<Directory::Outcome> Request(const OrgId& org,
                                                           v1::ProvisioningRequest request,
                                                           std::chrono::milliseconds timeout,
                                                           eventlog::Cause cause = {});
  // Ok once every partition has been read to the end it had at start.
  [[nodiscard]] absl::Status Health() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The sequencer: for its partitions of `provisioning` (the group's), decides each request that has
// no outcome, appends the control event to `changes` (with an id derived from the request's, so
// that a crash between the two appends is harmless), then the outcome. Announces `closed` when
// `store_deleted` says that the organisation's OrgClosed has been applied.
class ProvisioningProjector {
 public:
  // `store_applied`: the organisation's last applied offset in this process's stores.
  using StoreApplied = std::function<Offset(const OrgId&)>;
  ProvisioningProjector(eventlog::Log& log, eventlog::PartitionGroup& group, const Clock& clock,
                        StoreApplied store_applied, std::shared_ptr<prometheus::Registry> registry);
  ~ProvisioningProjector();
  [[nodiscard]] absl::Status Start();
  void Stop();
  [[nodiscard]] absl::Status Health() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::projectors

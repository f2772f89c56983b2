#pragma once

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "gateways/admin/admin_server.h"
#include "projectors/nodes/node_directory.h"
#include "projectors/provisioning/provisioning.h"
#include "projectors/staging/staging_projector.h"
#include "projectors/store/store_manager.h"

namespace sluice::ops {

// What a process may answer, take and decide, as far as its own parts know and other nodes tell.
// Thread-safe once the parts are there.
class Serving {
 public:
  // Set as they are made; null: the process has none, or not yet.
  struct Parts {
    eventlog::Log* log = nullptr;
    projectors::StoreManager* stores = nullptr;
    projectors::StagingProjector* staging = nullptr;  // where there are stores
    projectors::DirectoryFollower* directory = nullptr;
    projectors::ProvisioningProjector* provisioning = nullptr;
    projectors::NodeDirectory* nodes = nullptr;
  };
  // `parts` must outlive it.
  explicit Serving(const Parts& parts) : parts_(parts) {}

  // Rows and rights of the organisation: OK, or kUnavailable with the code that callers get.
  [[nodiscard]] absl::Status MayServe(const OrgId& org) const;
  // Do the topics of the partition tell the same, as far as this process or another one knows?
  [[nodiscard]] absl::Status MayAppend(PartitionId partition) const;
  // Whether there is such an organisation; kUnavailable where that is not known.
  [[nodiscard]] absl::StatusOr<bool> Exists(const OrgId& org) const;
  [[nodiscard]] projectors::ProvisioningProjector::Gate Gate() const;
  // The newest control event that this process or another one has come by.
  [[nodiscard]] projectors::ControlMark LastControl(PartitionId partition) const;
  // For the other processes: empty where nothing is wrong with the partition.
  [[nodiscard]] std::string FaultOf(PartitionId partition) const;
  // For people: what is not served at the moment.
  [[nodiscard]] std::vector<gateways::TroubledOrgs> Troubled() const;
  // Where another node does; nullopt where none is known to.
  [[nodiscard]] std::optional<std::string> ServedAt(const OrgId& org,
                                                    projectors::NodeUse use) const;
  // nullopt where this process serves it, or nobody is known to.
  [[nodiscard]] std::optional<Offset> RemoteApplied(const OrgId& org) const;
  // The stores' last word of an organisation, its closing included, wherever it is folded.
  [[nodiscard]] Offset StoreApplied(const OrgId& org) const;

 private:
  PartitionId PartitionOf(const OrgId& org) const {
    return parts_.log->PartitionFor(eventlog::Topic::kChanges, org.value());
  }
  // What another node tells of the partition.
  absl::Status ToldFault(PartitionId partition) const;
  // kUnavailable, code "log_end_doubted", while it is not known whether the log has lost an end.
  absl::Status Doubt(PartitionId partition) const;

  const Parts& parts_;
};

}  // namespace sluice::ops

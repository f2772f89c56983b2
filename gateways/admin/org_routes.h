#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/request_context.h"
#include "projectors/provisioning/provisioning.h"
#include "projectors/store/store_reader.h"

namespace sluice::gateways {

inline constexpr size_t kOrgBodyBytesMax = 16 << 10;

// Organisations: PUT, GET, list, DELETE (gateways/docs/api.md, section 1). Thread-safe.
class OrgRoutes {
 public:
  // What is known of an organisation's newest change that this process appended, or kNoOffset.
  using LastChange = std::function<Offset(const OrgId&)>;
  // The admin URL of a node that serves an organisation which is not served here.
  using ServedAt = std::function<std::optional<std::string>(const OrgId&)>;
  OrgRoutes(projectors::DirectoryFollower& directory, projectors::StoreReader* stores,
            const AppliedWait& applied, LastChange last_change, ServedAt served_at,
            std::chrono::milliseconds provisioning_timeout)
      : directory_(directory),
        stores_(stores),
        applied_(applied),
        last_change_(std::move(last_change)),
        served_at_(std::move(served_at)),
        provisioning_timeout_(provisioning_timeout) {}

  [[nodiscard]] absl::StatusOr<Answer> Put(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Get(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> List(RequestContext& context) const;
  [[nodiscard]] absl::StatusOr<Answer> Delete(RequestContext& context) const;

 private:
  bool IsClosed(const OrgId& org, uint32_t incarnation) const;
  std::optional<uint64_t> RecordsOf(const projectors::OrgEntry& entry) const;
  // What a list says of it, and the answer to GET before more.
  nlohmann::ordered_json Describe(const projectors::OrgEntry& entry, Offset applied) const;
  std::string_view StateOf(const projectors::OrgEntry& entry, Offset applied) const;

  projectors::DirectoryFollower& directory_;
  projectors::StoreReader* const stores_;
  const AppliedWait& applied_;
  const LastChange last_change_;
  const ServedAt served_at_;
  const std::chrono::milliseconds provisioning_timeout_;
};

}  // namespace sluice::gateways

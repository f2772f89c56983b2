#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/log.h"
#include "gateways/secrets/sealer.h"
#include "gateways/sources/connector.h"
#include "gateways/sources/known_source.h"
#include "gateways/sources/source_json.h"
#include "projectors/provisioning/directory.h"
#include "projectors/work/work_board.h"
#include "projectors/work/work_follower.h"
#include "schemas/base/clock.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

struct SourceServiceOptions {
  std::chrono::seconds interval_min{300};
  IntervalOptions intervals{};
  size_t checks_max = 4;  // at once; each takes a thread of its caller's
  std::chrono::milliseconds check_timeout{30'000};
};

// What routes ask of sources: from their JSON to requests with sealed secrets, and from what is
// known of them to JSON. Follows all of `work`. Thread-safe, but for Start() and Stop().
class SourceService {
 public:
  // All must outlive it.
  struct Deps {
    eventlog::Log& log;
    const Clock& clock;
    const projectors::Directory& directory;
    std::vector<Connector*> connectors;
    Sealer& sealer;
  };
  SourceService(SourceServiceOptions options, Deps deps);
  ~SourceService();

  // Makes a thread for each partition: std::system_error where one can't be made.
  void Start();
  // Ends checks under way, too.
  void Stop();

  // `tenant`: who asks is bound to one organisation. Codes of ParseSource(), Connector::Validate(),
  // Sealer::Seal(); "source_not_allowed" for a kind that is not run here.
  [[nodiscard]] absl::StatusOr<v1::ProvisioningRequest> MakePut(const OrgId& org,
                                                                std::string_view name,
                                                                std::string_view json,
                                                                bool tenant) const;
  // The source with an entity that is read from now on, with the settings that `json` changes
  // (ChangeSourceEntity()), or is not; if nobody changes the source meanwhile. Codes as above, and
  // "source_not_found".
  [[nodiscard]] absl::StatusOr<v1::ProvisioningRequest> MakeEntity(
      const projectors::OrgEntry& entry, const std::string& name, const std::string& entity,
      bool enabled, std::string_view json) const;
  // The source's secrets sealed by the key of now, if nobody changes it meanwhile.
  [[nodiscard]] absl::StatusOr<v1::ProvisioningRequest> MakeReseal(
      const projectors::OrgEntry& entry, const std::string& name) const;
  // kNotFound, code "source_not_found".
  [[nodiscard]] absl::StatusOr<std::string> Show(const projectors::OrgEntry& entry,
                                                 const std::string& name) const;
  // What the source offers, or why that can't be said; as it is defined where `json` is empty, else
  // as it would be. Connects, and blocks for check_timeout at most. kUnavailable, code "too_busy".
  [[nodiscard]] absl::StatusOr<std::string> Check(const projectors::OrgEntry& entry,
                                                  const std::string& name, std::string_view json,
                                                  bool tenant);

 private:
  [[nodiscard]] absl::StatusOr<Connector*> ConnectorOf(const OrgId& org,
                                                       const v1::SourceSettings& settings,
                                                       bool tenant) const;
  [[nodiscard]] absl::StatusOr<Secrets> Open(const OrgId& org,
                                             const v1::SourceDefined& defined) const;
  [[nodiscard]] absl::StatusOr<SourceContext> ContextOf(const projectors::OrgEntry& entry,
                                                        const std::string& name,
                                                        std::string_view json, bool tenant) const;

  const SourceServiceOptions options_;
  const Deps deps_;
  std::map<std::string, Connector*, std::less<>> connectors_;
  projectors::WorkBoard board_;
  std::vector<std::unique_ptr<projectors::WorkFollower>> followers_;
  std::atomic<size_t> checks_{0};
  std::atomic<bool> stopping_{false};
};

}  // namespace sluice::gateways

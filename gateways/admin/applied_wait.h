#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "eventlog/base/clock.h"
#include "eventlog/base/ids.h"
#include "gateways/admin/http_server.h"
#include "projectors/store/store_manager.h"

namespace sluice::gateways {

// How far organisations are applied, here or at the node that serves them. Thread-safe.
class AppliedWait {
 public:
  using RemoteApplied = std::function<std::optional<Offset>(const OrgId&)>;
  // `stores` and `remote` may be null.
  AppliedWait(projectors::StoreManager* stores, RemoteApplied remote, const Clock& clock)
      : stores_(stores), remote_(std::move(remote)), clock_(clock) {}

  // kNoOffset where nothing is known.
  [[nodiscard]] Offset Applied(const OrgId& org) const;
  // Waits until `org` is applied up to `offset`; false when the time is up or the server stops.
  [[nodiscard]] bool Wait(const OrgId& org, Offset offset, std::chrono::milliseconds timeout,
                          const HttpRequest& request) const;

 private:
  projectors::StoreManager* const stores_;
  const RemoteApplied remote_;
  const Clock& clock_;
};

}  // namespace sluice::gateways

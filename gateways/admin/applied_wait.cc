#include "gateways/admin/applied_wait.h"

#include <algorithm>

#include "schemas/base/status.h"

namespace sluice::gateways {

bool AppliedWait::Here(const OrgId& org) const {
  if (stores_ == nullptr) {
    return false;
  }
  const absl::Status status = may_serve_ ? may_serve_(org) : absl::OkStatus();
  return status.ok() || ErrorCode(status) != "not_served_here";
}

Offset AppliedWait::Applied(const OrgId& org) const {
  return WithRemote(org, Here(org) ? stores_->AppliedOf(org) : kNoOffset);
}

Offset AppliedWait::KnownApplied(const OrgId& org) const {
  return WithRemote(org, Here(org) ? stores_->KnownAppliedOf(org) : kNoOffset);
}

Offset AppliedWait::WithRemote(const OrgId& org, Offset applied) const {
  return remote_ ? std::max(applied, remote_(org).value_or(kNoOffset)) : applied;
}

}  // namespace sluice::gateways

#pragma once

#include <string_view>

#include "absl/status/statusor.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/sources.pb.h"

namespace sluice::gateways {

// Which organisation a row is of, where one topic has those of many: a column names it, and a
// template makes its id of that. Pure; thread-safe.
class TenantRouter {
 public:
  explicit TenantRouter(v1::TenantRule rule);

  // Whether there are others than the source's own.
  bool is_on() const { return !rule_.column().empty(); }
  // `json`: a row or a key. kInvalidArgument, code "tenant_unknown", where the column is null,
  // missing or nested, or what comes of it is no organisation's id.
  [[nodiscard]] absl::StatusOr<OrgId> OrgOf(std::string_view json) const;

 private:
  const v1::TenantRule rule_;
};

// Code "invalid_argument": a template that no id can come of.
[[nodiscard]] absl::Status CheckTenantRule(const v1::TenantRule& rule);

}  // namespace sluice::gateways

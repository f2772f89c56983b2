#pragma once

#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "gateways/sources/connector.h"
#include "projectors/model/org_model.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::gateways {

// Takes out of `ops` what the fold could not apply by its form, and gives it to `reject`, whose
// error ends it: so that what is appended is applied, and a row that is not is known with its text.
// An entity that is not of the source `owner` is "entity_has_source".
// What is appended nevertheless, as the schema changed meanwhile, the fold rejects itself.
[[nodiscard]] absl::Status TakeOutMisfits(
    const projectors::OrgModel& model, std::string_view owner, std::vector<v1::Operation>& ops,
    absl::FunctionRef<absl::Status(const RejectedRow&)> reject);

}  // namespace sluice::gateways

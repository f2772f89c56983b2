#pragma once

#include <string_view>
#include <vector>

#include "eventlog/event.h"
#include "projectors/model/org_model.h"
#include "projectors/provisioning/directory.h"

namespace sluice::projectors {

// The source of what is written to make `provisioning` and `changes` tell the same.
inline constexpr std::string_view kReconcilerSource = "sluice/log";

// Has the organisation definitions, in the directory?
[[nodiscard]] inline bool IsOpen(const OrgEntry& entry) {
  return entry.state == OrgState::kReady || entry.state == OrgState::kProvisioning;
}

// The control events, without ids and times, that lead from an organisation as `changes` has it to
// what the directory says; none where the two are the same, or where no event can. Pure.
[[nodiscard]] std::vector<eventlog::Event> Difference(const OrgModel& from, const OrgEntry& to);

}  // namespace sluice::projectors

#pragma once

#include <cstdint>
#include <string>

#include "eventlog/event.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::projectors {

// Makes `outcome` say what a control event does. False where it is none, or can't be read.
[[nodiscard]] bool SetChange(const eventlog::Event& control, v1::ProvisioningOutcome* outcome);

// What a change defines: one of the entities, profiles, roles or sources of an organisation's
// incarnation; empty where it is the organisation itself. An entity that was deleted and is defined
// anew is another one of the same name.
[[nodiscard]] std::string DefinitionOf(const std::string& org, uint32_t incarnation,
                                       const v1::ProvisioningOutcome& outcome);

}  // namespace sluice::projectors

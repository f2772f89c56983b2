#pragma once

#include <chrono>

#include "absl/status/statusor.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/request_context.h"
#include "gateways/events/event_intake.h"

namespace sluice::gateways {

// POST /v1/events (gateways/docs/api.md, section 7): has the request's events carried out and waits
// for that, at most for `timeout`; what then has no outcome is given up. A single event that is
// refused is the request's error; of a batch each has its own. `intake` may be nullptr.
// Thread-safe; blocks.
[[nodiscard]] absl::StatusOr<Answer> PostEvents(EventIntake* intake, const AppliedWait& applied,
                                                const RequestContext& context,
                                                std::chrono::milliseconds timeout);

}  // namespace sluice::gateways

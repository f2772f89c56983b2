#pragma once

#include "absl/status/status.h"
#include "gateways/odata/stream_run.h"

namespace sluice::gateways {

// Reads what has changed since the link of `cursor` (PHASE_DELTA), up to the service's next delta
// link. Where the service does not know the link any more, `cursor` begins a load (PHASE_LOAD),
// likewise where it needs a row whole that it gives in part, and where three runs in a row ended in
// a loop of links. The load is the caller's to run. Errors are those of the client, the sink and
// LinkRule, and kFailedPrecondition, "too_many_rejected".
[[nodiscard]] absl::Status RunDelta(StreamRun& run, v1::ODataCursor& cursor);

}  // namespace sluice::gateways

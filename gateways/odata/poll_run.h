#pragma once

#include "absl/status/status.h"
#include "gateways/odata/stream_run.h"

namespace sluice::gateways {

// Reads what has changed since the watermark of `cursor` (PHASE_POLL), by the property that the
// settings name; a poll that was stopped goes on at its page. Deleted rows are found by comparing
// keys: where that is due, or a load of all rows, `cursor` begins it (PHASE_RECONCILE, PHASE_LOAD),
// and it is the caller's to run. In PHASE_RECONCILE a comparison has begun already: that it fails
// stops no poll. Errors are those of the client, the sink and LinkRule.
[[nodiscard]] absl::Status RunPoll(StreamRun& run, v1::ODataCursor& cursor);

}  // namespace sluice::gateways

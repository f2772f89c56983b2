#pragma once

#include "absl/status/status.h"
#include "gateways/odata/stream_run.h"

namespace sluice::gateways {

// Reads all rows of the entity (PHASE_LOAD), or all keys (PHASE_RECONCILE), from where `cursor`
// stands; sweeps what this pass and the one before have not seen, or what a load has not that ends
// with a delta link, if the keys of all rows are known; and leaves `cursor` where changes are read
// on: at a delta link; at a time from which on to poll; or before the next load, where the service
// has neither. A link that has expired begins it anew, three times at most. Errors beside those of
// the client, the sink and LinkRule, with which nothing is swept:
//   kUnavailable         "source_answer_invalid": no delta link, though the service tracks
//   kFailedPrecondition  "too_many_rejected"; "suspicious_empty": no rows where there were many;
//                        "suspicious_short": fewer than the service counts, by more than a
//                        hundredth. The next load is believed.
[[nodiscard]] absl::Status RunLoad(StreamRun& run, v1::ODataCursor& cursor);

}  // namespace sluice::gateways

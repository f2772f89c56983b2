#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "gateways/odata/entity_mapper.h"
#include "gateways/odata/odata_client.h"
#include "gateways/odata/odata_metrics.h"
#include "gateways/odata/odata_url.h"
#include "gateways/odata/page_taker.h"
#include "gateways/sources/connector.h"
#include "schemas/base/clock.h"
#include "schemas/sluice/v1/sources.pb.h"

// What the phases of a stream's run share: a load of all rows, then deltas or polls.
namespace sluice::gateways {

// How far behind the newest change that is known polls ask: a service's clocks may differ from one
// another, and what is written last may become visible first.
inline constexpr std::chrono::microseconds kPollMargin = std::chrono::minutes(5);

struct StreamRun {
  ODataClient& client;
  RowSink& sink;
  PageTaker& taker;
  const Clock& clock;
  ODataMetrics& metrics;
  const MappedEntity& entity;
  const v1::SourceEntity& settings;
  const std::vector<std::string> link_hosts;
  const std::string selected;  // for ODataCursor::selected

  [[nodiscard]] LinkRule Links() const { return {client.root(), link_hosts}; }
};

// Looks at how many of the rows of a load, or of a run's deltas, were refused. A few may be.
// kFailedPrecondition, code "too_many_rejected", where more than half are: a mapping that does not
// fit must neither have swept what it can't read nor pass over it.
[[nodiscard]] absl::Status CheckRejected(uint64_t rejected, uint64_t rows);

// Has `cursor` begin a load of all rows. `reason`: for the metric.
void BeginLoad(StreamRun& run, v1::ODataCursor& cursor, const std::string& reason);

// Whether a load that became due amid deltas (`cursor`.load_due) may begin: a row that can't be
// taken, and changes again and again, must not have all rows read each time. Once in the time
// between two comparisons of keys.
[[nodiscard]] bool IsLoadDue(const StreamRun& run, const v1::ODataCursor& cursor);

// The time between two comparisons of keys.
[[nodiscard]] std::chrono::seconds ReconcileInterval(const StreamRun& run);

// Tells the sink where the run is, for people.
void ReportAt(StreamRun& run, const v1::ODataCursor& cursor);

// Whether the service refused a link for itself: it has expired, or is none of the service's any
// more, so what it was for begins anew.
[[nodiscard]] bool IsLinkRefused(const absl::Status& status);

}  // namespace sluice::gateways

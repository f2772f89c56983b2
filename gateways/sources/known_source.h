#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "projectors/provisioning/directory.h"
#include "projectors/work/work_schedule.h"
#include "schemas/base/ids.h"
#include "schemas/sluice/v1/events.pb.h"

namespace sluice::gateways {

// A source as it has to be run.
struct KnownSource {
  OrgId org;
  uint32_t incarnation = 0;
  Offset last_control;  // in `changes`: by then the source is defined there as it is here
  std::shared_ptr<const v1::SourceDefined> defined;
  std::map<std::string, Offset> runs;  // asked for
  std::vector<std::string> owned;      // entities that it has, where it is to have all
};

struct IntervalOptions {
  std::chrono::seconds standard{300};     // of a source that names none
  std::chrono::seconds discovery{3'600};  // how often the entities of those that have all are asked
};

// The sources of an organisation that is open.
[[nodiscard]] std::vector<KnownSource> KnownSourcesOf(const projectors::OrgEntry& entry);

// The streams that are to be read. `by_entity` as Connector's: where the source is to have all
// entities, the stream "" finds out which there are, and those that it has found follow.
[[nodiscard]] std::vector<projectors::ScheduledStream> StreamsOf(const KnownSource& source,
                                                                 bool by_entity,
                                                                 const IntervalOptions& options);

}  // namespace sluice::gateways

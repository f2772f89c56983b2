#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/sources/connector.h"
#include "projectors/work/work_ledger.h"
#include "projectors/work/work_schedule.h"
#include "schemas/base/clock.h"
#include "schemas/sluice/v1/events.pb.h"
#include "schemas/sluice/v1/sources.pb.h"

// A source as gateways/docs/api.md, section 7, has it. All functions are pure.
namespace sluice::gateways {

struct ParsedSource {
  v1::SourceSettings settings;
  std::optional<Secrets> secrets;  // nullopt: not given
};

// What PUT takes. kInvalidArgument, codes "invalid_json" and "invalid_argument"; what a setting
// means for its kind is for the connector. `interval_min`: the shortest interval.
[[nodiscard]] absl::StatusOr<ParsedSource> ParseSource(std::string_view name, std::string_view json,
                                                       std::chrono::seconds interval_min);

// An entity of a source after a change: the members of `json`, an object of settings as PUT takes
// them, replace those of `current`, and it is read from now on. Codes as above.
[[nodiscard]] absl::StatusOr<v1::SourceEntity> ChangeSourceEntity(
    const v1::SourceEntity& current, std::string_view json, std::chrono::seconds interval_min);

// How a stream is, for GET.
struct StreamStatus {
  std::optional<projectors::StreamWork> work;  // nullopt: nothing has been done yet
  std::optional<SystemTime> next_run;
  bool queued = false;  // it is to be read now, and has no place to run yet
};

// What GET answers: the settings as PUT takes them, the names of the secrets and the keys that they
// are sealed with, and of each stream how it is ("" where the source is read as a whole).
[[nodiscard]] std::string SourceToJson(const v1::SourceDefined& defined, std::string_view etag,
                                       const std::map<std::string, StreamStatus>& streams);

// What POST …/check answers.
[[nodiscard]] std::string OfferToJson(const absl::StatusOr<SourceOffer>& offer);

}  // namespace sluice::gateways

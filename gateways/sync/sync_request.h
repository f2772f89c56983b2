#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "eventlog/base/ids.h"

// What clients ask of the sync listener, parsed and checked. Pure.
namespace sluice::gateways {

// A request target, cut up: "/v1/orgs/contoso/delta?limit=10".
struct Target {
  enum class Route { kUnknown, kDelta, kStream, kEntities, kHealth, kReady, kOpenApi };
  Route route = Route::kUnknown;
  std::string org;    // percent-decoded, not checked
  std::string path;   // as given
  std::string query;  // as given, without '?'
};
[[nodiscard]] Target ParseTarget(std::string_view target);
// A short name for metrics and the access log.
[[nodiscard]] std::string_view RouteName(Target::Route route);

struct DeltaRequest {
  std::string cursor;  // empty: a fresh start
  size_t limit = 1'000;
  std::chrono::milliseconds wait{0};
  std::optional<Offset> min_position;
};
inline constexpr size_t kDeltaLimitMax = 10'000;
inline constexpr std::chrono::milliseconds kDeltaWaitMax{60'000};

// Values over their limit are cut to it. kInvalidArgument for what is no number, too small, not
// percent-encoded properly or given twice. Parameters with other names are ignored.
[[nodiscard]] absl::StatusOr<DeltaRequest> ParseDeltaRequest(std::string_view query);
// The target of the same request without its cursor.
[[nodiscard]] std::string FreshStart(const Target& target);

struct StreamRequest {
  struct Have {
    std::string bucket;
    std::string after;  // not checked: what is no position gets the bucket sent anew
  };
  std::vector<Have> have;
  bool live = false;
};
// An empty body asks for everything once. kInvalidArgument "invalid_json" for what is no JSON,
// "invalid_argument" for a member of another type.
[[nodiscard]] absl::StatusOr<StreamRequest> ParseStreamRequest(std::string_view body);

}  // namespace sluice::gateways

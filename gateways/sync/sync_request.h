#pragma once

#include <chrono>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "gateways/http/router.h"
#include "schemas/base/ids.h"

// What clients ask of the sync listener, parsed and checked. Pure.
namespace sluice::gateways {

enum class SyncRoute { kDelta, kStream, kEntities, kHealth, kReady, kOpenApi };
using SyncRouteMatch = RouteMatch<SyncRoute>;
// `path` is as sent.
[[nodiscard]] SyncRouteMatch MatchSyncRoute(std::string_view method, std::string_view path);

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
// The same from a JSON object with the same members, numbers as numbers or texts: for cursors that
// are too long for an URL. Empty: a fresh start. Errors as above, and "invalid_json".
[[nodiscard]] absl::StatusOr<DeltaRequest> ParseDeltaBody(std::string_view body);
// The target of the same request without its cursor.
[[nodiscard]] std::string FreshStart(std::string_view path, std::string_view query);

struct StreamRequest {
  struct Have {
    std::string bucket;  // [A-Za-z0-9_-]{1,64}: it may go into a frame as it is
    Offset after;        // 0 or more
  };
  std::vector<Have> have;  // no bucket twice
  std::string history;     // [A-Za-z0-9._-]{1,64}, or empty where none is given
  bool live = false;
};
inline constexpr size_t kHaveMax = 10'000;

// An empty body asks for everything once. kInvalidArgument "invalid_json" for what is no JSON,
// "invalid_argument" for a known member of another type, given twice, or with a value that is not
// allowed; the message names the element of `have` by its index and says what is. Members with
// other names are ignored.
[[nodiscard]] absl::StatusOr<StreamRequest> ParseStreamRequest(std::string_view body);

}  // namespace sluice::gateways

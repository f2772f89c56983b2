#include "gateways/http/router.h"

#include <fmt/format.h>

#include "schemas/base/status.h"
#include "schemas/base/text_codec.h"

namespace sluice::gateways {
namespace {

// Takes the next "/segment" off `path`, without its slash.
std::optional<std::string_view> NextSegment(std::string_view& path) {
  if (path.empty() || path.front() != '/') {
    return std::nullopt;
  }
  const size_t end = path.find('/', 1);
  const std::string_view segment =
      path.substr(1, end == std::string_view::npos ? std::string_view::npos : end - 1);
  path = end == std::string_view::npos ? std::string_view() : path.substr(end);
  return segment;
}

}  // namespace

std::optional<PathParameters> MatchPath(std::string_view pattern, std::string_view path) {
  PathParameters parameters;
  while (!pattern.empty() && !path.empty()) {
    const auto wanted = NextSegment(pattern);
    const auto given = NextSegment(path);
    if (!wanted.has_value() || !given.has_value()) {
      return std::nullopt;
    }
    auto decoded = PercentDecode(*given);
    // Names become texts of events, which must be UTF-8 or nobody could read them.
    if (!decoded.has_value() || !IsValidUtf8(*decoded)) {
      return std::nullopt;
    }
    if (*wanted == "{org}" && !decoded->empty()) {
      parameters.org = *std::move(decoded);
    } else if (*wanted == "{name}" && !decoded->empty()) {
      parameters.name = *std::move(decoded);
    } else if (*wanted != *decoded) {
      return std::nullopt;
    }
  }
  return pattern.empty() && path.empty() ? std::make_optional(std::move(parameters)) : std::nullopt;
}

std::string OrgOfPath(std::string_view path) {
  for (const std::string_view above : {"v1", "orgs"}) {
    if (NextSegment(path) != above) {
      return "";
    }
  }
  return PercentDecode(NextSegment(path).value_or("")).value_or("");
}

HttpResponse NoRouteResponse(std::string_view method, std::string_view allow) {
  if (allow.empty()) {
    return ProblemResponse(
        absl::NotFoundError("there is nothing at this path; /openapi.json lists what there is"));
  }
  HttpResponse response =
      ProblemResponse(Error(absl::StatusCode::kInvalidArgument, "method_not_allowed",
                            fmt::format("{} is not possible here, but {}", method, allow)));
  response.headers.emplace_back("Allow", allow);
  return response;
}

}  // namespace sluice::gateways

#include "gateways/sync/sync_request.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <map>
#include <set>

#include "gateways/http/http_types.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::gateways {
namespace {

constexpr RouteInfo<SyncRoute> kRoutes[] = {
    {SyncRoute::kDelta, "GET", "/v1/orgs/{org}/delta", Scope::kSync, "delta"},
    {SyncRoute::kDelta, "POST", "/v1/orgs/{org}/delta", Scope::kSync, "delta"},
    {SyncRoute::kStream, "POST", "/v1/orgs/{org}/stream", Scope::kSync, "stream"},
    {SyncRoute::kEntities, "GET", "/v1/orgs/{org}/entities", Scope::kSync, "entities"},
    {SyncRoute::kHealth, "GET", "/healthz", std::nullopt, "healthz"},
    {SyncRoute::kReady, "GET", "/readyz", std::nullopt, "readyz"},
    {SyncRoute::kOpenApi, "GET", "/openapi.json", std::nullopt, "openapi"},
};

absl::Status Invalid(std::string_view message) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", message);
}

// Calls `visit` with each "name=value" of a query.
template <typename Visit>
void ForEachParameter(std::string_view query, Visit visit) {
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    if (end > 0) {
      visit(query.substr(0, end));
    }
    query.remove_prefix(std::min(end + 1, query.size()));
  }
}

std::string_view NameOf(std::string_view parameter) {
  return {parameter.begin(), std::ranges::find(parameter, '=')};
}

bool AllDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, IsDigit);
}

// A whole number from `min` on; greater ones than `max` are cut.
absl::StatusOr<int64_t> ParseNumber(std::string_view name, std::string_view text, int64_t min,
                                    int64_t max) {
  const absl::StatusOr<int64_t> number = ParseInt64(text);
  if (!number.ok() && AllDigits(text)) {
    return max;  // more than 64 bits
  }
  if (!number.ok() || *number < min) {
    return Invalid(
        fmt::format("{} is '{}': give a whole number from {} on", name, text.substr(0, 64), min));
  }
  return std::min(*number, max);
}

absl::StatusOr<std::chrono::milliseconds> ParseWait(std::string_view text) {
  const absl::StatusOr<std::chrono::milliseconds> wait = ParseDuration(text);
  if (!wait.ok() || wait->count() < 0) {
    return Invalid(fmt::format("wait is '{}': give a duration such as 500ms or 30s, at most 60s",
                               text.substr(0, 64)));
  }
  return std::min(*wait, kDeltaWaitMax);
}

absl::StatusOr<std::map<std::string, std::string>> Parameters(std::string_view query) {
  std::map<std::string, std::string> parameters;
  absl::Status status;
  ForEachParameter(query, [&](std::string_view parameter) {
    const std::string_view name = NameOf(parameter);
    const std::string_view value =
        name.size() < parameter.size() ? parameter.substr(name.size() + 1) : std::string_view();
    std::optional<std::string> decoded = PercentDecode(value);
    if (!decoded.has_value()) {
      status = Invalid(fmt::format("the value of {} is not percent-encoded", name.substr(0, 64)));
    } else if (!parameters.try_emplace(std::string(name), *std::move(decoded)).second) {
      status = Invalid(fmt::format("{} is given twice", name.substr(0, 64)));
    }
  });
  RETURN_IF_ERROR(status);
  return parameters;
}

bool IsWord(std::string_view text, std::string_view others) {
  constexpr size_t kWordMax = 64;
  return !text.empty() && text.size() <= kWordMax && std::ranges::all_of(text, [&](char c) {
    return IsLetterOrDigit(c) || others.find(c) != std::string_view::npos;
  });
}

// A position may be given as number or as text. nullopt for what is none.
std::optional<Offset> ReadPosition(simdjson::dom::element element) {
  std::string_view text;
  int64_t number = -1;
  if (element.get(text) == simdjson::SUCCESS) {
    const absl::StatusOr<int64_t> parsed = ParseInt64(text);
    number = parsed.ok() && AllDigits(text) ? *parsed : -1;
  } else if (element.get(number) != simdjson::SUCCESS) {
    return std::nullopt;
  }
  return number < 0 ? std::nullopt : std::optional(Offset(number));
}

// Nothing of what was given is in the messages: it was not checked.
absl::StatusOr<StreamRequest::Have> ReadHave(size_t index, simdjson::dom::element element) {
  const auto invalid = [&](std::string_view what) {
    return Invalid(fmt::format("have[{}]{}", index, what));
  };
  simdjson::dom::object object;
  if (element.get(object) != simdjson::SUCCESS) {
    return invalid(": give an object with `bucket` and `after`");
  }
  StreamRequest::Have have{"", kNoOffset};
  for (const auto& [name, value] : object) {
    if (name == "bucket") {
      std::string_view text;
      if (!have.bucket.empty() || value.get(text) != simdjson::SUCCESS || !IsWord(text, "_-")) {
        return invalid(".bucket: give one text of 1 to 64 of A-Z, a-z, 0-9, '_' and '-'");
      }
      have.bucket = text;
    } else if (name == "after") {
      const std::optional<Offset> after = ReadPosition(value);
      if (have.after != kNoOffset || !after.has_value()) {
        return invalid(
            ".after: give one position, as text or number: decimal digits, at most "
            "9223372036854775807");
      }
      have.after = *after;
    }
  }
  if (have.bucket.empty() || have.after == kNoOffset) {
    return invalid(": give both `bucket` and `after`");
  }
  return have;
}

absl::Status ReadHaves(simdjson::dom::element element, StreamRequest* request) {
  simdjson::dom::array array;
  if (element.get(array) != simdjson::SUCCESS) {
    return Invalid("have: give an array");
  }
  if (array.size() > kHaveMax) {
    return Invalid(fmt::format("have: give at most {} elements", kHaveMax));
  }
  std::set<std::string_view> buckets;
  request->have.reserve(array.size());  // views of its texts stay valid
  for (const simdjson::dom::element one : array) {
    ASSIGN_OR_RETURN(StreamRequest::Have have, ReadHave(request->have.size(), one));
    request->have.push_back(std::move(have));
    if (!buckets.insert(request->have.back().bucket).second) {
      return Invalid(
          fmt::format("have[{}].bucket: it is named by an element before, give each once",
                      request->have.size() - 1));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadHistory(simdjson::dom::element element, StreamRequest* request) {
  std::string_view text;
  if (element.get(text) != simdjson::SUCCESS || !IsWord(text, "._-")) {
    return Invalid("history: give what came with the last complete checkpoint, unchanged");
  }
  request->history = text;
  return absl::OkStatus();
}

// The members of a body that is an object; none of an empty one. `parser` owns what `visit` sees.
template <typename Visit>
absl::Status ForEachMember(std::string_view body, simdjson::dom::parser& parser, Visit visit) {
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return absl::OkStatus();
  }
  simdjson::dom::element root;
  if (const auto error = parser.parse(body.data(), body.size()).get(root);
      error != simdjson::SUCCESS) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_json",
                 fmt::format("the body is not JSON: {}", simdjson::error_message(error)));
  }
  simdjson::dom::object object;
  if (root.get(object) != simdjson::SUCCESS) {
    return Invalid("the body is not an object");
  }
  std::set<std::string_view> seen;
  for (const auto& [name, value] : object) {
    ASSIGN_OR_RETURN(const bool known, visit(name, value));
    if (known && !seen.insert(name).second) {
      return Invalid(fmt::format("{} is given twice", name));
    }
  }
  return absl::OkStatus();
}

// One parameter of delta; false for one that is none of ours.
absl::StatusOr<bool> SetParameter(std::string_view name, std::string_view value,
                                  DeltaRequest* request) {
  if (name == "cursor") {
    request->cursor = value;
  } else if (name == "limit") {
    ASSIGN_OR_RETURN(const int64_t limit, ParseNumber(name, value, 1, kDeltaLimitMax));
    request->limit = static_cast<size_t>(limit);
  } else if (name == "wait") {
    ASSIGN_OR_RETURN(request->wait, ParseWait(value));
  } else if (name == "min_position") {
    ASSIGN_OR_RETURN(const int64_t position, ParseNumber(name, value, 0, INT64_MAX));
    request->min_position = Offset(position);
  } else {
    return false;
  }
  return true;
}

}  // namespace

SyncRouteMatch MatchSyncRoute(std::string_view method, std::string_view path) {
  return FindRoute(std::span<const RouteInfo<SyncRoute>>(kRoutes), method, path);
}

absl::StatusOr<DeltaRequest> ParseDeltaRequest(std::string_view query) {
  DeltaRequest request;
  ASSIGN_OR_RETURN(const auto parameters, Parameters(query));
  for (const auto& [name, value] : parameters) {
    RETURN_IF_ERROR(SetParameter(name, value, &request).status());
  }
  return request;
}

absl::StatusOr<DeltaRequest> ParseDeltaBody(std::string_view body) {
  DeltaRequest request;
  simdjson::dom::parser parser;
  RETURN_IF_ERROR(ForEachMember(
      body, parser,
      [&](std::string_view name, simdjson::dom::element value) -> absl::StatusOr<bool> {
        std::string_view text;
        int64_t number = 0;
        if (value.is_null()) {
          return false;  // as if it were not there
        }
        if (value.get(text) == simdjson::SUCCESS) {
          return SetParameter(name, text, &request);
        }
        if (value.get(number) == simdjson::SUCCESS) {
          return SetParameter(name, std::to_string(number), &request);
        }
        // What is neither is no value of ours.
        return SetParameter(name, "", &request).value_or(true)
                   ? absl::StatusOr<bool>(Invalid(fmt::format("{}: give a text or a number", name)))
                   : false;
      }));
  return request;
}

std::string FreshStart(std::string_view path, std::string_view query) {
  std::string fresh(path);
  char separator = '?';
  ForEachParameter(query, [&](std::string_view parameter) {
    if (NameOf(parameter) != "cursor") {
      fresh += separator;
      fresh += parameter;
      separator = '&';
    }
  });
  return fresh;
}

absl::StatusOr<StreamRequest> ParseStreamRequest(std::string_view body) {
  StreamRequest request;
  simdjson::dom::parser parser;
  const absl::Status read = ForEachMember(
      body, parser,
      [&](std::string_view name, simdjson::dom::element value) -> absl::StatusOr<bool> {
        if (name == "live") {
          return value.get(request.live) == simdjson::SUCCESS ? absl::StatusOr<bool>(true)
                                                              : Invalid("live: give true or false");
        }
        if (name == "have") {
          RETURN_IF_ERROR(request.have.empty() ? ReadHaves(value, &request)
                                               : Invalid("have is given twice"));
          return true;
        }
        if (name == "history") {
          RETURN_IF_ERROR(ReadHistory(value, &request));
          return true;
        }
        return false;
      });
  RETURN_IF_ERROR(read);
  return request;
}

}  // namespace sluice::gateways

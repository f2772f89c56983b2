#include "gateways/sync/sync_request.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <algorithm>
#include <map>

#include "eventlog/base/text_values.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

absl::Status Invalid(std::string_view message) {
  return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", message);
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') {
    return c - '0';
  }
  const char lower = static_cast<char>(c | 0x20);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

// nullopt where a '%' is not followed by two hexadecimal digits.
std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size() || HexDigit(text[i + 1]) < 0 || HexDigit(text[i + 2]) < 0) {
      return std::nullopt;
    }
    out.push_back(static_cast<char>(HexDigit(text[i + 1]) * 16 + HexDigit(text[i + 2])));
    i += 2;
  }
  return out;
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
  return parameter.substr(0, parameter.find('='));
}

bool AllDigits(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
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

Target::Route RouteOf(std::string_view last) {
  if (last == "delta") {
    return Target::Route::kDelta;
  }
  if (last == "entities") {
    return Target::Route::kEntities;
  }
  return last == "stream" ? Target::Route::kStream : Target::Route::kUnknown;
}

// A position may be given as number or as text.
absl::Status ReadHave(simdjson::dom::element element, StreamRequest::Have* have) {
  std::string_view text;
  if (element["bucket"].get(text) != simdjson::SUCCESS) {
    return Invalid("have: each element is an object with the text `bucket`");
  }
  have->bucket = text;
  int64_t number = 0;
  if (element["after"].get(text) == simdjson::SUCCESS) {
    have->after = text;
  } else if (element["after"].get(number) == simdjson::SUCCESS) {
    have->after = std::to_string(number);
  }
  return absl::OkStatus();
}

}  // namespace

Target ParseTarget(std::string_view target) {
  Target parsed;
  const size_t question = target.find('?');
  parsed.path = target.substr(0, question);
  if (question != std::string_view::npos) {
    parsed.query = target.substr(question + 1);
  }
  const std::string_view path = parsed.path;
  if (path == "/healthz") {
    parsed.route = Target::Route::kHealth;
  } else if (path == "/readyz") {
    parsed.route = Target::Route::kReady;
  } else if (path == "/openapi.json") {
    parsed.route = Target::Route::kOpenApi;
  } else if (constexpr std::string_view kPrefix = "/v1/orgs/"; path.starts_with(kPrefix)) {
    const std::string_view rest = path.substr(kPrefix.size());
    const size_t slash = rest.find('/');
    const std::optional<std::string> org = PercentDecode(rest.substr(0, slash));
    if (slash != std::string_view::npos && org.has_value()) {
      parsed.org = *org;
      parsed.route = RouteOf(rest.substr(slash + 1));
    }
  }
  return parsed;
}

std::string_view RouteName(Target::Route route) {
  switch (route) {
    case Target::Route::kDelta:
      return "delta";
    case Target::Route::kStream:
      return "stream";
    case Target::Route::kEntities:
      return "entities";
    case Target::Route::kHealth:
      return "healthz";
    case Target::Route::kReady:
      return "readyz";
    case Target::Route::kOpenApi:
      return "openapi";
    case Target::Route::kUnknown:
      break;
  }
  return "other";
}

absl::StatusOr<DeltaRequest> ParseDeltaRequest(std::string_view query) {
  DeltaRequest request;
  ASSIGN_OR_RETURN(const auto parameters, Parameters(query));
  for (const auto& [name, value] : parameters) {
    if (name == "cursor") {
      request.cursor = value;
    } else if (name == "limit") {
      ASSIGN_OR_RETURN(const int64_t limit, ParseNumber(name, value, 1, kDeltaLimitMax));
      request.limit = static_cast<size_t>(limit);
    } else if (name == "wait") {
      ASSIGN_OR_RETURN(request.wait, ParseWait(value));
    } else if (name == "min_position") {
      ASSIGN_OR_RETURN(const int64_t position, ParseNumber(name, value, 0, INT64_MAX));
      request.min_position = Offset(position);
    }
  }
  return request;
}

std::string FreshStart(const Target& target) {
  std::string fresh = target.path;
  char separator = '?';
  ForEachParameter(target.query, [&](std::string_view parameter) {
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
  if (body.find_first_not_of(" \t\r\n") == std::string_view::npos) {
    return request;
  }
  simdjson::dom::parser parser;
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
  for (const auto& [name, value] : object) {
    if (name == "live" && value.get(request.live) != simdjson::SUCCESS) {
      return Invalid("live: give true or false");
    }
    if (name != "have") {
      continue;
    }
    simdjson::dom::array have;
    if (value.get(have) != simdjson::SUCCESS) {
      return Invalid("have: give an array");
    }
    for (const simdjson::dom::element element : have) {
      RETURN_IF_ERROR(ReadHave(element, &request.have.emplace_back()));
    }
  }
  return request;
}

}  // namespace sluice::gateways

#include "gateways/http/http_types.h"

#include <fmt/format.h>

#include <algorithm>

#include "gateways/problem.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
std::string_view HttpHead::Header(std::string_view name) const {
  const auto found = std::ranges::find_if(
      headers, [&](const auto& header) { return EqualsIgnoringCase(header.first, name); });
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

std::string HttpHead::HeaderList(std::string_view name) const {
  std::string list;
  for (const auto& [header, value] : headers) {
    if (EqualsIgnoringCase(header, name) && !value.empty()) {
      list.append(list.empty() ? "" : ", ").append(value);
    }
  }
  return list;
}

std::optional<std::string> HttpHead::Query(std::string_view name) const {
  std::string_view rest = query;
  // Cut first and decoded then: a value may hold "%26" and "%3D", and a "+" that is meant is "%2B".
  while (!rest.empty()) {
    const std::string_view parameter = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(parameter.size() + 1, rest.size()));
    const size_t equals = parameter.find('=');
    if (parameter.substr(0, equals) == name) {
      std::string value(equals == std::string_view::npos ? std::string_view()
                                                         : parameter.substr(equals + 1));
      std::ranges::replace(value, '+', ' ');
      return PercentDecode(value).value_or(value);
    }
  }
  return std::nullopt;
}

HttpResponse ProblemResponse(const absl::Status& status) {
  HttpResponse response;
  response.status = HttpStatusOf(status);
  response.content_type = kProblemContentType;
  response.body = ProblemJson(status);
  response.note.code = ProblemCode(status);
  if (const std::optional<int> seconds = RetryAfterSeconds(status); seconds.has_value()) {
    response.headers.emplace_back("Retry-After", std::to_string(*seconds));
  }
  if (std::optional<std::string> challenge = WwwAuthenticate(status); challenge.has_value()) {
    response.headers.emplace_back("WWW-Authenticate", *std::move(challenge));
  }
  return response;
}

HttpResponse HealthResponse() { return {.body = R"({"status":"ok"})"}; }

HttpResponse ReadyResponse(const std::function<std::vector<TroubledOrgs>()>& troubled) {
  std::string list;
  for (const TroubledOrgs& orgs : troubled ? troubled() : std::vector<TroubledOrgs>()) {
    list += fmt::format(R"({}{{"code":"{}","partition":{},"count":{}}})", list.empty() ? "" : ",",
                        orgs.code, orgs.partition, orgs.count);
  }
  return {.body = list.empty() ? R"({"status":"ready"})"
                               : fmt::format(R"({{"status":"ready","apart":[{}]}})", list)};
}

HttpResponse NotReadyResponse(std::string_view why) {
  return ProblemResponse(Error(absl::StatusCode::kUnavailable, "not_ready", why));
}

// The code, and of the message nothing but the digits behind the word: whatever else a message
// holds by then, an annotation of a layer in between included, does not get out.
std::string PublicReason(const absl::Status& status) {
  constexpr std::string_view kWord = "partition ";
  constexpr size_t kDigitsMax = 9;
  std::string reason = ErrorCode(status);
  const std::string_view message = Message(status);
  for (size_t at = message.find(kWord); at != std::string_view::npos;
       at = message.find(kWord, at + 1)) {
    const size_t begin = at + kWord.size();
    const size_t end = std::min(message.find_first_not_of("0123456789", begin), message.size());
    const std::string_view digits = message.substr(begin, end - begin);
    if (!digits.empty() && digits.size() <= kDigitsMax) {
      reason.append(", partition ").append(digits);
    }
  }
  return reason;
}

}  // namespace sluice::gateways

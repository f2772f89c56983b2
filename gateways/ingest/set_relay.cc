#include "gateways/ingest/set_relay.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <utility>

#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::gateways {
namespace {

using Json = nlohmann::json;

// An organisation whose store is behind keeps each of its relays waiting: others find a place.
constexpr size_t kOrgPart = 4;

std::string TextOf(const Json& object, const char* member) {
  const auto found = object.find(member);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// A set's error as it was told by the other node; only what a sender can act on is handed on.
std::optional<absl::Status> ErrorOf(const Json& problem) {
  if (!problem.is_object()) {
    return std::nullopt;
  }
  const auto status = problem.find("status");
  const std::string code = TextOf(problem, "code");
  if (status == problem.end() || !status->is_number_integer() || code.empty()) {
    return std::nullopt;
  }
  const auto number = status->get<int64_t>();
  if (number == 429 || number == 503) {
    return Error(absl::StatusCode::kUnavailable, code, TextOf(problem, "detail"));
  }
  if (number < 400 || number > 499) {
    return std::nullopt;
  }
  return Error(absl::StatusCode::kInvalidArgument, code, TextOf(problem, "detail"));
}

SetRelay::Answers ReadAnswers(std::string_view body, const std::vector<SetRelay::Set>& sets) {
  SetRelay::Answers answers;
  while (!body.empty() && answers.size() < sets.size()) {
    const size_t end = std::min(body.find('\n'), body.size());
    const std::string_view line = body.substr(0, end);
    body.remove_prefix(std::min(end + 1, body.size()));
    if (line.empty()) {
      continue;
    }
    auto answer = ReadSetAnswer(line, sets[answers.size()].id);
    if (!answer.has_value()) {
      break;  // from here on it is not known which set an answer is for
    }
    answers.push_back(*std::move(answer));
  }
  return answers;
}

httplib::Request RequestOf(const OrgId& org, const RelayCaller& caller,
                           const std::vector<SetRelay::Set>& sets) {
  httplib::Request request;
  request.method = "POST";
  request.path = fmt::format("/v1/orgs/{}/changes", org.value());
  request.headers = {{"Authorization", caller.authorization},
                     {"Content-Type", "application/x-ndjson"},
                     {"X-Request-Id", caller.request_id},
                     {kRelayedHeader, "1"}};
  if (!caller.traceparent.empty()) {
    request.headers.emplace("traceparent", caller.traceparent);
  }
  for (const SetRelay::Set& set : sets) {
    request.body.append(set.line).push_back('\n');
  }
  return request;
}

}  // namespace

std::optional<absl::StatusOr<Offset>> ReadSetAnswer(std::string_view line, const std::string& id) {
  const Json answer = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!answer.is_object() || TextOf(answer, "id") != id) {
    return std::nullopt;
  }
  if (const auto error = answer.find("error"); error != answer.end()) {
    const std::optional<absl::Status> status = ErrorOf(*error);
    return status.has_value() ? std::make_optional<absl::StatusOr<Offset>>(*status) : std::nullopt;
  }
  const absl::StatusOr<int64_t> position = ParseInt64(TextOf(answer, "position"));
  if (!position.ok() || *position < 0) {
    return std::nullopt;
  }
  return absl::StatusOr<Offset>(Offset(*position));
}

SetRelay::SetRelay(RelayOptions options)
    : options_(options),
      places_({.units_max = options.concurrent_max,
               .org_part = kOrgPart,
               .caller_part = 1,
               .refusal = absl::OkStatus()}) {}  // nobody waits

absl::StatusOr<SetRelay::Answers> SetRelay::Post(const std::string& node, const OrgId& org,
                                                 const RelayCaller& caller,
                                                 const std::vector<Set>& sets) {
  const std::optional<FairBudget::Share> place = places_.TryTake(org.value(), org.value(), 1);
  if (!place.has_value()) {
    return Error(absl::StatusCode::kResourceExhausted, "too_busy",
                 fmt::format("{} relays are under way already, or {} of this organisation",
                             options_.concurrent_max,
                             std::max<size_t>(options_.concurrent_max / kOrgPart, 1)));
  }
  // A token is sent in the clear only where this cluster's own listeners are said to speak so.
  if (!node.starts_with("http://")) {
    return absl::FailedPreconditionError(fmt::format("'{}' is no http URL", node));
  }
  httplib::Client client(node.substr(0, node.find_last_not_of('/') + 1));
  if (!client.is_valid()) {
    return absl::FailedPreconditionError(fmt::format("'{}' is no http URL", node));
  }
  client.set_connection_timeout(options_.connect_timeout);
  client.set_read_timeout(options_.timeout);
  client.set_write_timeout(options_.timeout);
  client.set_follow_location(false);  // the token is for this node alone
  client.set_tcp_nodelay(true);
  const auto deadline = std::chrono::steady_clock::now() + 2 * options_.timeout;
  std::string body;
  httplib::Request request = RequestOf(org, caller, sets);
  // The library's time-outs are per read; the check here bounds an answer that comes in drops.
  request.content_receiver = [&](const char* data, size_t size, uint64_t, uint64_t) {
    const bool fits = body.size() + size <= options_.answer_bytes_max;
    body.append(data, fits ? size : 0);
    return fits && std::chrono::steady_clock::now() < deadline;
  };
  const httplib::Result result = client.send(request);
  if (result && result->status != 200) {
    return absl::UnavailableError(fmt::format("{} answered with status {}", node, result->status));
  }
  Answers answers = ReadAnswers(body, sets);
  if (answers.empty()) {
    return absl::UnavailableError(fmt::format(
        "{}: {}", node,
        result ? "the answer is not for these sets" : httplib::to_string(result.error())));
  }
  return answers;
}

}  // namespace sluice::gateways

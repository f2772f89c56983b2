#include "clients/cpp/server_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/time/time.h"
#include "clients/cpp/frame_reader.h"
#include "clients/cpp/http_client.h"
#include "schemas/base/ids.h"
#include "schemas/base/printable.h"
#include "schemas/base/status.h"

namespace sluice::client {
namespace {

constexpr char kWipePayload[] = "sluice.client/wipe";

// How long the server asks to wait; 0 where it does not say so in seconds.
std::chrono::milliseconds RetryAfter(const HttpHead& head) {
  const std::string_view text = head.Header("retry-after");
  int64_t seconds = 0;
  std::from_chars(text.data(), text.data() + text.size(), seconds);
  return std::chrono::seconds(std::clamp<int64_t>(seconds, 0, 86'400));
}

// An address and nothing after it; the HTTP library takes what it can't read for a host's name.
bool IsServerUrl(std::string_view url) {
  const bool plain = url.starts_with("http://");
  const bool tls = url.starts_with("https://");
  const std::string_view host = url.substr(plain ? 7 : tls ? 8 : url.size());
  return !host.empty() && host.find_first_of("/?#@\\ \t\r\n") == std::string_view::npos &&
         PrintableMessage(host) == host;
}

absl::Status CheckOrg(std::string_view org) {
  return OrgId::Parse(org).ok() ? absl::OkStatus()
                                : absl::InvalidArgumentError(fmt::format(
                                      "\"{}\" is not the name of an organisation", org));
}

}  // namespace

bool WipeDemanded(const absl::Status& status) {
  return status.GetPayload(kWipePayload).has_value();
}

absl::Status ToRefusal(int http_status, std::string_view body) {
  const bool gone = http_status == 404 || http_status == 410;
  const absl::StatusCode kind = http_status == 401   ? absl::StatusCode::kUnauthenticated
                                : http_status == 403 ? absl::StatusCode::kPermissionDenied
                                : gone               ? absl::StatusCode::kNotFound
                                : http_status == 429 || http_status >= 500 || http_status / 100 == 3
                                    ? absl::StatusCode::kUnavailable
                                    : absl::StatusCode::kInvalidArgument;
  const Problem problem = ParseProblem(body);
  absl::Status refusal = Error(
      kind, problem.code.empty() ? "http_error" : PrintableMessage(problem.code, 64),
      fmt::format("{} (HTTP {})",
                  problem.detail.empty() ? "the server refused" : PrintableMessage(problem.detail),
                  http_status));
  if (problem.wipe && (http_status == 403 || gone)) {
    refusal.SetPayload(kWipePayload, absl::Cord("1"));
  }
  return refusal;
}

absl::StatusOr<std::string> RedirectTarget(std::string_view base, std::string_view path,
                                           std::string_view location) {
  const auto refused = [&](std::string_view why) {
    return Error(absl::StatusCode::kUnavailable, "redirect_refused",
                 fmt::format("{} points to \"{}\", {}: the token is not sent there", base,
                             PrintableMessage(location, 200), why));
  };
  if (!location.ends_with(path)) {
    return refused("which is not the same path at another server");
  }
  const std::string_view target = location.substr(0, location.size() - path.size());
  if (target.empty()) {
    return std::string(base);
  }
  if (!IsServerUrl(target)) {
    return refused("which is no http or https URL of a server");
  }
  if (base.starts_with("https://") && !target.starts_with("https://")) {
    return refused("from https to http");
  }
  return std::string(target);
}

// What one request to one node came to.
struct ServerConnection::Answer {
  int http_status = 0;  // 0: none came
  std::string problem;
  std::string location;
  absl::Status received;   // the receiver's
  absl::Status transport;  // how the connection ended
};

ServerConnection::ServerConnection(const PullOptions& options)
    : options_(options), base_(options.url) {}
ServerConnection::~ServerConnection() = default;

absl::StatusOr<std::unique_ptr<ServerConnection>> ServerConnection::Open(
    const PullOptions& options) {
  PullOptions checked = options;
  while (checked.url.ends_with('/')) {
    checked.url.pop_back();
  }
  if (!IsServerUrl(checked.url)) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not the URL of a server: write http://HOST:PORT", options.url));
  }
  RETURN_IF_ERROR(CheckOrg(options.org));
  std::unique_ptr<ServerConnection> connection(new ServerConnection(checked));
  const absl::Status usable = connection->ClientFor(kStream, checked.url).status();
  if (!usable.ok()) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument", Message(usable));
  }
  return connection;
}

absl::StatusOr<std::shared_ptr<HttpClient>> ServerConnection::ClientFor(ChannelName name,
                                                                        const std::string& base) {
  const absl::MutexLock lock(&mutex_);
  Channel& channel = channels_[name];
  if (channel.http != nullptr && channel.base == base) {
    return channel.http;
  }
  std::shared_ptr<HttpClient> client =
      HttpClient::Make(base, {.ca_file = options_.ca_file, .silence_max = options_.silence_max});
  if (client == nullptr) {
    return absl::UnavailableError(fmt::format("\"{}\" can't be used as the URL of a server", base));
  }
  if (cancelled_) {
    client->Cancel();  // Cancel() has been here, and saw none
  }
  channel.base = base;
  channel.http = client;
  return client;
}

absl::Status ServerConnection::Stream(const std::string& body, const Receiver& receive) {
  return Send(
      {kStream, fmt::format("/v1/orgs/{}/stream", options_.org), body, "application/x-ndjson", 0},
      receive);
}

absl::StatusOr<std::string> ServerConnection::Entities() {
  std::string body;
  RETURN_IF_ERROR(Send({kEntities,
                        fmt::format("/v1/orgs/{}/entities", options_.org),
                        {},
                        "application/json",
                        kEntitiesBytesMax},
                       [&body](std::string_view bytes) {
                         body.append(bytes);
                         return absl::OkStatus();
                       }));
  return body;
}

absl::Status ServerConnection::Send(const Ask& ask, const Receiver& receive) {
  ASSIGN_OR_RETURN(const std::string token, options_.token());
  if (std::any_of(token.begin(), token.end(), absl::ascii_iscntrl)) {
    return absl::InvalidArgumentError(
        "the token has a line break or another control character in it");
  }
  std::string base = base_;
  for (int hops = 0; !cancelled(); ++hops) {
    ASSIGN_OR_RETURN(const std::shared_ptr<HttpClient> client, ClientFor(ask.channel, base));
    const Answer answer = SendTo(*client, base, ask, token, receive);
    if (answer.http_status == 307 || answer.http_status == 308) {
      base_ = options_.url;  // unless the other answers
      if (hops == kRedirectsMax) {
        return Error(absl::StatusCode::kUnavailable, "too_many_redirects",
                     fmt::format("{} and {} others point to each other; the organisation may be "
                                 "moving between them",
                                 options_.url, kRedirectsMax));
      }
      ASSIGN_OR_RETURN(base, RedirectTarget(base, ask.path, answer.location));
      continue;
    }
    RETURN_IF_ERROR(answer.received);
    if (answer.http_status == 200) {
      return answer.transport.ok() ? answer.transport : Annotate(answer.transport, base);
    }
    const absl::Status status = answer.http_status == 0
                                    ? Annotate(answer.transport, base)
                                    : ToRefusal(answer.http_status, answer.problem);
    if (absl::IsUnavailable(status)) {
      base_ = options_.url;  // which knows where the organisation is now
    }
    return status;
  }
  return absl::CancelledError("the pull was cancelled");
}

ServerConnection::Answer ServerConnection::SendTo(HttpClient& client, const std::string& base,
                                                  const Ask& ask, const std::string& token,
                                                  const Receiver& receive) {
  Answer answer;
  HttpRequest request{
      ask.path,
      {"Authorization: Bearer " + token, "Accept: " + ask.accept, "Accept-Encoding: identity"},
      ask.body};
  if (!ask.body.empty()) {
    request.headers.push_back("Content-Type: application/json");
  }
  const auto on_head = [&](const HttpHead& head) {
    answer.http_status = head.status;
    answer.location = head.Header("location");
    retry_after_ = RetryAfter(head);
    if (head.status == 200) {
      base_ = base;  // at once: the receiver may ask for the entities there
    }
    return !cancelled();
  };
  size_t received = 0;
  const auto on_body = [&](std::string_view bytes) {
    received += bytes.size();
    if (answer.http_status != 200) {
      // The rest of a body without end is nobody's.
      answer.problem.append(bytes.substr(0, kProblemBytesMax - answer.problem.size()));
      return answer.problem.size() < kProblemBytesMax;
    }
    if (ask.bytes_max != 0 && received > ask.bytes_max) {
      answer.received =
          Error(absl::StatusCode::kDataLoss, "malformed_frame",
                fmt::format("the answer to {} is longer than {} bytes", ask.path, ask.bytes_max));
      return false;
    }
    answer.received = receive(bytes);
    return answer.received.ok() && !cancelled();
  };
  answer.transport = client.Send(request, on_head, on_body);
  return answer;
}

void ServerConnection::Wait(int failures) {
  if (failures == 1) {
    backoff_.Reset();
  }
  const auto wait = backoff_.NextAfter(std::exchange(retry_after_, {}));
  const absl::MutexLock lock(&mutex_);
  mutex_.AwaitWithTimeout(absl::Condition(&cancelled_), absl::FromChrono(wait));
}

void ServerConnection::Cancel() {
  std::shared_ptr<HttpClient> running[kChannels];
  {
    const absl::MutexLock lock(&mutex_);
    cancelled_ = true;
    for (size_t i = 0; i < kChannels; ++i) {
      running[i] = channels_[i].http;
    }
  }
  for (const auto& http : running) {
    if (http != nullptr) {
      http->Cancel();
    }
  }
}

bool ServerConnection::cancelled() const {
  const absl::MutexLock lock(&mutex_);
  return cancelled_;
}

}  // namespace sluice::client

#include "ops/program/admin_client.h"

#include <fmt/format.h>
#include <httplib.h>
#include <CLI/CLI.hpp>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "ops/program/ingest_set.h"
#include "ops/program/signing.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::ops {
namespace {

absl::StatusCode KindOfHttpStatus(int status) {
  switch (status) {
    case 401:
      return absl::StatusCode::kUnauthenticated;
    case 403:
      return absl::StatusCode::kPermissionDenied;
    case 404:
      return absl::StatusCode::kNotFound;
    case 409:
    case 412:
      return absl::StatusCode::kFailedPrecondition;
    case 429:
      return absl::StatusCode::kResourceExhausted;
    case 502:
    case 503:
    case 504:
      return absl::StatusCode::kUnavailable;
    default:
      return status < 500 ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kInternal;
  }
}

absl::Status ProblemToStatus(int http_status, const std::string& body) {
  const auto problem = nlohmann::json::parse(body, nullptr, false);
  const std::string code = TextMember(problem, "code");
  const std::string detail = TextMember(problem, "detail");
  return Error(KindOfHttpStatus(http_status), code.empty() ? "http_error" : code,
               fmt::format("{} ({})", detail.empty() ? "the server refused the request" : detail,
                           code.empty() ? fmt::format("HTTP {}", http_status) : code));
}

}  // namespace

struct AdminClient::Impl {
  Impl(const std::string& url_, std::string token_)
      : url(url_), client(url_), token(std::move(token_)) {}

  // Signs a token with the development key: anew long before the last one ends, since a file may
  // take hours.
  absl::Status Sign(const std::string& data_dir) {
    gateways::TokenSpec spec;
    spec.subject = "sluice-cli";
    spec.scope = "sluice.admin sluice.ingest sluice.audit";
    spec.lifetime = std::chrono::hours(1);
    ASSIGN_OR_RETURN(token, SignWithDevelopmentKey(data_dir, spec));
    signed_at = std::chrono::steady_clock::now();
    signs_in = data_dir;
    return absl::OkStatus();
  }
  absl::Status Renew() {
    const bool is_old = std::chrono::steady_clock::now() - signed_at > std::chrono::minutes(30);
    return !signs_in.empty() && is_old ? Sign(signs_in) : absl::OkStatus();
  }

  const std::string url;
  httplib::Client client;
  std::string token;
  std::string signs_in;  // the folder of the key; empty: the token was given
  std::chrono::steady_clock::time_point signed_at;
  bool was_answered = false;
  std::chrono::seconds retry_after{0};
};

AdminClient::AdminClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
AdminClient::~AdminClient() = default;

absl::StatusOr<std::unique_ptr<AdminClient>> AdminClient::Create(const Connection& connection) {
  auto impl = std::make_unique<Impl>(connection.url, connection.token);
  if (impl->token.empty()) {
    RETURN_IF_ERROR_CTX(impl->Sign(connection.data_dir), "no --token given (or SLUICE_TOKEN set)");
  }
  if (!impl->client.is_valid()) {
    return absl::InvalidArgumentError(
        fmt::format("\"{}\" is not the URL of a server: write http://HOST:PORT", connection.url));
  }
  impl->client.set_keep_alive(true);
  impl->client.set_tcp_nodelay(true);
  impl->client.set_read_timeout(std::chrono::seconds(120));
  return std::unique_ptr<AdminClient>(new AdminClient(std::move(impl)));
}

absl::StatusOr<AdminClient::Response> AdminClient::Send(const Request& request) {
  // Before each request, and not when one was refused: a body of many sets is not sent twice.
  RETURN_IF_ERROR(impl_->Renew());
  impl_->retry_after = std::chrono::seconds(0);
  httplib::Request http;
  http.method = request.method;
  http.path = request.path;
  http.set_header("Authorization", "Bearer " + impl_->token);
  for (const auto& [name, value] : request.headers) {
    http.set_header(name, value);
  }
  if (!request.body.empty()) {
    http.set_header("Content-Type", request.content_type);
    http.body = request.body;
  }
  const httplib::Result result = impl_->client.send(http);
  if (!result) {
    return absl::UnavailableError(fmt::format(
        "no answer from {} ({}): is `sluice serve` running there? Name another with --url",
        impl_->url, httplib::to_string(result.error())));
  }
  // Before it is looked at: one that refuses shows that a server is there, which is worth waiting
  // for; one that never answered is a wrong URL.
  impl_->was_answered = true;
  if (result->status >= 400) {
    // A date, which is allowed too, is not read.
    const auto asked = ParseInt64(result->get_header_value("Retry-After"));
    impl_->retry_after = std::chrono::seconds(std::clamp<int64_t>(asked.value_or(0), 0, 86'400));
    return ProblemToStatus(result->status, result->body);
  }
  return Response{result->status, result->body, result->get_header_value("ETag")};
}

bool AdminClient::was_answered() const { return impl_->was_answered; }

std::chrono::seconds AdminClient::retry_after() const { return impl_->retry_after; }

std::string PathSegment(std::string_view text) {
  if (text == "." || text == "..") {
    return text.size() == 1 ? "%2E" : "%2E%2E";  // what is on the way would take it out of the path
  }
  std::string out;
  for (const char c : text) {
    if (IsLetterOrDigit(c) || c == '-' || c == '.' || c == '_' || c == '~') {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

void AddConnectionOptions(CLI::App& command, Connection& connection) {
  command.add_option("--url", connection.url, "Admin endpoint of the server")
      ->envname("SLUICE_URL")
      ->capture_default_str();
  command
      .add_option("--token", connection.token,
                  "Bearer token; without one, one is signed with the development key")
      ->envname("SLUICE_TOKEN");
  AddDataDirOption(command, connection.data_dir, "Where the development key is");
}

void AddDataDirOption(CLI::App& command, std::string& data_dir, const std::string& help) {
  command.add_option("--data-dir", data_dir, help)
      ->envname("SLUICE_DATA_DIR")
      ->capture_default_str();
}

void RunBy(CLI::App* command, Invocation& invocation, std::function<absl::Status()> run) {
  command->callback([&invocation, run = std::move(run)] { invocation.run = run; });
}

absl::Status WrongUsage(std::string_view message) {
  return Error(absl::StatusCode::kInvalidArgument, "wrong_usage", message);
}

absl::StatusOr<std::string> ReadInput(const std::string& path) {
  if (path == "-") {
    return std::string(std::istreambuf_iterator<char>(std::cin), {});
  }
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) {
    return absl::InvalidArgumentError(fmt::format("{} is a folder, and should be a file", path));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(fmt::format("{} can't be read: {}", path, std::strerror(errno)));
  }
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (file.bad()) {
    return absl::UnavailableError(
        fmt::format("{} can't be read to its end: {}", path, std::strerror(errno)));
  }
  return text;
}

}  // namespace sluice::ops

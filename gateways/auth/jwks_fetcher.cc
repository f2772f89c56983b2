#include "gateways/auth/jwks_fetcher.h"

#include <fmt/format.h>
#include <httplib.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "gateways/auth/key_set.h"
#include "schemas/base/status.h"

namespace sluice::gateways {

struct JwksFetcher::Impl {
  std::string url;  // for messages: without the query, which may hold a secret
  std::string path;
  std::chrono::milliseconds timeout;
  std::unique_ptr<httplib::Client> client;
  std::atomic<bool> stopped{false};
};

JwksFetcher::JwksFetcher(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
JwksFetcher::~JwksFetcher() = default;

absl::StatusOr<std::unique_ptr<JwksFetcher>> JwksFetcher::Create(
    const std::string& url, const std::string& ca_file, std::chrono::milliseconds timeout) {
  const size_t scheme_end = url.find("://");
  const std::string scheme = url.substr(0, scheme_end);
  if (scheme_end == std::string::npos || (scheme != "http" && scheme != "https")) {
    return absl::InvalidArgumentError("the JWKS address is not an http or https URL");
  }
  const size_t path_begin = std::min(url.find_first_of("/?#", scheme_end + 3), url.size());
  if (url.find('@') < path_begin) {
    return absl::InvalidArgumentError("the JWKS URL must not hold a user name or password");
  }
  auto impl = std::make_unique<Impl>();
  impl->url = url.substr(0, url.find('?'));
  impl->path = url.substr(path_begin, url.find('#', path_begin) - path_begin);
  if (impl->path.empty() || impl->path.front() != '/') {
    impl->path.insert(0, "/");
  }
  impl->timeout = timeout;
  impl->client = std::make_unique<httplib::Client>(url.substr(0, path_begin));
  httplib::Client& client = *impl->client;
  if (path_begin == scheme_end + 3 || !client.is_valid()) {
    return absl::InvalidArgumentError("the JWKS address is not an http or https URL");
  }
  client.set_connection_timeout(timeout);
  client.set_read_timeout(timeout);
  client.set_write_timeout(timeout);
  client.set_follow_location(false);
  client.set_keep_alive(false);
  if (scheme == "https") {
    client.enable_server_certificate_verification(true);
    if (!ca_file.empty()) {
      client.set_ca_cert_path(ca_file);
    }
  }
  return std::unique_ptr<JwksFetcher>(new JwksFetcher(std::move(impl)));
}

absl::StatusOr<std::string> JwksFetcher::Get() {
  const auto fail = [this](std::string_view why) {
    return absl::UnavailableError(fmt::format("fetching {}: {}", impl_->url, why));
  };
  if (impl_->stopped) {
    return fail("stopped");
  }
  const auto deadline = std::chrono::steady_clock::now() + impl_->timeout;
  std::string body;
  bool too_large = false;
  // The library's time-outs are per read; the check here bounds a body that comes in drops.
  const httplib::Result result = impl_->client->Get(
      impl_->path, {{"Accept", "application/json"}}, [&](const char* data, size_t size) {
        too_large = body.size() + size > kJwksBytesMax;
        body.append(data, too_large ? 0 : size);
        return !too_large && std::chrono::steady_clock::now() < deadline;
      });
  if (too_large) {
    return fail(fmt::format("the answer is larger than {} bytes", kJwksBytesMax));
  }
  if (!result) {
    return fail(httplib::to_string(result.error()));
  }
  if (result->status != 200) {
    return fail(fmt::format("HTTP status {}", result->status));
  }
  return body;
}

void JwksFetcher::Stop() {
  impl_->stopped = true;
  impl_->client->stop();
}

}  // namespace sluice::gateways

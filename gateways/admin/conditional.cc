#include "gateways/admin/conditional.h"

#include "gateways/admin/request_context.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::gateways {

void SetPreconditions(const HttpHead& http, v1::ProvisioningRequest& request) {
  request.set_if_match(http.HeaderList("If-Match"));
  request.set_if_none_match(http.HeaderList("If-None-Match") == "*");
}

std::string EtagOf(const projectors::OrgEntry& entry, const std::string& target) {
  const auto found = entry.etags.find(target);
  return found == entry.etags.end() ? std::string() : found->second;
}

void AddEtag(const std::string& etag, HttpResponse& response) {
  if (!etag.empty()) {
    response.headers.emplace_back("ETag", etag);
  }
}

bool NotModified(const HttpHead& http, const std::string& etag) {
  const std::string held = http.HeaderList("If-None-Match");
  return !etag.empty() && (held == "*" || held.find(etag) != std::string::npos);
}

absl::StatusOr<std::optional<std::chrono::milliseconds>> WaitOf(const HttpHead& http) {
  const auto text = http.Query("wait");
  if (!text.has_value()) {
    return std::nullopt;
  }
  auto wait = ParseDuration(*text);
  if (!wait.ok()) {
    return Annotate(wait.status(), "wait");
  }
  return std::min(*wait, kWaitMax);
}

}  // namespace sluice::gateways

#pragma once

#include <string_view>

#include "gateways/http/http_types.h"

// Conditional requests (RFC 9110, section 13), as far as they are a listener's. An ETag is as the
// header has it, with its quotes; empty where there is none.
namespace sluice::gateways {

void AddEtag(std::string_view etag, HttpResponse& response);

// Does If-None-Match of a GET name `etag`, be it as a weak one, or by "*" any? Then 304 is the
// answer (section 13.1.2).
[[nodiscard]] bool NotModified(const HttpHead& http, std::string_view etag);

}  // namespace sluice::gateways

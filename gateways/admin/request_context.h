#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "eventlog/event.h"
#include "gateways/admin/router.h"
#include "gateways/auth/authenticator.h"
#include "gateways/http/http_types.h"
#include "schemas/base/ids.h"

namespace sluice::gateways {

// One request on its way through the admin gateway.
struct RequestContext {
  const HttpHead& http;
  std::string body{};  // decompressed; empty where the route takes none or reads it by itself
  AdminRouteMatch match{};
  std::shared_ptr<const Principal> principal{};  // nullptr on open routes

  // The path's organisation; code "invalid_argument" where it is no name for one.
  [[nodiscard]] absl::StatusOr<OrgId> Org() const { return OrgId::Parse(match.org); }
  // Who made what this request makes, for its events.
  [[nodiscard]] eventlog::Cause Cause() const {
    return {.subject = principal == nullptr ? std::string() : principal->subject,
            .issuer = principal == nullptr ? std::string() : principal->issuer,
            .request_id = http.request_id};
  }
};

// Something that an answer waits for, without a thread.
struct AnswerWait {
  std::function<bool()> reached;  // asked again and again, on a thread that may block shortly
  std::chrono::milliseconds timeout{0};
  // Completes the answer; `reached` is false when the time was up or the server stops.
  std::function<void(bool reached, HttpResponse& response)> finish =
      [](bool in_time, HttpResponse& response) { response.status = in_time ? 200 : 202; };
};

// What a handler returns.
struct Answer {
  Answer(HttpResponse the_response) : response(std::move(the_response)) {}  // NOLINT: on purpose
  HttpResponse response;
  std::optional<AnswerWait> wait;
};

inline constexpr std::chrono::milliseconds kWaitMax{60'000};

// `?page_size=`: 100 where it is not given, cut to 1,000. kInvalidArgument for what is no number
// from 1 on.
[[nodiscard]] absl::StatusOr<size_t> PageSizeOf(const HttpHead& http);

// `?wait=10s`, cut to a minute; nullopt where it is not given. kInvalidArgument for what is no
// duration.
[[nodiscard]] absl::StatusOr<std::optional<std::chrono::milliseconds>> WaitOf(const HttpHead& http);

}  // namespace sluice::gateways

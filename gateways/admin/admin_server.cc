#include "gateways/admin/admin_server.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>

#include "eventlog/base/text_values.h"
#include "eventlog/base/uuid.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/definition_routes.h"
#include "gateways/admin/http_server.h"
#include "gateways/admin/ingest_routes.h"
#include "gateways/admin/openapi.h"
#include "gateways/admin/org_routes.h"
#include "gateways/admin/router.h"
#include "gateways/problem.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

using Kind = DefinitionRoutes::Kind;

// The caller's id for the request if it is a plain one, otherwise a new one.
std::string RequestIdOf(const HttpRequest& http, const Clock& clock) {
  std::string id = http.Header("X-Request-Id");
  const bool plain =
      !id.empty() && id.size() <= 128 && std::ranges::all_of(id, [](unsigned char c) {
        return std::isalnum(c) != 0 || c == '-' || c == '_' || c == '.';
      });
  return plain ? id : NewUuid7(clock);
}

// A path as a log line may hold it.
std::string Loggable(std::string_view path) {
  std::string text(path.substr(0, 256));
  std::ranges::replace_if(
      text, [](unsigned char c) { return c <= ' ' || c == '"' || c == '\\' || c >= 0x7f; }, '?');
  return text;
}

HttpResponse ProblemResponse(const absl::Status& status) {
  HttpResponse response;
  response.status = HttpStatusOf(status);
  response.content_type = kProblemContentType;
  response.body = ProblemJson(status);
  if (const auto seconds = RetryAfterSeconds(status); seconds.has_value()) {
    response.headers.emplace_back("Retry-After", std::to_string(*seconds));
  }
  if (const auto challenge = WwwAuthenticate(status); challenge.has_value()) {
    response.headers.emplace_back("WWW-Authenticate", *challenge);
  }
  return response;
}

IngestOptions ToIngestOptions(const AdminServerOptions& options) {
  IngestOptions ingest;
  ingest.set_limits.line_bytes_max = options.line_bytes_max;
  ingest.set_limits.ops_max = options.ops_per_set_max;
  ingest.answer_bytes_max = options.answer_bytes_max;
  ingest.request_in_flight_bytes_max = options.request_in_flight_bytes_max;
  ingest.in_flight_bytes_max = options.in_flight_bytes_max;
  ingest.in_flight_events_max = options.in_flight_events_max;
  ingest.remembered_sets_max = options.remembered_sets_max;
  ingest.append_timeout = options.append_timeout;
  return ingest;
}

}  // namespace

struct AdminServer::Impl {
  Impl(AdminServerOptions the_options, AdminServerDeps the_deps);

  void Handle(HttpRequest& http, HttpResponse& response);
  absl::StatusOr<HttpResponse> Dispatch(RequestContext& context);
  absl::StatusOr<HttpResponse> Call(RequestContext& context);
  HttpResponse Ready() const;
  HttpResponse Metrics() const;
  void Account(const HttpRequest& http, const RouteInfo* route, const Principal* principal,
               const HttpResponse& response, std::string_view request_id, SteadyTime begun);

  const AdminServerOptions options;
  AdminServerDeps deps;
  AppliedWait applied;
  IngestService ingest_service;
  OrgRoutes orgs;
  DefinitionRoutes definitions;
  IngestRoutes ingest;
  std::atomic<bool> caught_up{false};  // the directory, once
  prometheus::Family<prometheus::Counter>* requests = nullptr;
  prometheus::Family<prometheus::Histogram>* durations = nullptr;
  std::unique_ptr<HttpServer> server;
};

AdminServer::Impl::Impl(AdminServerOptions the_options, AdminServerDeps the_deps)
    : options(std::move(the_options)),
      deps(std::move(the_deps)),
      applied(deps.stores, deps.remote_applied, deps.clock),
      ingest_service(ToIngestOptions(options), deps.log, deps.directory.directory(), deps.stores,
                     deps.clock, deps.registry),
      orgs(
          deps.directory, deps.stores, applied,
          [this](const OrgId& org) { return ingest_service.LastChange(org); },
          options.provisioning_timeout),
      definitions(deps.directory, applied, options.definition_bytes_max,
                  options.provisioning_timeout),
      ingest(ingest_service, applied) {
  if (deps.registry != nullptr) {
    requests = &prometheus::BuildCounter()
                    .Name("sluice_admin_requests_total")
                    .Help("Requests answered by the admin listener")
                    .Register(*deps.registry);
    durations = &prometheus::BuildHistogram()
                     .Name("sluice_admin_request_seconds")
                     .Help("Time from a request's headers to its answer")
                     .Register(*deps.registry);
  }
}

HttpResponse AdminServer::Impl::Ready() const {
  std::string reasons;
  absl::Status first;
  for (const auto& [name, check] : deps.health) {
    const absl::Status status = check();
    if (status.ok()) {
      continue;
    }
    reasons.append(reasons.empty() ? "{\"name\":" : ",{\"name\":");
    schemas::AppendJsonString(name, &reasons);
    reasons.append(",\"reason\":");
    schemas::AppendJsonString(Message(status), &reasons);
    reasons.push_back('}');
    first = first.ok() ? status : first;
  }
  if (first.ok()) {
    return HttpResponse{.body = "{\"status\":\"ready\"}"};
  }
  HttpResponse response = ProblemResponse(
      Error(absl::StatusCode::kUnavailable, "not_ready", "not every role can serve yet"));
  response.body.pop_back();
  response.body.append(fmt::format(",\"reasons\":[{}]}}", reasons));
  return response;
}

HttpResponse AdminServer::Impl::Metrics() const {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  if (deps.registry != nullptr) {
    response.body = prometheus::TextSerializer().Serialize(deps.registry->Collect());
  }
  return response;
}

absl::StatusOr<HttpResponse> AdminServer::Impl::Call(RequestContext& context) {
  switch (context.match.info->route) {
    case AdminRoute::kListOrgs:
      return orgs.List(context);
    case AdminRoute::kPutOrg:
      return orgs.Put(context);
    case AdminRoute::kGetOrg:
      return orgs.Get(context);
    case AdminRoute::kDeleteOrg:
      return orgs.Delete(context);
    case AdminRoute::kListEntities:
      return definitions.List(Kind::kEntity, context);
    case AdminRoute::kPutEntity:
      return definitions.Put(Kind::kEntity, context);
    case AdminRoute::kGetEntity:
      return definitions.Get(Kind::kEntity, context);
    case AdminRoute::kDeleteEntity:
      return definitions.Delete(Kind::kEntity, context);
    case AdminRoute::kListProfiles:
      return definitions.List(Kind::kProfile, context);
    case AdminRoute::kPutProfile:
      return definitions.Put(Kind::kProfile, context);
    case AdminRoute::kGetProfile:
      return definitions.Get(Kind::kProfile, context);
    case AdminRoute::kDeleteProfile:
      return definitions.Delete(Kind::kProfile, context);
    case AdminRoute::kListRoles:
      return definitions.List(Kind::kRole, context);
    case AdminRoute::kPutRole:
      return definitions.Put(Kind::kRole, context);
    case AdminRoute::kGetRole:
      return definitions.Get(Kind::kRole, context);
    case AdminRoute::kDeleteRole:
      return definitions.Delete(Kind::kRole, context);
    case AdminRoute::kIngest:
      return ingest.Post(context);
    case AdminRoute::kHealthz:
      return HttpResponse{.body = "{\"status\":\"ok\"}"};
    case AdminRoute::kReadyz:
      return Ready();
    case AdminRoute::kMetrics:
      return Metrics();
    case AdminRoute::kOpenApi:
      return HttpResponse{.body = std::string(OpenApiJson())};
  }
  return absl::InternalError("a route without a handler");
}

absl::StatusOr<HttpResponse> AdminServer::Impl::Dispatch(RequestContext& context) {
  if (const auto scope = context.match.info->scope; scope.has_value()) {
    ASSIGN_OR_RETURN(context.principal,
                     deps.authenticator.Authenticate(context.http.Header("Authorization")));
    RETURN_IF_ERROR(RequireScope(*context.principal, *scope));
  }
  if (!caught_up.load(std::memory_order_relaxed) &&
      context.match.info->pattern.starts_with("/v1/")) {
    // Until then an organisation that is not in the directory may exist all the same.
    if (const absl::Status health = deps.directory.Health(); !health.ok()) {
      return Error(absl::StatusCode::kUnavailable, "not_ready", Message(health));
    }
    caught_up = true;
  }
  if (!options.administration && context.match.info->pattern.starts_with("/v1/")) {
    return Error(absl::StatusCode::kNotFound, "not_served_here",
                 "this process does not have the role admin: ask one that has");
  }
  return Call(context);
}

void AdminServer::Impl::Account(const HttpRequest& http, const RouteInfo* route,
                                const Principal* principal, const HttpResponse& response,
                                std::string_view request_id, SteadyTime begun) {
  const auto took = std::chrono::duration<double>(deps.clock.SteadyNow() - begun).count();
  const std::string operation(route == nullptr ? "none" : route->operation);
  if (requests != nullptr) {
    requests->Add({{"operation", operation}, {"status", std::to_string(response.status)}})
        .Increment();
    durations
        ->Add({{"operation", operation}},
              prometheus::Histogram::BucketBoundaries{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025,
                                                      0.05, 0.1, 0.25, 1, 5, 30})
        .Observe(took);
  }
  // What comes thousands of times a second is for debugging; an operator looks at the metrics.
  const bool frequent =
      route != nullptr && (route->route == AdminRoute::kIngest ||
                           route->route == AdminRoute::kMetrics || !route->scope.has_value());
  const auto level = response.status >= 500 ? spdlog::level::warn
                     : frequent             ? spdlog::level::debug
                                            : spdlog::level::info;
  spdlog::log(level,
              "admin_request method={} path={} operation={} status={} ms={:.1f} bytes={} "
              "subject={} request_id={}",
              http.method(), Loggable(http.path()), operation, response.status, took * 1000,
              response.body.size(), principal == nullptr ? "-" : Loggable(principal->subject),
              request_id);
}

void AdminServer::Impl::Handle(HttpRequest& http, HttpResponse& response) {
  const SteadyTime begun = deps.clock.SteadyNow();
  const std::string request_id = RequestIdOf(http, deps.clock);
  std::string allow;
  auto match = MatchRoute(http.method(), http.path(), &allow);
  RequestContext context{.http = http, .match = {}, .principal = nullptr};
  absl::StatusOr<HttpResponse> answer = HttpResponse();
  const bool routed = match.ok();
  if (routed) {
    context.match = *std::move(match);
    answer = Dispatch(context);
  } else {
    answer = match.status();
  }
  if (answer.ok()) {
    response = *std::move(answer);
  } else {
    if (HttpStatusOf(answer.status()) >= 500) {
      spdlog::warn("admin_request_failed request_id={} code={} error=\"{}\"", request_id,
                   ErrorCode(answer.status()), Message(answer.status()));
    }
    response = ProblemResponse(answer.status());
  }
  if (!routed && !allow.empty()) {
    response.headers.emplace_back("Allow", allow);
  }
  response.headers.emplace_back("X-Request-Id", request_id);
  Account(http, context.match.info, context.principal.get(), response, request_id, begun);
}

AdminServer::AdminServer(AdminServerOptions options, AdminServerDeps deps)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(deps))) {}

AdminServer::~AdminServer() { Stop(); }

absl::StatusOr<int> AdminServer::Start() {
  HttpServerOptions http;
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(impl_->options.listen));
  http.host = address.host;
  http.port = address.port;
  http.connections_max = impl_->options.connections_max;
  http.body_bytes_max = impl_->options.body_bytes_max;
  http.idle_timeout = impl_->options.idle_timeout;
  http.stop_grace = impl_->options.stop_grace;
  http.registry = impl_->deps.registry;
  if (!http.host.starts_with("127.") && http.host != "::1" && http.host != "localhost") {
    spdlog::warn("admin_listens_beyond_this_machine host={} note=\"plain HTTP: put TLS before it\"",
                 http.host);
  }
  impl_->server = std::make_unique<HttpServer>(
      std::move(http),
      [this](HttpRequest& request, HttpResponse& response) { impl_->Handle(request, response); });
  return impl_->server->Start();
}

void AdminServer::Stop() {
  if (impl_->server != nullptr) {
    impl_->server->Stop();
  }
}

}  // namespace sluice::gateways

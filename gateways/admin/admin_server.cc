#include "gateways/admin/admin_server.h"

#include <fmt/format.h>
#include <prometheus/counter.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <utility>

#include "gateways/admin/admin_pools.h"
#include "gateways/admin/admission.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/definition_routes.h"
#include "gateways/admin/directory_end.h"
#include "gateways/admin/ingest_exchange.h"
#include "gateways/admin/ingest_routes.h"
#include "gateways/admin/openapi.h"
#include "gateways/admin/org_routes.h"
#include "gateways/admin/router.h"
#include "gateways/http/authenticate.h"
#include "gateways/http/byte_budget.h"
#include "gateways/http/content_coding.h"
#include "gateways/http/http_listener.h"
#include "gateways/http/negotiation.h"
#include "gateways/http/request_owner.h"
#include "gateways/ingest/look_interval.h"
#include "gateways/problem.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/metrics.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

using Kind = DefinitionRoutes::Kind;

constexpr size_t kGzipBytesMin = 1024;  // smaller answers gain nothing

// A path as a log line may hold it.
std::string Loggable(std::string_view path) {
  std::string text(path.substr(0, 256));
  std::ranges::replace_if(
      text, [](unsigned char c) { return c <= ' ' || c == '"' || c == '\\' || c >= 0x7f; }, '?');
  return text;
}

// The largest body of a route; 0 where it takes none.
size_t BodyBytesMax(AdminRoute route, const AdminServerOptions& options) {
  switch (route) {
    case AdminRoute::kPutOrg:
      return kOrgBodyBytesMax;
    case AdminRoute::kPutEntity:
    case AdminRoute::kPutProfile:
    case AdminRoute::kPutRole:
      return options.definition_bytes_max;
    case AdminRoute::kIngest:
      return kJsonBodyBytesMax;
    default:
      return 0;
  }
}

void Compress(const HttpHead& head, HttpResponse& response) {
  if (response.body.size() < kGzipBytesMin) {
    return;
  }
  response.headers.emplace_back("Vary", "Accept-Encoding");
  const std::string accept = head.HeaderList("Accept-Encoding");
  const int gzip = WeightOf("gzip", accept);
  if (head.head_only() || gzip == 0 || gzip < WeightOf("identity", accept)) {
    return;
  }
  std::string smaller = Gzip(response.body);
  if (!smaller.empty() && smaller.size() < response.body.size()) {
    response.body = std::move(smaller);
    response.headers.emplace_back("Content-Encoding", "gzip");
  }
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
  ingest.store_patience = options.store_patience;
  ingest.directory_patience = options.directory_patience;
  ingest.relay.concurrent_max = options.relays_max;
  ingest.relay.timeout = options.relay_timeout;
  return ingest;
}

}  // namespace

struct AdminServer::Impl {
  Impl(AdminServerOptions the_options, AdminServerDeps the_deps);

  absl::StatusOr<int> Start();
  net::awaitable<bool> Serve(HttpConnection& connection, HttpHead& head);
  net::awaitable<absl::Status> Admit(HttpConnection& connection, RequestContext& context);
  net::awaitable<bool> Respond(HttpConnection& connection, RequestContext& context,
                               HttpResponse response, SteadyTime begun);
  net::awaitable<absl::StatusOr<Answer>> Handle(HttpConnection& connection,
                                                RequestContext& context);
  net::awaitable<bool> ServeLines(HttpConnection& connection, RequestContext& context,
                                  SteadyTime begun);
  net::awaitable<absl::StatusOr<Answer>> HandleJson(HttpConnection& connection,
                                                    RequestContext& context);
  // Runs what begins an ingest, once more with a newer directory where it says that this matters.
  template <typename Begin>
  net::awaitable<std::invoke_result_t<Begin>> BeginIngest(RequestContext& context, Begin begin);
  IngestOwner IngestOwnerOf(const RequestContext& context) const;
  // Before a last word that is made of what the directory holds.
  net::awaitable<absl::Status> ReachDirectory(const RequestContext& context);
  net::awaitable<HttpResponse> Await(Answer answer);
  absl::StatusOr<Answer> Call(RequestContext& context);
  HttpResponse Ready() const;
  HttpResponse Metrics() const;
  HttpResponse Problem(const absl::Status& status, std::string_view request_id) const;
  // Whether the directory has all that the log says now of such an organisation.
  void Account(const RequestContext& context, const HttpResponse& response, size_t bytes,
               SteadyTime begun);

  const AdminServerOptions options;
  AdminServerDeps deps;
  AppliedWait applied;
  IngestService ingest_service;
  OrgRoutes orgs;
  DefinitionRoutes definitions;
  IngestRoutes ingest;
  prometheus::Family<prometheus::Counter>* requests = nullptr;
  prometheus::Family<prometheus::Histogram>* durations = nullptr;
  prometheus::Gauge* connections = nullptr;
  prometheus::Family<prometheus::Counter>* refused = nullptr;
  std::unique_ptr<AdminPools> pools;
  std::unique_ptr<HttpListener>
      listener;  // last: its end destroys coroutines, which use the others
};

AdminServer::Impl::Impl(AdminServerOptions the_options, AdminServerDeps the_deps)
    : options(std::move(the_options)),
      deps(std::move(the_deps)),
      applied(deps.stores, deps.remote_applied, deps.may_serve),
      ingest_service(ToIngestOptions(options), deps.log, deps.directory.directory(), deps.stores,
                     deps.clock, deps.registry,
                     {.may_serve = deps.may_serve,
                      .served_at = deps.served_at,
                      .relay_to = deps.relay_to,
                      .may_append = deps.may_append,
                      .applied = [this](const OrgId& org) { return applied.Applied(org); },
                      .reach_directory =
                          [this](const OrgId& org, SteadyTime::duration ago, auto patience) {
                            return AwaitDirectoryEnd(deps.directory, org, ago, patience);
                          }}),
      orgs(
          deps.directory, deps.stores, applied,
          [this](const OrgId& org) { return ingest_service.LastChange(org); }, deps.served_at,
          options.provisioning_timeout),
      definitions(deps.directory, applied, options.provisioning_timeout),
      ingest(ingest_service, applied, options.body_bytes_max) {
  if (deps.registry == nullptr) {
    return;
  }
  requests = &CounterFamily(*deps.registry, "sluice_admin_requests_total",
                            "Requests answered by the admin listener");
  durations = &HistogramFamily(*deps.registry, "sluice_admin_request_seconds",
                               "Time from a request's headers to its answer");
  connections = &AddGauge(*deps.registry, "sluice_admin_connections",
                          "Open connections of the admin listener");
  refused =
      &CounterFamily(*deps.registry, "sluice_admin_connections_refused_total",
                     "Connections turned away, or closed while silent to make room, by reason");
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
    AppendJsonString(name, &reasons);
    reasons.append(",\"reason\":");
    AppendJsonString(PublicReason(status), &reasons);
    reasons.push_back('}');
    first = first.ok() ? status : first;
  }
  if (first.ok()) {
    return HttpResponse{
        .body = ReadyBody(deps.troubled ? deps.troubled() : std::vector<TroubledOrgs>())};
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
    if (deps.refresh_metrics) {
      deps.refresh_metrics();
    }
    response.body = prometheus::TextSerializer().Serialize(deps.registry->Collect());
  }
  return response;
}

absl::StatusOr<Answer> AdminServer::Impl::Call(RequestContext& context) {
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
    case AdminRoute::kHealthz:
      return HttpResponse{.body = "{\"status\":\"ok\"}"};
    case AdminRoute::kReadyz:
      return Ready();
    case AdminRoute::kMetrics:
      return Metrics();
    case AdminRoute::kOpenApi:
      return HttpResponse{.body = std::string(OpenApiJson())};
    case AdminRoute::kIngest:
      break;  // it is answered in steps
  }
  return absl::InternalError("a route without a handler");
}

// Who asks, and whether it may; nothing but the head has been read.
net::awaitable<absl::Status> AdminServer::Impl::Admit(HttpConnection& connection,
                                                      RequestContext& context) {
  // In this order: what the connection costs is its owner's before anything else is done for it,
  // and who has no right learns nothing of the log, not even that its history is in doubt.
  absl::StatusOr<std::shared_ptr<const Principal>> principal =
      co_await Authenticate(deps.authenticator, context.http);
  if (!principal.ok()) {
    co_return principal.status();
  }
  if (absl::Status known = connection.SetKnown(OwnerOf(**principal)); !known.ok()) {
    co_return known;
  }
  context.principal = *std::move(principal);
  if (absl::Status allowed = Authorize(*context.principal, context.match); !allowed.ok()) {
    co_return allowed;
  }
  if (!context.match.info->pattern.starts_with("/v1/")) {
    co_return absl::OkStatus();
  }
  if (absl::Status may_tell = MayTell(context.match, deps.log, deps.directory, deps.may_append);
      !may_tell.ok()) {
    co_return may_tell;
  }
  if (!options.administration) {
    co_return MayServeWithoutRole(context, deps.stores != nullptr);
  }
  co_return absl::OkStatus();
}

// Reads the body where there is one, and runs what the route is.
net::awaitable<absl::StatusOr<Answer>> AdminServer::Impl::Handle(HttpConnection& connection,
                                                                 RequestContext& context) {
  HttpBody body;  // keeps the body's place in the budget
  const size_t bytes_max = BodyBytesMax(context.match.info->route, options);
  if (bytes_max > 0 && context.http.has_body()) {
    absl::StatusOr<HttpBody> read = co_await connection.ReadWholeBody(context.http, bytes_max);
    if (!read.ok()) {
      co_return read.status();
    }
    body = *std::move(read);
    context.body = std::move(body.text);
    // A body may take its time, and a token's may be over.
    if (absl::Status good = RequireUnexpired(*context.principal, deps.clock.Now()); !good.ok()) {
      co_return good;
    }
  }
  if (context.match.info->route == AdminRoute::kIngest) {
    co_return co_await HandleJson(connection, context);
  }
  const AdminPools::Call call = [this, &context]() -> absl::StatusOr<Answer> {
    absl::StatusOr<Answer> made = Call(context);
    if (made.ok() && !made->wait.has_value()) {
      Compress(context.http, made->response);
    }
    return made;
  };
  absl::StatusOr<Answer> answer = co_await pools->Run(context, call);
  // What was appended has been decided by what the log has; all else by what is known here.
  if (IsOfTheDirectory(answer.status()) && !AdminPools::Appends(context.match.info->route)) {
    if (absl::Status reached = co_await ReachDirectory(context); !reached.ok()) {
      co_return reached;
    }
    answer = co_await pools->Run(context, call);
  }
  co_return answer;
}

IngestOwner AdminServer::Impl::IngestOwnerOf(const RequestContext& context) const {
  const PartitionId partition = deps.log.PartitionFor(eventlog::Topic::kChanges, context.match.org);
  return {.partition = std::to_string(partition.value()), .org = context.match.org};
}

template <typename Begin>
net::awaitable<std::invoke_result_t<Begin>> AdminServer::Impl::BeginIngest(RequestContext& context,
                                                                           Begin begin) {
  IngestThreads& threads = pools->ingest();
  const IngestOwner owner = IngestOwnerOf(context);
  auto begun = co_await threads.Run(owner, begin, /*admitted=*/false);
  if (!IsOfTheDirectory(begun.status())) {
    co_return begun;
  }
  if (absl::Status reached = co_await ReachDirectory(context); !reached.ok()) {
    co_return reached;
  }
  begun = co_await threads.Run(owner, begin, /*admitted=*/true);
  co_return begun;
}

// As NDJSON, no thread waits for the log or a store.
net::awaitable<absl::StatusOr<Answer>> AdminServer::Impl::HandleJson(HttpConnection& connection,
                                                                     RequestContext& context) {
  const auto begin = [this, &context] { return ingest.BeginJson(context); };
  absl::StatusOr<std::unique_ptr<IngestJson>> json = co_await BeginIngest(context, begin);
  if (!json.ok()) {
    co_return json.status();
  }
  IngestThreads& threads = pools->ingest();
  const IngestOwner owner = IngestOwnerOf(context);
  IngestSession& session = (*json)->session;
  const auto settle = [&session] {
    session.Settle();
    return absl::OkStatus();
  };
  const net::any_io_executor executor = co_await net::this_coro::executor;
  IngestWait wait(executor);
  // Until Respond() takes its own. Sets whose answers find no room are recognised when they are
  // sent again.
  ByteHold answers(listener->answer_bytes(), connection.owner());
  while (session.waiting()) {
    if (!answers.TryHold(session.answers_size() + session.waiting_bytes())) {
      co_return Error(absl::StatusCode::kUnavailable, "too_busy",
                      "this server holds as many bytes of answers as it may: try again later");
    }
    co_await wait.Wait(session);
    if (session.light()) {
      session.Settle();
      continue;
    }
    absl::Status settled = co_await threads.Run(owner, settle, /*admitted=*/true);
    if (!settled.ok()) {
      co_return settled;
    }
  }
  const auto end = [this, &context, &json] {
    absl::StatusOr<Answer> made = ingest.EndJson(context, **json);
    if (made.ok() && !made->wait.has_value()) {
      Compress(context.http, made->response);
    }
    return made;
  };
  constexpr size_t kSmallAnswer = 4'096;  // to compress it costs less than another thread does
  if (session.answers_size() <= kSmallAnswer) {
    co_return end();
  }
  absl::StatusOr<Answer> answer = co_await threads.Run(owner, end, /*admitted=*/true);
  co_return answer;
}

net::awaitable<absl::Status> AdminServer::Impl::ReachDirectory(const RequestContext& context) {
  const absl::StatusOr<OrgId> org = context.Org();
  if (!org.ok()) {
    co_return org.status();
  }
  const std::function<bool()> stopping = [this] { return listener->stopping(); };
  absl::Status reached =
      co_await ReachDirectoryEnd(deps.directory, *org, options.directory_patience, stopping);
  // It may have turned out meanwhile that the log contradicts itself.
  co_return reached.ok() ? MayTell(context.match, deps.log, deps.directory, deps.may_append)
                         : reached;
}

net::awaitable<HttpResponse> AdminServer::Impl::Await(Answer answer) {
  if (!answer.wait.has_value()) {
    co_return std::move(answer.response);
  }
  const AnswerWait& wait = *answer.wait;
  const auto deadline = std::chrono::steady_clock::now() + wait.timeout;
  net::steady_timer timer(co_await net::this_coro::executor);
  std::chrono::milliseconds look = kLookMin;
  bool reached = false;
  while (true) {
    // Asking may open a store.
    const absl::StatusOr<bool> asked = co_await pools->looking().Run(
        [&wait]() -> absl::StatusOr<bool> { return wait.reached(); }, /*admitted=*/true);
    reached = asked.ok() && *asked;
    const auto now = std::chrono::steady_clock::now();
    if (reached || listener->stopping() || now >= deadline) {
      break;
    }
    timer.expires_at(std::min(now + look, deadline));
    look = std::min(look * 2, kLookMax);
    boost::system::error_code ignored;
    co_await timer.async_wait(net::redirect_error(net::use_awaitable, ignored));
  }
  wait.finish(reached, answer.response);
  co_return std::move(answer.response);
}

net::awaitable<bool> AdminServer::Impl::Respond(HttpConnection& connection, RequestContext& context,
                                                HttpResponse response, SteadyTime begun) {
  const bool usable = co_await connection.Respond(context.http, response);
  // Behind it: how long a client took to read its answer is part of the time.
  Account(context, response, response.body.size(), begun);
  co_return usable;
}

// NDJSON is not held: its answers may go out before it has ended.
net::awaitable<bool> AdminServer::Impl::ServeLines(HttpConnection& connection,
                                                   RequestContext& context, SteadyTime begun) {
  const auto begin = [this, &connection, &context] {
    return ingest.BeginLines(context, HoldBy(listener->request_bytes(), connection.owner()));
  };
  absl::StatusOr<std::unique_ptr<IngestLines>> lines = co_await BeginIngest(context, begin);
  if (!lines.ok()) {
    HttpResponse refusal = Problem(lines.status(), context.http.request_id);
    co_return co_await Respond(connection, context, std::move(refusal), begun);
  }
  const bool waits = context.http.Query("wait").has_value();
  IngestExchange exchange(connection, context.http, **lines, pools->ingest(),
                          IngestOwnerOf(context), listener->request_bytes(),
                          listener->answer_bytes(), {.may_stream = !waits && context.http.http11});
  const absl::Status read = co_await exchange.Run();
  // Before any answer ends: what is left of the body would be taken for the next request.
  if (exchange.cut()) {
    connection.CloseAfterAnswer();
  }
  if (exchange.started()) {
    const bool usable = co_await exchange.Complete(read);
    Account(context, HttpResponse(), 0, begun);
    co_return usable;
  }
  if (absl::IsCancelled(read)) {
    co_return false;
  }
  if (!read.ok()) {
    HttpResponse refusal = Problem(read, context.http.request_id);
    co_return co_await Respond(connection, context, std::move(refusal), begun);
  }
  Answer answer(HttpResponse{.content_type = "application/x-ndjson", .body = exchange.TakeBody()});
  absl::StatusOr<std::optional<AnswerWait>> wait = ingest.Wait(context, (*lines)->last());
  if (wait.ok()) {
    answer.wait = *std::move(wait);
  }
  HttpResponse response = co_await Await(std::move(answer));
  co_return co_await Respond(connection, context, std::move(response), begun);
}

HttpResponse AdminServer::Impl::Problem(const absl::Status& status,
                                        std::string_view request_id) const {
  if (HttpStatusOf(status) >= 500) {
    spdlog::warn("admin_request_failed request_id={} code={} error=\"{}\"", request_id,
                 ErrorCode(status), Message(status));
  }
  return ProblemResponse(status);
}

void AdminServer::Impl::Account(const RequestContext& context, const HttpResponse& response,
                                size_t bytes, SteadyTime begun) {
  const RouteInfo* route = context.match.info;
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
              Loggable(context.http.method), Loggable(context.http.path), operation,
              response.status, took * 1000, bytes,
              context.principal == nullptr ? "-" : Loggable(context.principal->subject),
              context.http.request_id);
}

net::awaitable<bool> AdminServer::Impl::Serve(HttpConnection& connection, HttpHead& head) {
  const SteadyTime begun = deps.clock.SteadyNow();
  RequestContext context{.http = head};
  std::string allow;
  absl::StatusOr<RouteMatch> match = MatchRoute(head.method, head.path, &allow);
  if (!match.ok()) {
    HttpResponse refusal = Problem(match.status(), head.request_id);
    if (!allow.empty()) {
      refusal.headers.emplace_back("Allow", allow);
    }
    co_return co_await Respond(connection, context, std::move(refusal), begun);
  }
  context.match = *std::move(match);
  if (!context.match.info->scope.has_value()) {
    // Health and documents: memory only, here and now, whatever the pools are busy with.
    absl::StatusOr<Answer> open = Call(context);
    HttpResponse response =
        open.ok() ? std::move(open->response) : Problem(open.status(), head.request_id);
    co_return co_await Respond(connection, context, std::move(response), begun);
  }
  absl::Status admitted = co_await Admit(connection, context);
  const bool ingesting = context.match.info->route == AdminRoute::kIngest;
  absl::StatusOr<IngestRoutes::Format> format = IngestRoutes::Format::kJson;
  if (admitted.ok() && ingesting) {
    format = IngestRoutes::FormatOf(head);
    admitted = format.status();
  }
  if (absl::IsCancelled(admitted)) {
    co_return false;  // closed meanwhile, to make room
  }
  if (!admitted.ok()) {
    HttpResponse refusal = Problem(admitted, head.request_id);
    co_return co_await Respond(connection, context, std::move(refusal), begun);
  }
  if (ingesting && *format == IngestRoutes::Format::kLines) {
    co_return co_await ServeLines(connection, context, begun);
  }
  absl::StatusOr<Answer> answer = co_await Handle(connection, context);
  if (absl::IsCancelled(answer.status())) {
    co_return false;  // the client has gone
  }
  HttpResponse response;
  if (answer.ok()) {
    response = co_await Await(*std::move(answer));
  } else {
    response = Problem(answer.status(), head.request_id);
  }
  co_return co_await Respond(connection, context, std::move(response), begun);
}

absl::StatusOr<int> AdminServer::Impl::Start() {
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(options.listen));
  if (!address.host.starts_with("127.") && address.host != "::1" && address.host != "localhost") {
    spdlog::warn("admin_listens_beyond_this_machine host={} note=\"plain HTTP: put TLS before it\"",
                 address.host);
  }
  ASSIGN_OR_RETURN(pools, AdminPools::Start(options, deps.clock, deps.registry));
  HttpListenerOptions http;
  http.name = "admin";
  http.host = address.host;
  http.port = address.port;
  http.threads = options.io_threads;
  http.connections_max = options.connections_max;
  http.descriptors_max = options.descriptors_max;
  http.request_bytes_max = options.request_bytes_max;
  http.silent_min = options.silent_min;
  http.stop_grace = options.stop_grace;
  http.limits.idle_timeout = options.idle_timeout;
  http.limits.head_timeout = options.head_timeout;
  http.is_open = [](const HttpHead& head) {
    std::string allow;
    const absl::StatusOr<RouteMatch> match = MatchRoute(head.method, head.path, &allow);
    return match.ok() && (match->info->route == AdminRoute::kHealthz ||
                          match->info->route == AdminRoute::kReadyz);
  };
  http.on_connections = [this](int by) {
    if (connections != nullptr) {
      connections->Increment(by);
    }
  };
  http.on_refused = [this](std::string_view why) {
    if (refused != nullptr) {
      refused->Add({{"reason", std::string(why)}}).Increment();
    }
  };
  http.registry = deps.registry;
  if (deps.registry != nullptr) {
    const size_t most = options.descriptors_max == 0
                            ? options.connections_max
                            : std::min(options.connections_max, options.descriptors_max);
    AddGauge(*deps.registry, "sluice_admin_connections_limit",
             "Connections that the admin listener keeps at once")
        .Set(static_cast<double>(most));
  }
  listener = std::make_unique<HttpListener>(
      std::move(http), [this](HttpConnection& connection, HttpHead& head, size_t) {
        return Serve(connection, head);
      });
  return listener->Start();
}

AdminServer::AdminServer(AdminServerOptions options, AdminServerDeps deps)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(deps))) {}

AdminServer::~AdminServer() { Stop(); }

absl::StatusOr<int> AdminServer::Start() { return impl_->Start(); }

// The listener first: requests have their grace, in which they need the pools. Its coroutines are
// destroyed later, with it, when no thread of a pool is left that could resume one.
void AdminServer::Stop() {
  if (impl_->listener != nullptr) {
    impl_->listener->Stop();
  }
  if (impl_->pools != nullptr) {
    impl_->pools->Stop();
  }
}

}  // namespace sluice::gateways

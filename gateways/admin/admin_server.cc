#include "gateways/admin/admin_server.h"

#include <fmt/format.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/steady_timer.hpp>

#include "gateways/admin/admin_pools.h"
#include "gateways/admin/admission.h"
#include "gateways/admin/applied_wait.h"
#include "gateways/admin/dead_letter_routes.h"
#include "gateways/admin/definition_routes.h"
#include "gateways/admin/directory_end.h"
#include "gateways/admin/event_routes.h"
#include "gateways/admin/ingest_exchange.h"
#include "gateways/admin/ingest_routes.h"
#include "gateways/admin/openapi.h"
#include "gateways/admin/org_routes.h"
#include "gateways/admin/router.h"
#include "gateways/admin/source_routes.h"
#include "gateways/events/cloud_event.h"
#include "gateways/http/admit_request.h"
#include "gateways/http/byte_budget.h"
#include "gateways/http/content_coding.h"
#include "gateways/http/http_listener.h"
#include "gateways/http/listener_account.h"
#include "gateways/ingest/look_interval.h"
#include "gateways/problem.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/metrics.h"
#include "schemas/base/status.h"
#include "schemas/base/text_values.h"

namespace sluice::gateways {
namespace {

constexpr std::string_view kAccessLine =
    "admin_request method={method} path={path} operation={operation} status={status} ms={ms:.1f} "
    "bytes={bytes} subject={subject} request_id={request_id}";

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
    case AdminRoute::kPutDefinition:
    case AdminRoute::kPutSource:
    case AdminRoute::kCheckSource:
      return options.definition_bytes_max;
    case AdminRoute::kRunSource:
      return kOrgBodyBytesMax;
    case AdminRoute::kPostEvents:
      return kEventsBodyBytesMax;
    case AdminRoute::kIngest:
      return kJsonBodyBytesMax;
    default:
      return 0;
  }
}

// One that is whole: what an answer waits for may still make another of it.
absl::StatusOr<Answer> Compressed(const HttpHead& head, absl::StatusOr<Answer> answer) {
  if (answer.ok() && !answer->wait.has_value()) {
    Compress(head, answer->response);
  }
  return answer;
}

}  // namespace

struct AdminServer::Impl {
  Impl(AdminServerOptions the_options, AdminServerDeps the_deps);

  absl::StatusOr<int> Start();
  net::awaitable<bool> Serve(HttpConnection& connection, HttpHead& head);
  absl::Status MayAskHere(const RequestContext& context) const;
  net::awaitable<bool> Respond(HttpConnection& connection, RequestContext& context,
                               HttpResponse response, SteadyTime begun);
  net::awaitable<bool> Refuse(HttpConnection& connection, RequestContext& context,
                              const absl::Status& status, SteadyTime begun);
  net::awaitable<absl::StatusOr<Answer>> Handle(HttpConnection& connection, RequestContext& context,
                                                ByteHold hold);
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
  absl::StatusOr<Answer> CallSource(RequestContext& context);
  HttpResponse Ready() const;
  HttpResponse Metrics() const;
  void Account(const RequestContext& context, const HttpResponse& response, size_t bytes,
               SteadyTime begun);

  const AdminServerOptions options;
  AdminServerDeps deps;
  ListenerAccount account;
  AppliedWait applied;
  IngestService ingest_service;
  OrgRoutes orgs;
  DefinitionRoutes definitions;
  IngestRoutes ingest;
  DeadLetters letters;
  DeadLetterRoutes letter_routes;
  prometheus::Family<prometheus::Histogram>& durations;
  std::unique_ptr<AdminPools> pools;
  std::unique_ptr<HttpListener>
      listener;  // last: its end destroys coroutines, which use the others
};

AdminServer::Impl::Impl(AdminServerOptions the_options, AdminServerDeps the_deps)
    : options(std::move(the_options)),
      deps(std::move(the_deps)),
      account({.listener = "admin",
               .operation_label = "operation",
               .refused_name = "sluice_admin_connections_refused_total",
               .refused_label = "reason",
               .connections_max = options.descriptors_max == 0
                                      ? options.connections_max
                                      : std::min(options.connections_max, options.descriptors_max),
               .line = kAccessLine},
              deps.registry),
      applied(deps.stores, deps.remote_applied, deps.may_serve),
      ingest_service(
          options.ingest, deps.log, deps.directory.directory(), deps.stores, deps.clock,
          deps.registry,
          {.may_serve = deps.may_serve,
           .served_at = deps.served_at,
           .relay_to = deps.relay_to,
           .may_append =
               [this](PartitionId partition) { return deps.directory.MayAppend(partition); },
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
      ingest(ingest_service, applied, options.body_bytes_max),
      letters(deps.log, deps.clock, {}, deps.registry),
      letter_routes(deps.directory, letters, ingest_service, applied, options.provisioning_timeout),
      durations(HistogramFamily(*deps.registry, "sluice_admin_request_seconds",
                                "Time from a request's headers to its answer")) {}

HttpResponse AdminServer::Impl::Ready() const {
  std::string reasons;
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
  }
  if (reasons.empty()) {
    return ReadyResponse(deps.troubled);
  }
  HttpResponse response = NotReadyResponse("not every role can serve yet");
  response.body.pop_back();
  response.body.append(fmt::format(",\"reasons\":[{}]}}", reasons));
  return response;
}

HttpResponse AdminServer::Impl::Metrics() const {
  HttpResponse response;
  response.content_type = "text/plain; version=0.0.4; charset=utf-8";
  if (deps.refresh_metrics) {
    deps.refresh_metrics();
  }
  letters.RefreshMetrics();
  response.body = prometheus::TextSerializer().Serialize(deps.registry->Collect());
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
    case AdminRoute::kListDefinitions:
      return definitions.List(context);
    case AdminRoute::kPutDefinition:
      return definitions.Put(context);
    case AdminRoute::kGetDefinition:
      return definitions.Get(context);
    case AdminRoute::kDeleteDefinition:
      return definitions.Delete(context);
    case AdminRoute::kListSources:
    case AdminRoute::kPutSource:
    case AdminRoute::kGetSource:
    case AdminRoute::kDeleteSource:
    case AdminRoute::kCheckSource:
    case AdminRoute::kRunSource:
    case AdminRoute::kResealSource:
      return CallSource(context);
    case AdminRoute::kListDeadLetters:
      return letter_routes.List(context);
    case AdminRoute::kGetDeadLetter:
      return letter_routes.Get(context);
    case AdminRoute::kDropDeadLetter:
      return letter_routes.Drop(context);
    case AdminRoute::kReplayDeadLetter:
      return letter_routes.Replay(context);
    case AdminRoute::kPostEvents:
      return PostEvents(deps.events, applied, context, options.provisioning_timeout);
    case AdminRoute::kHealthz:
      return HealthResponse();
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

absl::StatusOr<Answer> AdminServer::Impl::CallSource(RequestContext& context) {
  if (deps.sources == nullptr) {
    return Error(absl::StatusCode::kNotFound, "not_found", "this server has no sources");
  }
  const SourceRoutes sources(deps.directory, *deps.sources, applied, options.provisioning_timeout);
  switch (context.match.info->route) {
    case AdminRoute::kListSources:
      return sources.List(context);
    case AdminRoute::kPutSource:
      return sources.Put(context);
    case AdminRoute::kGetSource:
      return sources.Get(context);
    case AdminRoute::kDeleteSource:
      return sources.Delete(context);
    case AdminRoute::kCheckSource:
      return sources.Check(context);
    case AdminRoute::kRunSource:
      return sources.Run(context);
    default:
      return sources.Reseal(context);
  }
}

absl::Status AdminServer::Impl::MayAskHere(const RequestContext& context) const {
  RETURN_IF_ERROR(Authorize(*context.principal, context.match));
  if (!context.match.info->pattern.starts_with("/v1/")) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(MayTell(context.match, deps.log, deps.directory));
  return options.administration ? absl::OkStatus()
                                : MayServeWithoutRole(context, deps.stores != nullptr);
}

// Runs what the route is. `hold` is the body's place in the budget.
net::awaitable<absl::StatusOr<Answer>> AdminServer::Impl::Handle(HttpConnection& connection,
                                                                 RequestContext& context,
                                                                 [[maybe_unused]] ByteHold hold) {
  if (context.match.info->route == AdminRoute::kIngest) {
    co_return co_await HandleJson(connection, context);
  }
  const AdminPools::Call call = [this, &context] {
    return Compressed(context.http, Call(context));
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
    return Compressed(context.http, ingest.EndJson(context, **json));
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
      co_await ReachDirectoryEnd(deps.directory, *org, options.ingest.directory_patience, stopping);
  // It may have turned out meanwhile that the log contradicts itself.
  co_return reached.ok() ? MayTell(context.match, deps.log, deps.directory) : reached;
}

net::awaitable<HttpResponse> AdminServer::Impl::Await(Answer answer) {
  if (!answer.wait.has_value()) {
    co_return std::move(answer.response);
  }
  const AnswerWait& wait = *answer.wait;
  const auto deadline = std::chrono::steady_clock::now() + wait.timeout;
  net::steady_timer timer(co_await net::this_coro::executor);
  Backoff look = LookInterval();
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
    timer.expires_at(std::min(now + look.Next(), deadline));
    co_await timer.async_wait(net::as_tuple(net::use_awaitable));
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

net::awaitable<bool> AdminServer::Impl::Refuse(HttpConnection& connection, RequestContext& context,
                                               const absl::Status& status, SteadyTime begun) {
  if (HttpStatusOf(status) >= 500) {
    spdlog::warn("admin_request_failed request_id={} code={} error=\"{}\"", context.http.request_id,
                 ErrorCode(status), Message(status));
  }
  co_return co_await Respond(connection, context, ProblemResponse(status), begun);
}

// NDJSON is not held: its answers may go out before it has ended.
net::awaitable<bool> AdminServer::Impl::ServeLines(HttpConnection& connection,
                                                   RequestContext& context, SteadyTime begun) {
  const auto begin = [this, &connection, &context] {
    return ingest.BeginLines(context, HoldBy(listener->request_bytes(), connection.owner()));
  };
  absl::StatusOr<std::unique_ptr<IngestLines>> lines = co_await BeginIngest(context, begin);
  if (!lines.ok()) {
    co_return co_await Refuse(connection, context, lines.status(), begun);
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
    co_return co_await Refuse(connection, context, read, begun);
  }
  Answer answer(HttpResponse{.content_type = "application/x-ndjson", .body = exchange.TakeBody()});
  absl::StatusOr<std::optional<AnswerWait>> wait = ingest.Wait(context, (*lines)->last());
  if (wait.ok()) {
    answer.wait = *std::move(wait);
  }
  HttpResponse response = co_await Await(std::move(answer));
  co_return co_await Respond(connection, context, std::move(response), begun);
}

void AdminServer::Impl::Account(const RequestContext& context, const HttpResponse& response,
                                size_t bytes, SteadyTime begun) {
  const RouteInfo<AdminRoute>* route = context.match.info;
  const std::chrono::duration<double> took = deps.clock.SteadyNow() - begun;
  const std::string_view operation = route == nullptr ? "none" : route->operation;
  account.Count(operation, response.status);
  durations
      .Add({{"operation", std::string(operation)}},
           prometheus::Histogram::BucketBoundaries{0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                                   0.1, 0.25, 1, 5, 30})
      .Observe(took.count());
  // What comes thousands of times a second is for debugging; an operator looks at the metrics.
  const bool frequent =
      route != nullptr && (route->route == AdminRoute::kIngest ||
                           route->route == AdminRoute::kMetrics || !route->scope.has_value());
  const auto level = response.status >= 500 ? spdlog::level::warn
                     : frequent             ? spdlog::level::debug
                                            : spdlog::level::info;
  account.Log(level,
              {.method = Loggable(context.http.method),
               .path = Loggable(context.http.path),
               .operation = operation,
               .subject = context.principal == nullptr ? "-" : Loggable(context.principal->subject),
               .status = response.status,
               .bytes = bytes,
               .ms = took,
               .request_id = context.http.request_id});
}

net::awaitable<bool> AdminServer::Impl::Serve(HttpConnection& connection, HttpHead& head) {
  const SteadyTime begun = deps.clock.SteadyNow();
  RequestContext context{.http = head};
  AdminRouteMatch match = MatchRoute(head.method, head.path);
  if (!match.found()) {
    co_return co_await Respond(connection, context, NoRouteResponse(head.method, match.allow),
                               begun);
  }
  context.match = std::move(match);
  const AdminRoute route = context.match.info->route;
  if (!context.match.info->scope.has_value()) {
    // Health and documents: memory only, here and now, whatever the pools are busy with.
    absl::StatusOr<Answer> open = Call(context);
    if (!open.ok()) {
      co_return co_await Refuse(connection, context, open.status(), begun);
    }
    co_return co_await Respond(connection, context, std::move(open->response), begun);
  }
  const absl::StatusOr<IngestRoutes::Format> format =
      route == AdminRoute::kIngest ? IngestRoutes::FormatOf(head) : IngestRoutes::Format::kJson;
  const bool lines = format.ok() && *format == IngestRoutes::Format::kLines;
  const MayAsk may_ask = [this, &context, &format](const std::shared_ptr<const Principal>& caller) {
    context.principal = caller;
    const absl::Status may = MayAskHere(context);
    return may.ok() ? format.status() : may;
  };
  absl::StatusOr<HttpBody> body =
      co_await AdmitRequest(connection, head, deps.authenticator, deps.clock, may_ask,
                            lines ? 0 : BodyBytesMax(route, options));
  if (absl::IsCancelled(body.status())) {
    co_return false;  // the client has gone, or the connection was closed to make room
  }
  if (!body.ok()) {
    co_return co_await Refuse(connection, context, body.status(), begun);
  }
  if (lines) {
    co_return co_await ServeLines(connection, context, begun);
  }
  context.body = std::move(body->text);
  absl::StatusOr<Answer> answer = co_await Handle(connection, context, std::move(body->hold));
  if (absl::IsCancelled(answer.status())) {
    co_return false;  // the client has gone
  }
  if (!answer.ok()) {
    co_return co_await Refuse(connection, context, answer.status(), begun);
  }
  HttpResponse response = co_await Await(*std::move(answer));
  co_return co_await Respond(connection, context, std::move(response), begun);
}

absl::StatusOr<int> AdminServer::Impl::Start() {
  ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress(options.listen));
  if (!address.host.starts_with("127.") && address.host != "::1" && address.host != "localhost") {
    spdlog::warn("admin_listens_beyond_this_machine host={} note=\"plain HTTP: put TLS before it\"",
                 address.host);
  }
  ASSIGN_OR_RETURN(pools, AdminPools::Start(options, deps.clock, deps.registry));
  if (options.administration) {
    RETURN_IF_ERROR(letters.Start());
  }
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
    const AdminRouteMatch match = MatchRoute(head.method, head.path);
    return match.found() &&
           (match.info->route == AdminRoute::kHealthz || match.info->route == AdminRoute::kReadyz);
  };
  http.registry = deps.registry;
  http.account = &account;
  listener = std::make_unique<HttpListener>(
      std::move(http), [this](HttpConnection& connection, HttpHead& head, size_t) {
        return Serve(connection, head);
      });
  return listener->Start();
}

AdminServer::AdminServer(AdminServerOptions options, AdminServerDeps deps) {
  deps.registry = RegistryOrNew(std::move(deps.registry));
  impl_ = std::make_unique<Impl>(std::move(options), std::move(deps));
}

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
  impl_->letters.Stop();
}

}  // namespace sluice::gateways

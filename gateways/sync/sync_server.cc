#include "gateways/sync/sync_server.h"

#include <absl/strings/str_split.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "gateways/http/authenticate.h"
#include "gateways/http/http_listener.h"
#include "gateways/http/request_owner.h"
#include "gateways/problem.h"
#include "gateways/sync/change_hub.h"
#include "gateways/sync/delta_handler.h"
#include "gateways/sync/entities_handler.h"
#include "gateways/sync/openapi.h"
#include "gateways/sync/responder.h"
#include "gateways/sync/stream_handler.h"
#include "gateways/sync/sync_context.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/release.h"
#include "schemas/row_codec.h"

namespace sluice::gateways {
namespace {

constexpr size_t kRequestBytesMax = size_t{64} << 20;  // of all bodies held at once

size_t ThreadsOr(size_t wanted) {
  return wanted != 0 ? wanted : std::max(1U, std::thread::hardware_concurrency());
}

HttpResponse Ready(const SyncContext& context) {
  std::vector<std::string> reasons;
  if (context.options.not_ready) {
    reasons = context.options.not_ready();
  }
  if (context.stopping.load()) {
    reasons.emplace_back("stopping");
  }
  if (reasons.empty()) {
    const auto& troubled = context.options.troubled;
    return {.status = 200,
            .body = ReadyBody(troubled ? troubled() : std::vector<TroubledOrgs>()),
            .headers = {}};
  }
  std::string text = "not ready: ";
  for (const std::string& reason : reasons) {
    text += (&reason == &reasons.front() ? "" : "; ") + reason;
  }
  return ProblemResponse(Error(absl::StatusCode::kUnavailable, "not_ready", text));
}

// The methods that a route takes, as `Allow` has them; empty for a route that is none.
std::string_view MethodsOf(Target::Route route) {
  switch (route) {
    case Target::Route::kUnknown:
      return "";
    case Target::Route::kStream:
      return "POST";
    case Target::Route::kDelta:
      return "GET, HEAD, POST";
    default:
      return "GET, HEAD";
  }
}

std::optional<HttpResponse> CheckRoute(const HttpRequest& request) {
  const std::string_view methods = MethodsOf(request.target.route);
  if (methods.empty()) {
    return ProblemResponse(Error(absl::StatusCode::kNotFound, "not_found",
                                 "there is nothing at this path, see /openapi.json"));
  }
  for (const absl::string_view method :
       absl::StrSplit(absl::string_view(methods.data(), methods.size()), ", ")) {
    if (std::string_view(method.data(), method.size()) == request.method) {
      return std::nullopt;
    }
  }
  HttpResponse response =
      ProblemResponse(Error(absl::StatusCode::kInvalidArgument, "method_not_allowed",
                            "use one of " + std::string(methods) + " here"));
  response.headers.emplace_back("Allow", methods);
  return response;
}

bool NeedsToken(Target::Route route) {
  return route != Target::Route::kHealth && route != Target::Route::kReady &&
         route != Target::Route::kOpenApi && route != Target::Route::kUnknown;
}

}  // namespace

struct SyncServer::Impl {
  Impl(const SyncOptions& options, projectors::StoreReader& stores, Authenticator& authenticator,
       const Clock& clock)
      : context(options, stores, authenticator, clock, ThreadsOr(options.store_threads)),
        listener(ListenerOptions(),
                 [this](HttpConnection& connection, HttpHead& head, size_t worker) {
                   return Serve(connection, head, *hubs[worker]);
                 }) {
    for (size_t i = 0; i < listener.threads(); ++i) {
      auto hub = std::make_shared<ChangeHub>(listener.io(i), stores);
      hubs.push_back(hub.get());
      listener.Keep(i, std::move(hub));
    }
  }

  HttpListenerOptions ListenerOptions();
  net::awaitable<bool> Serve(HttpConnection& http, HttpHead& head, ChangeHub& hub);
  net::awaitable<std::optional<HttpResponse>> ReadBody(HttpConnection& http, const HttpHead& head,
                                                       HttpBody& body, HttpRequest& request);
  net::awaitable<HttpResponse> Answer(ChangeHub& hub, HttpConnection& http, HttpRequest& request,
                                      ByteHold& asked);
  void Log(const HttpRequest& request, int status, const AccessNote& note, SteadyTime start);

  SyncContext context;
  std::vector<ChangeHub*> hubs;  // one an I/O thread, kept by the listener
  HttpListener listener;         // last: its end destroys coroutines, which use the others
  bool started = false;
};

HttpListenerOptions SyncServer::Impl::ListenerOptions() {
  const SyncOptions& from = context.options;
  HttpListenerOptions to;
  to.name = "sync";
  to.host = from.host;
  to.port = from.port;
  to.threads = ThreadsOr(from.threads);
  to.connections_max = from.connections_max;
  to.descriptors_max = from.descriptors_max;
  to.request_bytes_max = kRequestBytesMax;
  to.stop_grace = from.stop_grace;
  to.limits.head_bytes_max = from.header_bytes_max;
  to.limits.idle_timeout = from.idle_timeout;
  to.limits.large_head_code = "too_large";
  to.limits.head_timeout = std::min(from.head_timeout, from.idle_timeout);
  to.limits.body_timeout = from.body_timeout;
  to.limits.write_timeout = from.write_timeout;
  to.is_open = [](const HttpHead& head) {
    const Target::Route route = ParseTarget(head.path).route;
    return route == Target::Route::kHealth || route == Target::Route::kReady;
  };
  to.on_connections = [this](int by) { context.metrics.Connections(by); };
  to.on_refused = [this](std::string_view why) { context.metrics.Refused(why); };
  to.on_sent = [this](size_t bytes) { context.metrics.Sent(bytes); };
  to.on_no_request = [this](const absl::Status& status) {
    HttpRequest none;
    none.request_id = "-";
    Log(none, HttpStatusOf(status), {.subject = {}, .code = ProblemCode(status)},
        context.clock.SteadyNow());
  };
  to.registry = from.registry;
  return to;
}

// Nothing of a body is read before its sender is known to be allowed what it asks for. The token is
// checked this once: handlers look at when it ends.
net::awaitable<std::optional<HttpResponse>> SyncServer::Impl::ReadBody(HttpConnection& http,
                                                                       const HttpHead& head,
                                                                       HttpBody& body,
                                                                       HttpRequest& request) {
  const absl::StatusOr<std::shared_ptr<const Principal>> principal =
      co_await Authenticate(context.authenticator, head);
  absl::Status allowed = principal.status();
  if (allowed.ok()) {
    allowed = http.SetKnown(OwnerOf(**principal));
  }
  if (allowed.ok()) {
    allowed = RequireScope(**principal, Scope::kSync);
  }
  if (allowed.ok()) {
    allowed = RequireOrg(**principal, request.target.org);
  }
  if (!allowed.ok()) {
    co_return ProblemResponse(allowed);
  }
  if (head.has_body()) {
    absl::StatusOr<HttpBody> read =
        co_await http.ReadWholeBody(head, context.options.body_bytes_max);
    if (!read.ok()) {
      co_return ProblemResponse(read.status());
    }
    body = *std::move(read);
    request.body = std::move(body.text);
    // A body may take its time, and a token's may be over.
    if (absl::Status good = RequireUnexpired(**principal, context.clock.Now()); !good.ok()) {
      co_return ProblemResponse(good);
    }
  }
  request.principal = *principal;
  co_return std::nullopt;
}

net::awaitable<bool> SyncServer::Impl::Serve(HttpConnection& http, HttpHead& head, ChangeHub& hub) {
  const SteadyTime start = context.clock.SteadyNow();
  HttpRequest asked = ToSyncRequest(head);
  Responder responder(http, head);
  HttpBody body;  // keeps the body's place in the budget
  std::optional<HttpResponse> response = CheckRoute(asked);
  if (!response.has_value() && NeedsToken(asked.target.route)) {
    response = co_await ReadBody(http, head, body, asked);
  }
  if (!response.has_value()) {
    // The request may stay for hours, and what it keeps of its head is in `asked`.
    std::vector<std::pair<std::string, std::string>>().swap(head.headers);
    Release(&head.query);
  }
  AccessNote note;
  bool usable = true;
  if (!response.has_value() && asked.target.route == Target::Route::kStream) {
    StreamEnd end = co_await HandleStream(context, hub, responder, asked, body.hold);
    response = std::move(end.refused);
    usable = end.connection_usable;
    note = std::move(end.note);
  } else if (!response.has_value()) {
    response = co_await Answer(hub, http, asked, body.hold);
  }
  const int status = response.has_value() ? response->status : 200;
  if (response.has_value()) {
    usable = co_await responder.Respond(asked, *response);
    note = std::move(response->note);
    response.reset();  // and with it its share of what answers may hold
  }
  Log(asked, status, note, start);
  co_return usable;
}

net::awaitable<HttpResponse> SyncServer::Impl::Answer(ChangeHub& hub, HttpConnection& http,
                                                      HttpRequest& request, ByteHold& asked) {
  switch (request.target.route) {
    case Target::Route::kHealth:
      co_return HttpResponse{.status = 200, .body = R"({"status":"ok"})", .headers = {}};
    case Target::Route::kReady:
      co_return Ready(context);
    case Target::Route::kOpenApi:
      co_return HttpResponse{.status = 200, .body = std::string(kOpenApi), .headers = {}};
    case Target::Route::kEntities:
      co_return co_await HandleEntities(context, request);
    default:
      co_return co_await HandleDelta(context, hub, http, request, asked);
  }
}

// The path has no secret; the query holds a cursor and is left out.
void SyncServer::Impl::Log(const HttpRequest& request, int status, const AccessNote& note,
                           SteadyTime start) {
  const Target::Route asked = request.target.route;
  const std::string_view route = RouteName(asked);
  context.metrics.Request(route, status);
  if (!context.options.access_log) {
    return;
  }
  const std::chrono::duration<double, std::milli> took = context.clock.SteadyNow() - start;
  const absl::StatusOr<OrgId> org = OrgId::Parse(request.target.org);
  std::string subject;  // people choose it: in quotes, and no line of its own
  AppendJsonString(note.subject, &subject);
  const bool probe = asked == Target::Route::kHealth || asked == Target::Route::kReady;
  spdlog::log(probe ? spdlog::level::debug : spdlog::level::info,
              "sync_request route={} org={} subject={} status={} code={} ms={:.1f} request_id={}",
              route, org.ok() ? org->value() : "-", subject, status,
              note.code.empty() ? "-" : note.code, took.count(), request.request_id);
}

SyncServer::SyncServer(SyncOptions options, projectors::StoreReader& stores,
                       Authenticator& authenticator, const Clock& clock) {
  try {
    impl_ = std::make_unique<Impl>(options, stores, authenticator, clock);
  } catch (const std::system_error&) {
    // Start() says it: the threads that read stores could not be made.
  }
}

SyncServer::~SyncServer() { Stop(); }

size_t SyncServer::sessions() const {
  return impl_ == nullptr ? 0 : impl_->context.sessions.taken();
}

absl::StatusOr<uint16_t> SyncServer::Start() {
  if (impl_ == nullptr) {
    return Error(absl::StatusCode::kResourceExhausted, "no_threads",
                 "the sync listener's threads can't be made; raise the limit of processes (ulimit "
                 "-u)");
  }
  ASSIGN_OR_RETURN(const uint16_t port, impl_->listener.Start());
  impl_->started = true;
  return port;
}

void SyncServer::ServingChanged() {
  if (impl_ == nullptr || !impl_->started) {
    return;
  }
  for (size_t i = 0; i < impl_->hubs.size(); ++i) {
    net::post(impl_->listener.io(i), [hub = impl_->hubs[i]] { hub->WakeAll(); });
  }
}

void SyncServer::Stop() {
  if (impl_ == nullptr || !impl_->started) {
    return;
  }
  impl_->started = false;
  impl_->context.stopping.store(true);
  for (size_t i = 0; i < impl_->hubs.size(); ++i) {
    net::post(impl_->listener.io(i), [hub = impl_->hubs[i]] { hub->Stop(); });
  }
  impl_->listener.Stop();
  impl_->context.pool.join();
}

}  // namespace sluice::gateways

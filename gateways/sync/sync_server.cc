#include "gateways/sync/sync_server.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spdlog/common.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "gateways/http/admit_request.h"
#include "gateways/http/http_listener.h"
#include "gateways/problem.h"
#include "gateways/sync/accept.h"
#include "gateways/sync/change_hub.h"
#include "gateways/sync/delta_handler.h"
#include "gateways/sync/entities_handler.h"
#include "gateways/sync/openapi.h"
#include "gateways/sync/stream_handler.h"
#include "gateways/sync/sync_context.h"
#include "schemas/base/json_writer.h"
#include "schemas/base/status.h"
#include "schemas/release.h"

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
  return reasons.empty() ? ReadyResponse(context.options.troubled)
                         : NotReadyResponse(fmt::format("not ready: {}", fmt::join(reasons, "; ")));
}

bool IsProbe(const SyncRouteMatch& match) {
  return match.info != nullptr &&
         (match.info->route == SyncRoute::kHealth || match.info->route == SyncRoute::kReady);
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
  net::awaitable<absl::StatusOr<ByteHold>> Admit(HttpConnection& http, SyncRequest& request);
  net::awaitable<HttpResponse> Answer(ChangeHub& hub, HttpConnection& http, SyncRequest& request,
                                      ByteHold& asked);
  void Log(const SyncRouteMatch& match, std::string_view request_id, int status,
           const AccessNote& note, SteadyTime start);

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
  to.is_open = [](const HttpHead& head) { return IsProbe(MatchSyncRoute(head.method, head.path)); };
  to.account = &context.account;
  to.on_sent = [this](size_t bytes) { context.metrics.Sent(bytes); };
  to.on_no_request = [this](const absl::Status& status) {
    Log({}, "-", HttpStatusOf(status), {.subject = {}, .code = ProblemCode(status)},
        context.clock.SteadyNow());
  };
  to.registry = from.registry;
  return to;
}

// The place that its body takes in the budget.
net::awaitable<absl::StatusOr<ByteHold>> SyncServer::Impl::Admit(HttpConnection& http,
                                                                 SyncRequest& request) {
  const MayAsk may_ask = [&request](const std::shared_ptr<const Principal>& caller) {
    absl::Status may = RequireScope(*caller, *request.match.info->scope);
    if (may.ok()) {
      may = RequireOrg(*caller, request.match.org);
    }
    request.principal = caller;
    return may;
  };
  absl::StatusOr<HttpBody> body =
      co_await AdmitRequest(http, request.http, context.authenticator, context.clock, may_ask,
                            context.options.body_bytes_max);
  if (!body.ok()) {
    co_return body.status();
  }
  request.body = std::move(body->text);
  // The request may stay for hours: of its head only the target and what answers need is kept.
  std::vector<std::pair<std::string, std::string>>().swap(request.http.headers);
  co_return std::move(body->hold);
}

net::awaitable<bool> SyncServer::Impl::Serve(HttpConnection& http, HttpHead& head, ChangeHub& hub) {
  const SteadyTime start = context.clock.SteadyNow();
  SyncRequest asked{.http = head,
                    .match = MatchSyncRoute(head.method, head.path),
                    .format = FormatFor(head.HeaderList("Accept"))};
  ByteHold hold;
  std::optional<HttpResponse> response;
  if (!asked.match.found()) {
    response = NoRouteResponse(head.method, asked.match.allow);
  } else if (asked.match.info->scope.has_value()) {
    absl::StatusOr<ByteHold> admitted = co_await Admit(http, asked);
    if (admitted.ok()) {
      hold = *std::move(admitted);
    } else {
      response = ProblemResponse(admitted.status());
    }
  }
  AccessNote note;
  bool usable = true;
  if (!response.has_value() && asked.match.info->route == SyncRoute::kStream) {
    StreamEnd end = co_await HandleStream(context, hub, http, asked, hold);
    response = std::move(end.refused);
    usable = end.connection_usable;
    note = std::move(end.note);
  } else if (!response.has_value()) {
    response = co_await Answer(hub, http, asked, hold);
  }
  const int status = response.has_value() ? response->status : 200;
  if (response.has_value()) {
    usable = co_await http.Respond(head, *response);
    note = std::move(response->note);
    response.reset();  // and with it its share of what answers may hold
  }
  Log(asked.match, head.request_id, status, note, start);
  co_return usable;
}

net::awaitable<HttpResponse> SyncServer::Impl::Answer(ChangeHub& hub, HttpConnection& http,
                                                      SyncRequest& request, ByteHold& asked) {
  switch (request.match.info->route) {
    case SyncRoute::kHealth:
      co_return HealthResponse();
    case SyncRoute::kReady:
      co_return Ready(context);
    case SyncRoute::kOpenApi:
      co_return HttpResponse{.body = std::string(kOpenApi)};
    case SyncRoute::kEntities:
      co_return co_await HandleEntities(context, request);
    default:
      co_return co_await HandleDelta(context, hub, http, request, asked);
  }
}

// The path has no secret; the query holds a cursor and is left out.
void SyncServer::Impl::Log(const SyncRouteMatch& match, std::string_view request_id, int status,
                           const AccessNote& note, SteadyTime start) {
  const std::string_view route = match.info == nullptr ? "other" : match.info->operation;
  context.account.Count(route, status);
  if (!context.options.access_log) {
    return;
  }
  const absl::StatusOr<OrgId> org = OrgId::Parse(match.org);
  RequestEntry entry{.operation = route,
                     .org = org.ok() ? std::string_view(org->value()) : "-",
                     .status = status,
                     .code = note.code.empty() ? "-" : std::string_view(note.code),
                     .ms = context.clock.SteadyNow() - start,
                     .request_id = request_id};
  // People choose it: in quotes, and no line of its own.
  AppendJsonString(note.subject, &entry.subject);
  context.account.Log(IsProbe(match) ? spdlog::level::debug : spdlog::level::info, entry);
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

#include "gateways/sync/sync_server.h"

#include <absl/strings/str_split.h>
#include <spdlog/spdlog.h>

#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <optional>
#include <set>
#include <thread>

#include "absl/synchronization/mutex.h"
#include "gateways/sync/change_hub.h"
#include "gateways/sync/connection.h"
#include "gateways/sync/delta_handler.h"
#include "gateways/sync/entities_handler.h"
#include "gateways/sync/openapi.h"
#include "gateways/sync/stream_handler.h"
#include "gateways/sync/sync_context.h"
#include "schemas/row_codec.h"
#include "schemas/status.h"

namespace sluice::gateways {
namespace {

using net::ip::tcp;

// An I/O thread with the connections that live on it.
struct Worker {
  explicit Worker(projectors::StoreManager& stores) : hub(io, stores) {}
  std::thread thread;
  std::set<Connection*> connections;
  ChangeHub hub;
  net::io_context io{1};  // last: its end destroys coroutines, which use the hub
};

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
    return {.status = 200, .body = R"({"status":"ready"})", .headers = {}};
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

}  // namespace

struct SyncServer::Impl {
  Impl(const SyncOptions& options, projectors::StoreManager& stores, Authenticator& authenticator,
       const Clock& clock)
      : context(options, stores, authenticator, clock, ThreadsOr(options.store_threads)) {
    for (size_t i = ThreadsOr(context.options.threads); i > 0; --i) {
      workers.push_back(std::make_unique<Worker>(stores));
    }
  }

  net::awaitable<void> Accept();
  net::awaitable<void> Serve(Worker& worker, std::unique_ptr<Connection> connection);
  net::awaitable<HttpResponse> Answer(Worker& worker, const HttpRequest& request);
  void Log(const HttpRequest& request, int status, const AccessNote& note, SteadyTime start);
  bool Idle();

  SyncContext context;
  std::vector<std::unique_ptr<Worker>> workers;
  std::unique_ptr<tcp::acceptor> acceptor;
  absl::Mutex mutex;  // so that Stop() can wait for connections to end
  bool started = false;
};

net::awaitable<void> SyncServer::Impl::Accept() {
  for (size_t next = 0; !context.stopping.load(); next = (next + 1) % workers.size()) {
    Worker& worker = *workers[next];
    tcp::socket socket(worker.io);
    boost::system::error_code error;
    co_await acceptor->async_accept(socket, net::redirect_error(net::use_awaitable, error));
    if (context.stopping.load()) {
      co_return;
    }
    if (error) {
      // Out of descriptors, most likely: those who wait in the backlog are taken a little later.
      context.metrics.Refused("accept");
      net::steady_timer pause(workers[0]->io, std::chrono::milliseconds(50));
      co_await pause.async_wait(net::redirect_error(net::use_awaitable, error));
      continue;
    }
    if (context.connections.load() >= context.options.connections_max) {
      context.metrics.Refused("connections");
      continue;  // the socket closes
    }
    socket.set_option(tcp::no_delay(true), error);
    {
      absl::MutexLock lock(&mutex);
      context.connections.fetch_add(1);
    }
    context.metrics.Connections(1);
    auto connection = std::make_unique<Connection>(context, std::move(socket));
    net::co_spawn(worker.io, Serve(worker, std::move(connection)), net::detached);
  }
}

net::awaitable<void> SyncServer::Impl::Serve(Worker& worker,
                                             std::unique_ptr<Connection> connection) {
  worker.connections.insert(connection.get());
  bool usable = !context.stopping.load();
  while (usable) {
    absl::StatusOr<HttpRequest> request = co_await connection->Read();
    if (!request.ok() && request.status().code() == absl::StatusCode::kCancelled) {
      break;
    }
    const SteadyTime start = context.clock.SteadyNow();
    HttpRequest failed;
    failed.keep_alive = false;
    failed.request_id = "-";
    const HttpRequest& asked = request.ok() ? *request : failed;
    std::optional<HttpResponse> response;
    AccessNote note;
    if (!request.ok()) {
      response = ProblemResponse(request.status());
    } else if (std::optional<HttpResponse> refused = CheckRoute(asked); refused.has_value()) {
      response = std::move(refused);
    } else if (asked.target.route == Target::Route::kStream) {
      StreamEnd end = co_await HandleStream(context, worker.hub, *connection, asked);
      response = std::move(end.refused);
      usable = end.connection_usable;
      note = std::move(end.note);
    } else {
      response = co_await Answer(worker, asked);
    }
    const int status = response.has_value() ? response->status : 200;
    if (response.has_value()) {
      usable = co_await connection->Respond(asked, *response);
      note = std::move(response->note);
      response.reset();  // and with it its share of what answers may hold
    }
    Log(asked, status, note, start);
    if (usable && (!asked.keep_alive || context.stopping.load())) {
      usable = false;
      co_await connection->Linger();
    }
  }
  worker.connections.erase(connection.get());
  connection.reset();
  context.metrics.Connections(-1);
  absl::MutexLock lock(&mutex);
  context.connections.fetch_sub(1);
}

net::awaitable<HttpResponse> SyncServer::Impl::Answer(Worker& worker, const HttpRequest& request) {
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
      co_return co_await HandleDelta(context, worker.hub, request);
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
  schemas::AppendJsonString(note.subject, &subject);
  const bool probe = asked == Target::Route::kHealth || asked == Target::Route::kReady;
  spdlog::log(probe ? spdlog::level::debug : spdlog::level::info,
              "sync_request route={} org={} subject={} status={} code={} ms={:.1f} request_id={}",
              route, org.ok() ? org->value() : "-", subject, status,
              note.code.empty() ? "-" : note.code, took.count(), request.request_id);
}

bool SyncServer::Impl::Idle() { return context.connections.load() == 0; }

SyncServer::SyncServer(SyncOptions options, projectors::StoreManager& stores,
                       Authenticator& authenticator, const Clock& clock)
    : impl_(std::make_unique<Impl>(options, stores, authenticator, clock)) {}

SyncServer::~SyncServer() { Stop(); }

size_t SyncServer::sessions() const { return impl_->context.sessions.load(); }

absl::StatusOr<uint16_t> SyncServer::Start() {
  const SyncOptions& options = impl_->context.options;
  const std::string where = options.host + ":" + std::to_string(options.port);
  boost::system::error_code error;
  const auto address = net::ip::make_address(options.host, error);
  if (error) {
    return Error(absl::StatusCode::kInvalidArgument, "invalid_argument",
                 "cannot listen on " + where + ": give an IP address");
  }
  net::io_context& io = impl_->workers.front()->io;
  impl_->acceptor = std::make_unique<tcp::acceptor>(io);
  const tcp::endpoint endpoint(address, options.port);
  impl_->acceptor->open(endpoint.protocol(), error);
  if (!error) {
    impl_->acceptor->set_option(tcp::acceptor::reuse_address(true), error);
    impl_->acceptor->bind(endpoint, error);
  }
  if (!error) {
    impl_->acceptor->listen(4096, error);
  }
  if (error) {
    return Error(absl::StatusCode::kUnavailable, "address_unavailable",
                 "cannot listen on " + where + ": " + error.message());
  }
  impl_->started = true;
  net::co_spawn(io, impl_->Accept(), net::detached);
  for (const std::unique_ptr<Worker>& worker : impl_->workers) {
    worker->thread = std::thread([&io_context = worker->io] {
      const auto keep_running = net::make_work_guard(io_context);
      io_context.run();
    });
  }
  return impl_->acceptor->local_endpoint().port();
}

void SyncServer::ServingChanged() {
  for (const std::unique_ptr<Worker>& worker : impl_->workers) {
    net::post(worker->io, [&hub = worker->hub] { hub.WakeAll(); });
  }
}

void SyncServer::Stop() {
  if (!impl_->started) {
    return;
  }
  impl_->started = false;
  impl_->context.stopping.store(true);
  net::post(impl_->workers.front()->io, [impl = impl_.get()] {
    boost::system::error_code ignored;
    impl->acceptor->close(ignored);
  });
  for (const std::unique_ptr<Worker>& worker : impl_->workers) {
    net::post(worker->io, [&w = *worker] {
      w.hub.Stop();
      for (Connection* connection : w.connections) {
        if (connection->idle()) {
          connection->Close();
        }
      }
    });
  }
  {
    absl::MutexLock lock(&impl_->mutex);
    impl_->mutex.AwaitWithTimeout(absl::Condition(impl_.get(), &Impl::Idle),
                                  absl::FromChrono(impl_->context.options.stop_grace));
  }
  for (const std::unique_ptr<Worker>& worker : impl_->workers) {
    worker->io.stop();
    worker->thread.join();
  }
  impl_->context.pool.join();
  impl_->context.end_pool.join();
}

}  // namespace sluice::gateways

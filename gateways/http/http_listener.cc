#include "gateways/http/http_listener.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <system_error>
#include <thread>
#include <unordered_map>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gateways/http/connection_table.h"
#include "gateways/http/listener_account.h"
#include "gateways/http/pending_heads.h"
#include "schemas/base/random.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using net::ip::tcp;

constexpr int kBacklog = 4096;
constexpr size_t kOpenReserve = 64;  // connections past the limit, for open requests alone
constexpr std::chrono::milliseconds kAcceptPause{50};
// A client that has done nothing for its request for so long is not waited for at the end.
constexpr std::chrono::milliseconds kStuck{2'000};

// An I/O thread with the connections that live on it.
struct Worker {
  std::thread thread;
  std::unordered_map<uint64_t, HttpConnection*> connections;
  std::vector<std::shared_ptr<void>> used;
  net::io_context io{1};  // last: its end destroys coroutines, which use the others
};

// Unique enough to find a request in a log again; it protects nothing.
std::string NewRequestId() { return fmt::format("{:016x}{:016x}", RandomBits(), RandomBits()); }

size_t Limit(const HttpListenerOptions& options) {
  return options.descriptors_max == 0 ? options.connections_max
                                      : std::min(options.connections_max, options.descriptors_max);
}

}  // namespace

struct HttpListener::Impl {
  Impl(HttpListenerOptions the_options, Handler the_handler)
      : options(std::move(the_options)),
        handler(std::move(the_handler)),
        request_bytes(options.request_bytes_max, "sluice_http_request_bytes",
                      "Bytes of request bodies that are held", options.name, options.registry),
        answer_bytes(options.answer_bytes_max, "sluice_http_answer_bytes",
                     "Bytes of large answers that clients have not taken yet", options.name,
                     options.registry),
        heads(options.head_bytes_max, options.name, options.registry),
        shared{.limits = options.limits,
               .request_bytes = request_bytes,
               .answer_bytes = answer_bytes,
               .on_sent = options.on_sent},
        table(Limit(options), options.silent_min, kOpenReserve) {
    for (size_t i = std::max<size_t>(options.threads, 1); i > 0; --i) {
      workers.push_back(std::make_unique<Worker>());
    }
  }

  absl::Status Bind();
  net::awaitable<void> Accept();
  void Admit(tcp::socket socket, size_t worker);
  absl::Status Place(uint64_t id, const Owner& owner);
  void CountHead(uint64_t id, size_t bytes);
  void CloseForRoom(uint64_t id, std::string_view reason);
  void Refused(std::string_view why);
  net::awaitable<void> Serve(Worker& worker, size_t index, uint64_t id, bool reserved,
                             std::unique_ptr<HttpConnection> connection);
  net::awaitable<void> ServeRequests(HttpConnection& connection, size_t index, uint64_t id);
  net::awaitable<void> ServeOpen(HttpConnection& connection, size_t index, uint64_t id);
  net::awaitable<bool> RefuseHead(HttpConnection& connection, const absl::Status& status,
                                  std::string request_id);
  // Each on its I/O thread.
  void CloseWhere(const std::function<bool(const HttpConnection&)>& which);
  void Ended();

  const HttpListenerOptions options;
  const Handler handler;
  ByteBudget request_bytes;
  ByteBudget answer_bytes;
  PendingHeads heads;
  HttpShared shared;
  ConnectionTable table;
  absl::Mutex mutex;  // so that Stop() can wait for connections to end
  size_t open ABSL_GUARDED_BY(mutex) = 0;
  bool started = false;
  uint64_t next_id = 0;  // of the accepting thread
  std::vector<std::unique_ptr<Worker>> workers;
  std::unique_ptr<tcp::acceptor> acceptor;
};

absl::Status HttpListener::Impl::Bind() {
  const std::string where = fmt::format("{}:{}", options.host, options.port);
  boost::system::error_code error;
  const auto address =
      net::ip::make_address(options.host == "localhost" ? "127.0.0.1" : options.host, error);
  if (error) {
    return absl::InvalidArgumentError(
        fmt::format("cannot listen on {}: give an IP address", where));
  }
  acceptor = std::make_unique<tcp::acceptor>(workers.front()->io);
  const tcp::endpoint endpoint(address, options.port);
  acceptor->open(endpoint.protocol(), error);
  if (!error) {
    acceptor->set_option(tcp::acceptor::reuse_address(true), error);
    acceptor->bind(endpoint, error);
  }
  if (!error) {
    acceptor->listen(kBacklog, error);
  }
  if (error) {
    return Error(absl::StatusCode::kUnavailable, "address_in_use",
                 fmt::format("can't listen on {} ({}); is another process there? Choose another "
                             "address or port 0",
                             where, error.message()));
  }
  return absl::OkStatus();
}

absl::Status HttpListener::Impl::Place(uint64_t id, const Owner& owner) {
  switch (table.Busy(id, owner)) {
    case ConnectionTable::Place::kOwn:
      return absl::OkStatus();
    case ConnectionTable::Place::kGone:
      return absl::CancelledError("the connection was closed to make room");
    case ConnectionTable::Place::kShare:
      break;
  }
  Refused("share");
  return Error(absl::StatusCode::kUnavailable, "too_busy",
               "this caller or its organisation has as many connections with requests under way as "
               "it may have now: try again later");
}

void HttpListener::Impl::CountHead(uint64_t id, size_t bytes) {
  for (const uint64_t closed : heads.Hold(id, bytes)) {
    CloseForRoom(closed, "heads");
  }
}

void HttpListener::Impl::Refused(std::string_view why) {
  if (options.account != nullptr) {
    options.account->Refused(why);
  }
}

// On the connection's own I/O thread, a moment later.
void HttpListener::Impl::CloseForRoom(uint64_t id, std::string_view reason) {
  Refused(reason);
  Worker& worker = *workers[id % workers.size()];
  net::post(worker.io, [&worker, id] {
    const auto found = worker.connections.find(id);
    if (found != worker.connections.end()) {
      found->second->Close();
    }
  });
}

void HttpListener::Impl::Admit(tcp::socket socket, size_t worker) {
  const uint64_t id = next_id * workers.size() + worker;
  ++next_id;
  const ConnectionTable::Admission admission = table.Enter(id, std::chrono::steady_clock::now());
  if (admission.closed.has_value()) {
    CloseForRoom(*admission.closed, "silent");
  }
  boost::system::error_code ignored;
  socket.set_option(tcp::no_delay(true), ignored);
  {
    absl::MutexLock lock(&mutex);
    ++open;
  }
  if (options.account != nullptr) {
    options.account->Connections(1);
  }
  auto connection = std::make_unique<HttpConnection>(
      shared, std::move(socket), [this, id](const Owner& owner) { return Place(id, owner); },
      [this, id](size_t bytes) { CountHead(id, bytes); });
  net::co_spawn(workers[worker]->io,
                Serve(*workers[worker], worker, id, admission.reserved, std::move(connection)),
                net::detached);
}

net::awaitable<void> HttpListener::Impl::Accept() {
  for (size_t next = 0; !shared.stopping.load(); next = (next + 1) % workers.size()) {
    tcp::socket socket(workers[next]->io);
    boost::system::error_code error;
    co_await acceptor->async_accept(socket, net::redirect_error(net::use_awaitable, error));
    if (shared.stopping.load()) {
      co_return;
    }
    if (!error) {
      Admit(std::move(socket), next);
      continue;
    }
    // Out of descriptors, most likely: one that only waits gives its own, and those in the backlog
    // are taken a little later.
    Refused("accept");
    if (const auto oldest = table.CloseOldestSilent(); oldest.has_value()) {
      CloseForRoom(*oldest, "silent");
    }
    net::steady_timer pause(workers[0]->io, kAcceptPause);
    co_await pause.async_wait(net::as_tuple(net::use_awaitable));
  }
}

net::awaitable<bool> HttpListener::Impl::RefuseHead(HttpConnection& connection,
                                                    const absl::Status& status,
                                                    std::string request_id) {
  HttpHead unknown;
  unknown.keep_alive = false;
  unknown.request_id = request_id.empty() ? NewRequestId() : std::move(request_id);
  if (options.on_no_request) {
    options.on_no_request(status);
  }
  const HttpResponse response = ProblemResponse(status);
  co_return co_await connection.Respond(unknown, response);
}

net::awaitable<void> HttpListener::Impl::ServeRequests(HttpConnection& connection, size_t index,
                                                       uint64_t id) {
  bool usable = true;
  // Looked at before each wait: Stop() closes those that it finds silent, and this one may have
  // been busy at that moment with an answer that promised more.
  while (usable && !shared.stopping.load()) {
    absl::StatusOr<HttpHead> head = co_await connection.ReadHead();
    if (!table.Contains(id) || absl::IsCancelled(head.status())) {
      co_return;
    }
    if (!head.ok()) {
      usable = co_await RefuseHead(connection, head.status(), "");
    } else {
      if (head->request_id.empty()) {
        head->request_id = NewRequestId();
      }
      usable = co_await handler(connection, *head, index);
    }
    table.Silent(id, std::chrono::steady_clock::now());
    if (usable && !connection.reusable()) {
      co_await connection.Linger();
      co_return;
    }
  }
}

// One request in the reserve: those who ask for health have their answer whoever holds the places.
net::awaitable<void> HttpListener::Impl::ServeOpen(HttpConnection& connection, size_t index,
                                                   uint64_t id) {
  absl::StatusOr<HttpHead> head = co_await connection.ReadHead();
  if (!table.Contains(id) || absl::IsCancelled(head.status())) {
    co_return;
  }
  bool usable = false;
  connection.CloseAfterAnswer();
  if (!head.ok()) {
    usable = co_await RefuseHead(connection, head.status(), "");
  } else if (options.is_open && options.is_open(*head)) {
    if (head->request_id.empty()) {
      head->request_id = NewRequestId();
    }
    usable = co_await handler(connection, *head, index);
  } else {
    Refused("connections");
    const absl::Status full = Error(
        absl::StatusCode::kUnavailable, "too_busy",
        fmt::format("{} connections are open, and no more are served", table.connections_max()));
    usable = co_await RefuseHead(connection, full, head->request_id);
  }
  if (usable) {
    co_await connection.Linger();
  }
}

net::awaitable<void> HttpListener::Impl::Serve(Worker& worker, size_t index, uint64_t id,
                                               bool reserved,
                                               std::unique_ptr<HttpConnection> connection) {
  worker.connections.emplace(id, connection.get());
  try {
    if (reserved) {
      co_await ServeOpen(*connection, index, id);
    } else {
      co_await ServeRequests(*connection, index, id);
    }
  } catch (const std::exception& error) {
    spdlog::error("http_connection_failed listener={} error=\"{}\"", options.name, error.what());
  }
  worker.connections.erase(id);
  connection.reset();
  table.Leave(id);
  Ended();
}

void HttpListener::Impl::CloseWhere(const std::function<bool(const HttpConnection&)>& which) {
  for (const std::unique_ptr<Worker>& worker : workers) {
    net::post(worker->io, [&w = *worker, which] {
      for (const auto& [id, connection] : w.connections) {
        if (which(*connection)) {
          connection->Close();
        }
      }
    });
  }
}

void HttpListener::Impl::Ended() {
  if (options.account != nullptr) {
    options.account->Connections(-1);
  }
  absl::MutexLock lock(&mutex);
  --open;
}

HttpListener::HttpListener(HttpListenerOptions options, Handler handler)
    : impl_(std::make_unique<Impl>(std::move(options), std::move(handler))) {}

HttpListener::~HttpListener() { Stop(); }

size_t HttpListener::threads() const { return impl_->workers.size(); }
net::io_context& HttpListener::io(size_t worker) { return impl_->workers[worker]->io; }
void HttpListener::Keep(size_t worker, std::shared_ptr<void> used) {
  impl_->workers[worker]->used.push_back(std::move(used));
}
bool HttpListener::stopping() const { return impl_->shared.stopping.load(); }
size_t HttpListener::connections() const { return impl_->table.size(); }
ByteBudget& HttpListener::request_bytes() { return impl_->request_bytes; }
ByteBudget& HttpListener::answer_bytes() { return impl_->answer_bytes; }

absl::StatusOr<uint16_t> HttpListener::Start() {
  RETURN_IF_ERROR(impl_->Bind());
  impl_->started = true;
  net::co_spawn(impl_->workers.front()->io, impl_->Accept(), net::detached);
  try {
    for (const std::unique_ptr<Worker>& worker : impl_->workers) {
      worker->thread = std::thread([&io_context = worker->io] {
        const auto keep_running = net::make_work_guard(io_context);
        io_context.run();
      });
    }
  } catch (const std::system_error& error) {
    Stop();
    return Error(absl::StatusCode::kResourceExhausted, "no_threads",
                 fmt::format("the {} listener's threads can't be made ({}); raise the limit of "
                             "processes (ulimit -u)",
                             impl_->options.name, error.what()));
  }
  return impl_->acceptor->local_endpoint().port();
}

void HttpListener::Stop() {
  if (!impl_->started) {
    return;
  }
  impl_->started = false;
  impl_->shared.stopping.store(true);
  net::post(impl_->workers.front()->io, [impl = impl_.get()] {
    boost::system::error_code ignored;
    impl->acceptor->close(ignored);
  });
  const auto none_open = [this]() ABSL_NO_THREAD_SAFETY_ANALYSIS { return impl_->open == 0; };
  const auto await = [this, &none_open](absl::Time until) {
    absl::MutexLock lock(&impl_->mutex);
    return impl_->mutex.AwaitWithDeadline(absl::Condition(&none_open), until);
  };
  const auto deadline = absl::Now() + absl::FromChrono(impl_->options.stop_grace);
  impl_->CloseWhere([](const HttpConnection& connection) { return connection.idle(); });
  // Whoever reads its answer, or sends its body, has the whole grace; who does neither has not.
  while (!await(std::min(deadline, absl::Now() + absl::FromChrono(kStuck / 4))) &&
         absl::Now() < deadline) {
    impl_->CloseWhere([since = std::chrono::steady_clock::now() - kStuck](
                          const HttpConnection& connection) { return connection.stuck(since); });
  }
  impl_->CloseWhere([](const HttpConnection&) { return true; });
  (void)await(absl::Now() + absl::Milliseconds(100));
  for (const std::unique_ptr<Worker>& worker : impl_->workers) {
    worker->io.stop();
    if (worker->thread.joinable()) {
      worker->thread.join();
    }
  }
}

}  // namespace sluice::gateways

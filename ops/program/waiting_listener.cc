#include "ops/program/waiting_listener.h"

#include <fmt/format.h>
#include <httplib.h>

#include <thread>

#include "absl/synchronization/mutex.h"
#include "gateways/problem.h"
#include "schemas/status.h"

namespace sluice::ops {

struct WaitingListener::Impl {
  httplib::Server server;
  std::thread thread;
  absl::Mutex mutex;
  std::string reason ABSL_GUARDED_BY(mutex);
};

WaitingListener::WaitingListener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

WaitingListener::~WaitingListener() {
  impl_->server.stop();
  impl_->thread.join();
}

absl::StatusOr<std::unique_ptr<WaitingListener>> WaitingListener::Start(const std::string& host,
                                                                        uint16_t port) {
  auto impl = std::make_unique<Impl>();
  Impl* const raw = impl.get();
  // Answers before routing: one rule for every method and path.
  raw->server.set_pre_routing_handler(
      [raw](const httplib::Request& request, httplib::Response& response) {
        if (request.path == "/healthz") {
          response.set_content("{\"status\":\"alive\"}", "application/json");
          return httplib::Server::HandlerResponse::Handled;
        }
        std::string reason;
        {
          const absl::MutexLock lock(&raw->mutex);
          reason = raw->reason;
        }
        const absl::Status status = Error(absl::StatusCode::kUnavailable, "not_ready", reason);
        response.status = 503;
        response.set_header("Retry-After", "1");
        response.set_content(gateways::ProblemJson(status), "application/problem+json");
        return httplib::Server::HandlerResponse::Handled;
      });
  // As the admin listener does, so that it can follow on this address at once.
  raw->server.set_socket_options([](socket_t fd) {
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  const bool bound = port == 0 ? raw->server.bind_to_any_port(host.c_str()) > 0
                               : raw->server.bind_to_port(host.c_str(), port);
  if (!bound) {
    return Error(absl::StatusCode::kUnavailable, "address_in_use",
                 fmt::format("can't listen on {}:{}: is it in use?", host, port));
  }
  raw->thread = std::thread([raw] { raw->server.listen_after_bind(); });
  while (!raw->server.is_running()) {
    std::this_thread::yield();
  }
  return std::unique_ptr<WaitingListener>(new WaitingListener(std::move(impl)));
}

void WaitingListener::SetReason(std::string reason) {
  const absl::MutexLock lock(&impl_->mutex);
  impl_->reason = std::move(reason);
}

}  // namespace sluice::ops

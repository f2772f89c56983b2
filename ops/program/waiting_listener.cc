#include "ops/program/waiting_listener.h"

#include "gateways/http/http_listener.h"
#include "gateways/http/http_types.h"
#include "schemas/base/status.h"

namespace sluice::ops {

using gateways::HttpConnection;
using gateways::HttpHead;

namespace {

constexpr size_t kConnectionsMax = 256;

gateways::HttpListenerOptions OptionsFor(const std::string& host, uint16_t port) {
  gateways::HttpListenerOptions options;
  options.name = "waiting";
  options.host = host;
  options.port = port;
  options.connections_max = kConnectionsMax;
  options.is_open = [](const HttpHead&) { return true; };  // all of it is in memory
  // The admin listener follows on its address.
  options.stop_grace = std::chrono::milliseconds(1'000);
  return options;
}

// One rule for every method and path.
boost::asio::awaitable<bool> Answer(HttpConnection& connection, const HttpHead& head,
                                    std::string reason) {
  const gateways::HttpResponse response = head.path == "/healthz"
                                              ? gateways::HealthResponse()
                                              : gateways::NotReadyResponse("not ready: " + reason);
  co_return co_await connection.Respond(head, response);
}

}  // namespace

WaitingListener::WaitingListener(const std::string& host, uint16_t port)
    : listener_(std::make_unique<gateways::HttpListener>(
          OptionsFor(host, port), [this](HttpConnection& connection, HttpHead& head, size_t) {
            return Answer(connection, head, Reason());
          })) {}

WaitingListener::~WaitingListener() { listener_->Stop(); }

absl::StatusOr<std::unique_ptr<WaitingListener>> WaitingListener::Start(const std::string& host,
                                                                        uint16_t port) {
  std::unique_ptr<WaitingListener> waiting(new WaitingListener(host, port));
  RETURN_IF_ERROR(waiting->listener_->Start().status());
  return waiting;
}

std::string WaitingListener::Reason() {
  const absl::MutexLock lock(&mutex_);
  return reason_;
}

void WaitingListener::SetReason(std::string reason) {
  const absl::MutexLock lock(&mutex_);
  reason_ = std::move(reason);
}

}  // namespace sluice::ops

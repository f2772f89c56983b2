#include "ops/program/waiting_listener.h"

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "gateways/http/http_listener.h"
#include "gateways/http/http_types.h"
#include "schemas/base/status.h"

namespace sluice::ops {

using gateways::HttpConnection;
using gateways::HttpHead;
using gateways::HttpListener;
using gateways::HttpListenerOptions;
using gateways::HttpResponse;

namespace {

constexpr size_t kConnectionsMax = 256;

}  // namespace

struct WaitingListener::Impl {
  boost::asio::awaitable<bool> Answer(HttpConnection& connection, const HttpHead& head);

  absl::Mutex mutex;
  std::string reason ABSL_GUARDED_BY(mutex);
  std::unique_ptr<HttpListener> listener;  // last: its coroutines use the others
};

// One rule for every method and path.
boost::asio::awaitable<bool> WaitingListener::Impl::Answer(HttpConnection& connection,
                                                           const HttpHead& head) {
  HttpResponse response;
  if (head.path == "/healthz") {
    response = gateways::HealthResponse();
  } else {
    std::string why;
    {
      const absl::MutexLock lock(&mutex);
      why = reason;
    }
    response = gateways::NotReadyResponse("not ready: " + why);
  }
  co_return co_await connection.Respond(head, response);
}

WaitingListener::WaitingListener(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

WaitingListener::~WaitingListener() { impl_->listener->Stop(); }

absl::StatusOr<std::unique_ptr<WaitingListener>> WaitingListener::Start(const std::string& host,
                                                                        uint16_t port) {
  auto impl = std::make_unique<Impl>();
  HttpListenerOptions options;
  options.name = "waiting";
  options.host = host;
  options.port = port;
  options.connections_max = kConnectionsMax;
  options.is_open = [](const HttpHead&) { return true; };  // all of it is in memory
  options.stop_grace =
      std::chrono::milliseconds(1'000);  // the admin listener follows on its address
  impl->listener = std::make_unique<HttpListener>(
      std::move(options), [raw = impl.get()](HttpConnection& connection, HttpHead& head, size_t) {
        return raw->Answer(connection, head);
      });
  RETURN_IF_ERROR(impl->listener->Start().status());
  return std::unique_ptr<WaitingListener>(new WaitingListener(std::move(impl)));
}

void WaitingListener::SetReason(std::string reason) {
  const absl::MutexLock lock(&impl_->mutex);
  impl_->reason = std::move(reason);
}

}  // namespace sluice::ops

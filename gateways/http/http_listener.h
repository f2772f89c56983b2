#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "gateways/http/http_connection.h"

namespace prometheus {
class Registry;
}

namespace sluice::gateways {

class ListenerAccount;

struct HttpListenerOptions {
  std::string name;                 // of the listener, in metrics and the log: "admin", "sync"
  std::string host = "127.0.0.1";   // IPv4 or IPv6 address, or localhost
  uint16_t port = 0;                // 0: a free one
  size_t threads = 1;               // of I/O; at least one
  size_t connections_max = 25'000;  // past it one without a known caller makes room, or 503
  size_t descriptors_max = 0;  // connections take no more of the process's than this; 0: no limit
  std::chrono::milliseconds silent_min{1'000};   // a younger one makes no room
  size_t request_bytes_max = size_t{256} << 20;  // bodies held at once; past it 503 too_busy
  size_t head_bytes_max = size_t{32} << 20;      // large heads of strangers; see PendingHeads
  size_t answer_bytes_max = size_t{512} << 20;   // answers not taken by their clients; likewise
  std::chrono::milliseconds stop_grace{10'000};  // for requests under way in Stop()
  HttpLimits limits;

  // Each may be empty; called on I/O threads.
  std::function<bool(const HttpHead&)> is_open;  // answered from memory, also past every limit
  std::function<void(size_t)> on_sent;           // bytes
  std::function<void(const absl::Status&)> on_no_request;  // what came was none, and answered
  std::shared_ptr<prometheus::Registry> registry;          // nullptr: no metrics
  // Connections and refusals ("accept", "connections", "heads", …) are counted there; nullptr:
  // nowhere. It outlives the listener.
  ListenerAccount* account = nullptr;
};

// Accepts connections and reads requests' heads on a few I/O threads that never block: a silent
// connection costs no thread. What a request means is the handler's.
class HttpListener {
 public:
  // Answers one request on `connection`, on its I/O thread `worker`. False where the connection is
  // of no use any more. What blocks is the handler's to run elsewhere (BlockingPool).
  using Handler = std::function<net::awaitable<bool>(HttpConnection& connection, HttpHead& head,
                                                     size_t worker)>;

  HttpListener(HttpListenerOptions options, Handler handler);
  ~HttpListener();
  HttpListener(const HttpListener&) = delete;
  HttpListener& operator=(const HttpListener&) = delete;

  // Binds and serves; returns the port. kUnavailable, code "address_in_use", where it can't listen;
  // kInvalidArgument for a host that is no address; kResourceExhausted where a thread can't be
  // made.
  [[nodiscard]] absl::StatusOr<uint16_t> Start();

  // Accepts nothing more, closes what is silent, waits for requests under way within the grace (but
  // not for a client that does nothing for 2 s), cuts them, and ends the I/O threads. Handlers that
  // still run elsewhere must end before the listener is destroyed. Safe to call twice.
  void Stop();

  [[nodiscard]] size_t threads() const;
  // An I/O thread's loop; valid as long as the listener.
  [[nodiscard]] net::io_context& io(size_t worker);
  // Keeps what the handlers of a worker use until that worker's coroutines are gone. Before
  // Start().
  void Keep(size_t worker, std::shared_ptr<void> used);
  [[nodiscard]] bool stopping() const;
  [[nodiscard]] size_t connections() const;
  [[nodiscard]] ByteBudget& request_bytes();
  [[nodiscard]] ByteBudget& answer_bytes();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::gateways

#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "gateways/sync/sync_context.h"

namespace sluice::gateways {

// One client's connection, on one I/O thread. Beast reads the requests; answers are written as
// they are, so that a page goes from the buffer it was built in to the socket.
class Connection {
 public:
  Connection(SyncContext& context, net::ip::tcp::socket socket);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The next request. kCancelled when there is none: the client has gone, or stays silent.
  // Otherwise an error is one to answer with before the connection is closed.
  [[nodiscard]] net::awaitable<absl::StatusOr<HttpRequest>> Read();

  // False where the connection is of no use any more.
  [[nodiscard]] net::awaitable<bool> Respond(const HttpRequest& request,
                                             const HttpResponse& response);

  // A body of unknown length: head, chunks, end.
  [[nodiscard]] net::awaitable<bool> StartStream(const HttpRequest& request,
                                                 std::string_view content_type);
  // Returns when the client has taken it; in pieces, each with the write time-out.
  [[nodiscard]] net::awaitable<bool> SendChunk(std::string_view data);
  [[nodiscard]] net::awaitable<bool> EndStream();

  // Nothing is being answered: Stop() may close it.
  bool idle() const { return idle_; }
  void Close();
  // After an answer that ends the connection: lets the client read it before the socket closes.
  [[nodiscard]] net::awaitable<void> Linger();

 private:
  struct Impl;
  net::awaitable<bool> Write(std::string_view head, std::string_view body, std::string_view tail);

  SyncContext& context_;
  std::unique_ptr<Impl> impl_;
  bool idle_ = true;
  bool chunked_ = true;
};

}  // namespace sluice::gateways

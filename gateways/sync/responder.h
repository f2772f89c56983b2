#pragma once

#include <boost/asio/awaitable.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "gateways/http/http_connection.h"
#include "gateways/sync/change_hub.h"
#include "gateways/sync/sync_context.h"

namespace sluice::gateways {

// The answer to one request of a client, on its connection's I/O thread. A page goes from the
// buffer it was built in to the socket.
class Responder {
 public:
  // Both must outlive the object.
  Responder(HttpConnection& http, const HttpHead& head) : http_(http), head_(head) {}
  Responder(const Responder&) = delete;
  Responder& operator=(const Responder&) = delete;

  // False where the connection is of no use any more.
  [[nodiscard]] net::awaitable<bool> Respond(const HttpRequest& request,
                                             const HttpResponse& response);

  // A body of unknown length: head, chunks, end. `headers` are those beside the usual ones.
  [[nodiscard]] net::awaitable<bool> StartStream(
      const HttpRequest& request, std::string_view content_type,
      std::vector<std::pair<std::string, std::string>> headers = {});
  // Returns when the client has taken it; in pieces, each with the write time-out.
  [[nodiscard]] net::awaitable<bool> SendChunk(std::string_view data);
  [[nodiscard]] net::awaitable<bool> EndStream();

  [[nodiscard]] HttpConnection& http() { return http_; }

 private:
  HttpConnection& http_;
  const HttpHead& head_;
};

// While it lives: ends the watch when the client closes its side, or its connection breaks. Both
// must outlive it.
class ClientWatch {
 public:
  ClientWatch(HttpConnection& http, ChangeHub::Watch& watch) : http_(http) {
    http_.OnGone([&watch] { watch.End(); });
  }
  ClientWatch(const ClientWatch&) = delete;
  ClientWatch& operator=(const ClientWatch&) = delete;
  ~ClientWatch() { http_.OnGone(nullptr); }

 private:
  HttpConnection& http_;
};

// The request that `head` describes, still without its body.
[[nodiscard]] HttpRequest ToSyncRequest(const HttpHead& head);

}  // namespace sluice::gateways

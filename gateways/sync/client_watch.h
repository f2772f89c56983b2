#pragma once

#include "gateways/http/http_connection.h"
#include "gateways/sync/change_hub.h"

namespace sluice::gateways {

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

}  // namespace sluice::gateways

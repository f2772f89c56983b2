#pragma once

#include <boost/asio/awaitable.hpp>
#include <optional>

#include "gateways/http/byte_budget.h"
#include "gateways/sync/change_hub.h"
#include "gateways/sync/responder.h"
#include "gateways/sync/sync_context.h"

namespace sluice::gateways {

// How a stream ended.
struct StreamEnd {
  std::optional<HttpResponse> refused;  // nothing was sent: answer with this
  bool connection_usable = true;        // another request may follow
  AccessNote note{};                    // of a stream that began: why the server ended it
};

// `POST …/stream`. The request's body is given up once it is parsed, and `asked`, its place in the
// budget of bodies, once the client was answered with a checkpoint: streams last for hours.
[[nodiscard]] net::awaitable<StreamEnd> HandleStream(SyncContext& context, ChangeHub& hub,
                                                     Responder& responder, HttpRequest& request,
                                                     ByteHold& asked);

}  // namespace sluice::gateways

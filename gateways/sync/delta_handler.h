#pragma once

#include <boost/asio/awaitable.hpp>

#include "gateways/http/http_connection.h"
#include "gateways/sync/change_hub.h"
#include "gateways/sync/sync_context.h"

namespace sluice::gateways {

// `GET …/delta`: one page, after waiting for it when it was asked to; not
// longer than its client does. While it waits it gives back `request`'s body and `asked`, which
// holds its bytes.
[[nodiscard]] net::awaitable<HttpResponse> HandleDelta(SyncContext& context, ChangeHub& hub,
                                                       HttpConnection& http, SyncRequest& request,
                                                       ByteHold& asked);

}  // namespace sluice::gateways

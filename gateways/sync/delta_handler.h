#pragma once

#include <boost/asio/awaitable.hpp>

#include "gateways/sync/change_hub.h"
#include "gateways/sync/sync_context.h"

namespace sluice::gateways {

// `GET …/delta`: one page, after waiting for it when it was asked to.
[[nodiscard]] net::awaitable<HttpResponse> HandleDelta(SyncContext& context, ChangeHub& hub,
                                                       const HttpRequest& request);

}  // namespace sluice::gateways

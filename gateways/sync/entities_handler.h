#pragma once

#include "gateways/sync/sync_context.h"

namespace sluice::gateways {

// GET /v1/orgs/{org}/entities: the entities and columns that the caller's roles read.
[[nodiscard]] net::awaitable<HttpResponse> HandleEntities(SyncContext& context,
                                                          const SyncRequest& request);

}  // namespace sluice::gateways

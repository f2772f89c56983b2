#pragma once

#include <prometheus/registry.h>

#include <memory>

#include "gateways/outbound/outbound_client.h"
#include "gateways/sources/connector.h"
#include "schemas/base/clock.h"

namespace sluice::gateways {

// Sources of kind "odata": services of OData 4.0 and 4.01 in JSON, each entity set a stream.
// gateways/docs/sources.md says how a service is read. Secrets: "password" of basic, "token" of
// bearer, "client_secret" of client_credentials. `outbound` and `clock` must outlive it; without a
// registry nobody sees its metrics.
[[nodiscard]] std::unique_ptr<Connector> MakeODataConnector(
    OutboundClient& outbound, const Clock& clock, std::shared_ptr<prometheus::Registry> registry);

}  // namespace sluice::gateways

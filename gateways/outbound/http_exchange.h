#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/outbound/outbound_client.h"
#include "gateways/outbound/url.h"

// One request and its answer over a connection of its own. Boost is seen by the .cc alone.
namespace sluice::gateways {

// What all connections share: the authorities that certificates must come from. Thread-safe.
class TlsClientContext {
 public:
  // kInvalidArgument where `ca_file` (PEM; empty: the system's) can't be read.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<TlsClientContext>> Create(
      const std::string& ca_file);
  ~TlsClientContext();

  struct Impl;
  Impl& impl() { return *impl_; }

 private:
  explicit TlsClientContext(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// What ends an exchange early: asked between any two steps, and every few hundredths of a second.
struct ExchangeEnd {
  const Clock& clock;
  SteadyTime until;  // of the whole
  const std::function<bool()>& stopping;
};

// Connects to the first of `addresses` that takes a connection, sends `request` for `url`, and
// hands over the head, and then the body as it comes (still encoded). `on_head` returns false where
// no body is wanted. Errors as OutboundClient::Send; the head is 64 KiB at most.
[[nodiscard]] absl::Status Exchange(
    TlsClientContext& tls, const Url& url, const std::vector<std::string>& addresses,
    const OutboundRequest& request, const ExchangeEnd& end,
    absl::FunctionRef<absl::StatusOr<bool>(OutboundResponse)> on_head,
    absl::FunctionRef<absl::Status(std::string_view)> on_body);

}  // namespace sluice::gateways

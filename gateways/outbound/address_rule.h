#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "gateways/outbound/url.h"

namespace sluice::gateways {

// What may be fetched for a tenant, who gives the URL and reads what comes of it: no service of the
// network that this process stands in. A name says nothing about that, so each address that it
// resolves to is asked about, and the one that was asked about is the one that is connected to.
// Immutable, so thread-safe.
class AddressRule {
 public:
  // `allow_hosts`: "crm.example.org", or "*.example.org" for every name below it; empty: all hosts,
  // by https. `allow_private`: "10.1.2.3", "10.0.0.0/8", "fd00::/8". kInvalidArgument for an entry
  // that is none.
  [[nodiscard]] static absl::StatusOr<AddressRule> Create(
      const std::vector<std::string>& allow_hosts, const std::vector<std::string>& allow_private);

  // Scheme, host and port, and the address where the host is one. http is for hosts that are listed
  // alone, ports below 1024 are refused but 80 and 443. kInvalidArgument, code
  // "source_not_allowed".
  [[nodiscard]] absl::Status CheckUrl(const Url& url) const;

  // `address`: an IP address as text. It must be a public one or within `allow_private`: not of the
  // special purposes of RFC 6890, nor one that clouds keep for themselves. An IPv4 address within
  // an IPv6 one (mapped, or by NAT64) is judged as itself. kInvalidArgument, code
  // "source_not_allowed".
  [[nodiscard]] absl::Status CheckAddress(std::string_view address) const;

  using Bytes = std::array<uint8_t, 16>;  // of an IPv4 address as ::ffff:a.b.c.d
  struct Network {
    Bytes address{};
    int bits = 128;
  };

 private:
  AddressRule() = default;
  bool Lists(std::string_view host) const;

  std::vector<std::string> hosts_;  // lower case
  std::vector<Network> private_;
};

}  // namespace sluice::gateways

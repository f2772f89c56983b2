#include "gateways/outbound/address_rule.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

using Bytes = AddressRule::Bytes;
using Network = AddressRule::Network;

absl::Status NotAllowed(std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "source_not_allowed", why);
}

constexpr Bytes kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
constexpr int kMappedBits = 96;

std::optional<Bytes> ParseAddress(std::string_view text) {
  const std::string copy(text);
  Bytes bytes = kMapped;
  if (inet_pton(AF_INET, copy.c_str(), bytes.data() + 12) == 1 ||
      inet_pton(AF_INET6, copy.c_str(), bytes.data()) == 1) {
    return bytes;
  }
  return std::nullopt;
}

std::optional<Network> ParseNetwork(std::string_view text) {
  const size_t slash = text.find('/');
  const auto address = ParseAddress(text.substr(0, slash));
  if (!address.has_value()) {
    return std::nullopt;
  }
  Network network{*address};
  if (slash == std::string_view::npos) {
    return network;
  }
  const bool v4 = text.find(':') == std::string_view::npos;
  const std::string_view digits = text.substr(slash + 1);
  int bits = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), bits);
  if (error != std::errc() || end != digits.data() + digits.size() || bits < 0 ||
      bits > (v4 ? 32 : 128)) {
    return std::nullopt;
  }
  network.bits = v4 ? kMappedBits + bits : bits;
  return network;
}

bool Contains(const Network& network, const Bytes& address) {
  for (int bit = 0; bit < network.bits; ++bit) {
    const int mask = 0x80 >> (bit % 8);
    if (((network.address[static_cast<size_t>(bit) / 8] ^ address[static_cast<size_t>(bit) / 8]) &
         mask) != 0) {
      return false;
    }
  }
  return true;
}

bool IsIn(const std::vector<Network>& networks, const Bytes& address) {
  return std::ranges::any_of(networks, [&](const Network& n) { return Contains(n, address); });
}

std::vector<Network> Networks(std::initializer_list<std::string_view> texts) {
  std::vector<Network> networks;
  for (const std::string_view text : texts) {
    networks.push_back(*ParseNetwork(text));
  }
  return networks;
}

// IPv4 addresses with a special purpose (RFC 6890 and its registry), multicast, and the address at
// which Azure has its own services in every network.
const std::vector<Network>& SpecialV4() {
  static const std::vector<Network> networks = Networks(
      {"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16", "169.254.0.0/16",
       "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
       "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"});
  return networks;
}

// What of 2000::/3, the addresses that are given out, has a special purpose: protocols (Teredo and
// others), documentation, and 6to4, which leads to an IPv4 address.
const std::vector<Network>& SpecialV6() {
  static const std::vector<Network> networks =
      Networks({"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"});
  return networks;
}

bool IsPublic(Bytes address) {
  static const Network kMappedV4 = {kMapped, kMappedBits};
  static const Network kNat64 = *ParseNetwork("64:ff9b::/96");
  static const Network kGivenOut = *ParseNetwork("2000::/3");
  if (Contains(kNat64, address)) {
    std::copy_n(kMapped.begin(), 12, address.begin());
  }
  if (Contains(kMappedV4, address)) {
    return !IsIn(SpecialV4(), address);
  }
  return Contains(kGivenOut, address) && !IsIn(SpecialV6(), address);
}

}  // namespace

absl::StatusOr<AddressRule> AddressRule::Create(const std::vector<std::string>& allow_hosts,
                                                const std::vector<std::string>& allow_private) {
  AddressRule rule;
  for (const std::string& host : allow_hosts) {
    const bool below = host.starts_with("*.");
    const auto url = Url::Parse(
        fmt::format("https://{}{}{}", host.find(':') == std::string::npos ? "" : "[",
                    host.substr(below ? 2 : 0), host.find(':') == std::string::npos ? "" : "]"));
    if (!url.ok() || url->Target() != "/" || url->port != 443 || url->has_query) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' is no host: write a name, or *. before one for all below it", host));
    }
    rule.hosts_.push_back((below ? "*." : "") + url->host);
  }
  for (const std::string& text : allow_private) {
    const auto network = ParseNetwork(text);
    if (!network.has_value()) {
      return absl::InvalidArgumentError(
          fmt::format("'{}' is no network: write an IP address, and / and the length of "
                      "its prefix for more than one",
                      text));
    }
    rule.private_.push_back(*network);
  }
  return rule;
}

bool AddressRule::Lists(std::string_view host) const {
  return std::ranges::any_of(hosts_, [host](std::string_view listed) {
    return listed.starts_with("*.")
               ? host.size() > listed.size() - 1 && host.ends_with(listed.substr(1))
               : host == listed;
  });
}

absl::Status AddressRule::CheckUrl(const Url& url) const {
  const bool listed = Lists(url.host);
  if (!hosts_.empty() && !listed) {
    return NotAllowed(
        fmt::format("the host {} is none of sources.allow_hosts of this server", url.host));
  }
  if (url.scheme != "https" && !listed) {
    return NotAllowed(fmt::format(
        "{} is not https; plain http is for hosts in sources.allow_hosts of this server",
        url.WithoutQuery()));
  }
  if (url.port < 1024 && url.port != 80 && url.port != 443) {
    return NotAllowed(
        fmt::format("port {} is refused: 80, 443 and those from 1024 on are allowed", url.port));
  }
  return IsAddress(url.host) ? CheckAddress(url.host) : absl::OkStatus();
}

absl::Status AddressRule::CheckAddress(std::string_view address) const {
  const auto bytes = ParseAddress(address);
  if (bytes.has_value() && (IsIn(private_, *bytes) || IsPublic(*bytes))) {
    return absl::OkStatus();
  }
  return NotAllowed(fmt::format(
      "the address {} is not a public one, and none of sources.allow_private of this server",
      address));
}

}  // namespace sluice::gateways

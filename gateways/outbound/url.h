#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace sluice::gateways {

// A URL is no longer than this: links of a source hold tokens, but no documents.
inline constexpr size_t kUrlBytesMax = size_t{64} << 10;

// An absolute http or https URL (RFC 3986), in one form: who compares two compares what would be
// fetched. What two readers could understand differently is refused: user names, backslashes,
// control characters, hosts that are numbers in other forms than four decimal ones, names that are
// not ASCII or end with a dot. A fragment is dropped; characters that no URL may hold, such as a
// blank, are written as %XX, as services send them in links.
struct Url {
  std::string scheme;  // "http" or "https"
  std::string host;    // lower case; of an IPv6 address its shortest text, without brackets
  uint16_t port = 0;   // never 0: that of the scheme where the text has none
  std::string path;    // begins with '/', has no dot segments
  std::string query;   // without the '?'
  bool has_query = false;

  // kInvalidArgument, code "invalid_argument". The message does not repeat the text, which may hold
  // a secret.
  [[nodiscard]] static absl::StatusOr<Url> Parse(std::string_view text);

  // What `reference` means in a document from here (RFC 3986, section 5.2).
  [[nodiscard]] absl::StatusOr<Url> Resolve(std::string_view reference) const;

  [[nodiscard]] bool SameOrigin(const Url& other) const {
    return scheme == other.scheme && host == other.host && port == other.port;
  }

  [[nodiscard]] std::string Authority() const;  // "host", "host:8080", "[v6]:8080"
  [[nodiscard]] std::string Target() const;     // path and query, as a request has them
  [[nodiscard]] std::string ToString() const;
  // For messages and logs: without the query, which may hold a token.
  [[nodiscard]] std::string WithoutQuery() const;
};

// Whether `host`, as Url has it, is an IP address.
[[nodiscard]] bool IsAddress(std::string_view host);

}  // namespace sluice::gateways

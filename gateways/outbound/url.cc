#include "gateways/outbound/url.h"

#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <vector>

#include "gateways/percent.h"
#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kHostBytesMax = 253;
constexpr size_t kLabelBytesMax = 63;

absl::Status Invalid(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("the URL {}", what));
}

// The address in its one text form; nullopt where `text` is none of the family.
std::optional<std::string> Normalised(int family, const std::string& text) {
  std::array<unsigned char, sizeof(in6_addr)> bytes{};
  std::array<char, INET6_ADDRSTRLEN> out{};
  if (inet_pton(family, text.c_str(), bytes.data()) != 1 ||
      inet_ntop(family, bytes.data(), out.data(), out.size()) == nullptr) {
    return std::nullopt;
  }
  return std::string(out.data());
}

// Resolvers take "127.1", "0x7f000001" and "2130706433" for addresses, other programs for names.
bool LooksLikeNumber(std::string_view label) {
  return label.starts_with("0x") || std::ranges::all_of(label, IsDigit);
}

absl::StatusOr<std::string> ParseHost(std::string_view text) {
  if (text.starts_with('[')) {
    const auto address = text.ends_with(']')
                             ? Normalised(AF_INET6, std::string(text.substr(1, text.size() - 2)))
                             : std::nullopt;
    return address.has_value() ? absl::StatusOr<std::string>(*address)
                               : Invalid("has brackets around what is no IPv6 address");
  }
  const std::string host = ToLower(text);
  if (host.empty() || host.size() > kHostBytesMax) {
    return Invalid("has no host, or one that is too long");
  }
  std::string_view label;
  for (size_t begin = 0; begin <= host.size();) {
    const size_t end = std::min(host.find('.', begin), host.size());
    label = std::string_view(host).substr(begin, end - begin);
    const bool valid =
        !label.empty() && label.size() <= kLabelBytesMax && std::ranges::all_of(label, [](char c) {
          return IsLetterOrDigit(c) || c == '-' || c == '_';
        });
    if (!valid) {
      return Invalid("has a host that is no name of letters, digits, hyphens and dots");
    }
    begin = end + 1;
  }
  if (LooksLikeNumber(label)) {
    const auto address = Normalised(AF_INET, host);
    return address.has_value() ? absl::StatusOr<std::string>(*address)
                               : Invalid("has a host that is a number but no IPv4 address");
  }
  return host;
}

// Characters that a path or query may hold as they are (RFC 3986, appendix A), and '%'.
constexpr std::string_view kPlain = "-._~!$&'()*+,;=:@/?%";

// RFC 3986, section 5.2.4, of a path that begins with '/'.
std::string WithoutDotSegments(std::string_view path) {
  std::vector<std::string_view> segments;
  bool folder = false;  // the path ends as a folder does
  for (size_t at = 1; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view segment = path.substr(at, end - at);
    folder = segment == "." || segment == "..";
    if (segment == "..") {
      if (!segments.empty()) {
        segments.pop_back();
      }
    } else if (segment != ".") {
      segments.push_back(segment);
    }
    at = end + 1;
  }
  std::string out;
  for (const std::string_view segment : segments) {
    out.append(1, '/').append(segment);
  }
  return folder || out.empty() ? out + "/" : out;
}

// The length of a scheme that `text` begins with, without the colon; 0 where there is none.
size_t SchemeSize(std::string_view text) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || !IsLetter(text[0])) {
    return 0;
  }
  const bool valid = std::ranges::all_of(text.substr(0, colon), [](char c) {
    return IsLetterOrDigit(c) || c == '+' || c == '-' || c == '.';
  });
  return valid ? colon : 0;
}

absl::Status ParseAuthority(std::string_view text, Url* url) {
  if (text.find('@') != std::string_view::npos) {
    return Invalid("must not hold a user name or password");
  }
  const size_t colon = text.rfind(':');
  const bool has_port =
      colon != std::string_view::npos && text.find(']', colon) == std::string_view::npos;
  ASSIGN_OR_RETURN(url->host, ParseHost(text.substr(0, has_port ? colon : text.size())));
  url->port = url->scheme == "https" ? 443 : 80;
  const std::string_view digits = has_port ? text.substr(colon + 1) : std::string_view();
  if (!digits.empty()) {
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), url->port);
    if (error != std::errc() || end != digits.data() + digits.size() || url->port == 0) {
      return Invalid("has no port from 1 to 65535");
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<Url> Url::Parse(std::string_view text) {
  if (text.size() > kUrlBytesMax) {
    return Invalid(fmt::format("is longer than {} bytes", kUrlBytesMax));
  }
  const bool clean = std::ranges::none_of(
      text, [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f || c == '\\'; });
  if (!clean) {
    return Invalid("holds a backslash or a control character");
  }
  Url url;
  const size_t scheme = SchemeSize(text);
  url.scheme = ToLower(text.substr(0, scheme));
  if ((url.scheme != "http" && url.scheme != "https") || !text.substr(scheme).starts_with("://")) {
    return Invalid("is none that begins with https:// or http://");
  }
  text = text.substr(0, text.find('#')).substr(scheme + 3);
  const size_t authority = std::min(text.find_first_of("/?"), text.size());
  RETURN_IF_ERROR(ParseAuthority(text.substr(0, authority), &url));
  text.remove_prefix(authority);
  const size_t mark = text.find('?');
  url.has_query = mark != std::string_view::npos;
  url.path = WithoutDotSegments(PercentEncode(text.substr(0, mark), kPlain));
  if (url.has_query) {
    url.query = PercentEncode(text.substr(mark + 1), kPlain);
  }
  return url;
}

absl::StatusOr<Url> Url::Resolve(std::string_view reference) const {
  if (SchemeSize(reference) > 0) {
    return Parse(reference);
  }
  if (reference.starts_with("//")) {
    return Parse(fmt::format("{}:{}", scheme, reference));
  }
  const std::string base = fmt::format("{}://{}", scheme, Authority());
  if (reference.starts_with('/')) {
    return Parse(base + std::string(reference));
  }
  if (reference.empty() || reference.starts_with('#')) {
    return *this;
  }
  if (reference.starts_with('?')) {
    return Parse(fmt::format("{}{}{}", base, path, reference));
  }
  return Parse(fmt::format("{}{}{}", base, path.substr(0, path.rfind('/') + 1), reference));
}

std::string Url::Authority() const {
  const bool v6 = host.find(':') != std::string::npos;
  const std::string name = v6 ? fmt::format("[{}]", host) : host;
  return port == (scheme == "https" ? 443 : 80) ? name : fmt::format("{}:{}", name, port);
}

std::string Url::Target() const { return has_query ? fmt::format("{}?{}", path, query) : path; }

std::string Url::ToString() const {
  return fmt::format("{}://{}{}", scheme, Authority(), Target());
}

std::string Url::WithoutQuery() const {
  return fmt::format("{}://{}{}", scheme, Authority(), path);
}

bool IsAddress(std::string_view host) {
  const std::string text(host);
  return Normalised(AF_INET, text).has_value() || Normalised(AF_INET6, text).has_value();
}

}  // namespace sluice::gateways

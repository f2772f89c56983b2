#include "gateways/http/head_parser.h"

#include <fmt/format.h>

#include <algorithm>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr size_t kMethodBytesMax = 32;
constexpr size_t kLengthDigitsMax = 18;
constexpr size_t kRequestIdBytesMax = 128;

// Headers of which a second one could be read by somebody else instead of the first.
constexpr auto kSingle =
    std::to_array<std::string_view>({"authorization", "content-encoding", "content-length",
                                     "content-type", "expect", "host", "transfer-encoding"});

// A host, and perhaps a port.
bool IsHost(std::string_view text) {
  return std::ranges::all_of(text, [](char c) {
    return IsLetterOrDigit(c) ||
           std::string_view("-._~!$&'()*+,;=%[]:").find(c) != std::string_view::npos;
  });
}

absl::Status Invalid(std::string_view what) {
  return absl::InvalidArgumentError(fmt::format("the request can't be understood: {}", what));
}

bool IsTokenChar(char c) {
  return IsLetterOrDigit(c) ||
         std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
}

bool IsToken(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, IsTokenChar);
}

// A target's path and query. A target in absolute form ("http://host/path") is one that a server
// has to take (RFC 9112, section 3.2.2); which host it names is of no interest here.
std::string_view WithoutAuthority(std::string_view target) {
  const size_t scheme = target.find("://");
  if (target.starts_with('/') || scheme == std::string_view::npos) {
    return target;
  }
  const std::string name = ToLower(target.substr(0, scheme));
  const std::string_view rest = target.substr(scheme + 3);
  const size_t end = std::min(rest.find_first_of("/?#"), rest.size());
  if ((name != "http" && name != "https") || !IsHost(rest.substr(0, end)) || end == 0) {
    return {};
  }
  return end == rest.size() ? std::string_view("/") : rest.substr(end);
}

absl::Status ReadRequestLine(std::string_view line, HttpHead& head) {
  const size_t first = line.find(' ');
  const size_t last = line.rfind(' ');
  if (first == std::string_view::npos || first == last) {
    return Invalid("its first line is not METHOD SP TARGET SP VERSION");
  }
  const std::string_view method = line.substr(0, first);
  const std::string_view target = WithoutAuthority(line.substr(first + 1, last - first - 1));
  const std::string_view version = line.substr(last + 1);
  if (!IsToken(method) || method.size() > kMethodBytesMax) {
    return Invalid("its method is none");
  }
  if (version != "HTTP/1.1" && version != "HTTP/1.0") {
    return Invalid("its version is not HTTP/1.1 or HTTP/1.0");
  }
  if (target.empty() || target.front() != '/' ||
      std::ranges::any_of(target, [](unsigned char c) { return c <= ' ' || c == 0x7f; })) {
    return Invalid("its target is not a path");
  }
  head.method = method;
  head.http11 = version == "HTTP/1.1";
  head.path = target.substr(0, target.find('?'));
  if (head.path.size() < target.size()) {
    head.query = target.substr(head.path.size() + 1);
  }
  return head.path.size() <= kPathBytesMax ? absl::OkStatus() : Invalid("its path is too long");
}

bool Has(const HttpHead& head, std::string_view name) {
  return std::ranges::any_of(head.headers,
                             [&](const auto& h) { return EqualsIgnoringCase(h.first, name); });
}

absl::Status ReadHeaderLine(std::string_view line, HttpHead& head) {
  if (line.front() == ' ' || line.front() == '\t') {
    return Invalid("a header goes on over a second line");
  }
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || !IsToken(line.substr(0, colon))) {
    return Invalid("a header's name is no name, or there is white space before its colon");
  }
  const std::string_view value = line.substr(colon + 1);
  if (std::ranges::any_of(value,
                          [](unsigned char c) { return (c < ' ' && c != '\t') || c == 0x7f; })) {
    return Invalid("a header's value has control characters");
  }
  if (head.headers.size() == kHeaderLinesMax) {
    return Invalid(fmt::format("it has more than {} header lines", kHeaderLinesMax));
  }
  const std::string_view name = line.substr(0, colon);
  if (std::ranges::binary_search(kSingle, ToLower(name)) && Has(head, name)) {
    return Invalid("a header that may be given once is given twice");
  }
  head.headers.emplace_back(name, TrimBlanks(value));
  return absl::OkStatus();
}

// Is `token` among the values of all Connection headers?
bool ConnectionSays(const HttpHead& head, std::string_view token) {
  for (const auto& [name, value] : head.headers) {
    if (!EqualsIgnoringCase(name, "connection")) {
      continue;
    }
    std::string_view rest = value;
    while (!rest.empty()) {
      const std::string_view item = rest.substr(0, rest.find(','));
      rest.remove_prefix(std::min(item.size() + 1, rest.size()));
      if (EqualsIgnoringCase(TrimBlanks(item), token)) {
        return true;
      }
    }
  }
  return false;
}

// One way to tell the body's length.
absl::Status ReadFraming(HttpHead& head) {
  const std::string_view length = head.Header("Content-Length");
  if (Has(head, "content-length")) {
    const bool number = !length.empty() && length.size() <= kLengthDigitsMax &&
                        std::ranges::all_of(length, IsDigit);
    if (!number) {
      return Invalid("its Content-Length is no number");
    }
    head.content_length = std::stoull(std::string(length));
  }
  if (Has(head, "transfer-encoding")) {
    if (head.content_length.has_value()) {
      return Invalid("it has a Content-Length and a Transfer-Encoding");
    }
    if (!head.http11 || !EqualsIgnoringCase(head.Header("Transfer-Encoding"), "chunked")) {
      return Invalid("its Transfer-Encoding is not chunked");
    }
    head.chunked = true;
  }
  return absl::OkStatus();
}

}  // namespace

bool IsPlainRequestId(std::string_view id) {
  return !id.empty() && id.size() <= kRequestIdBytesMax && std::ranges::all_of(id, [](char c) {
    return IsLetterOrDigit(c) || c == '-' || c == '_' || c == '.';
  });
}

absl::StatusOr<size_t> FindHeadEnd(std::string_view bytes, size_t from) {
  for (size_t at = bytes.find_first_of("\r\n", from); at != std::string_view::npos;
       at = bytes.find_first_of("\r\n", at + 1)) {
    const bool paired = bytes[at] == '\n' ? at > 0 && bytes[at - 1] == '\r'
                                          : at + 1 == bytes.size() || bytes[at + 1] == '\n';
    if (!paired) {
      return Invalid("a line does not end with CR LF");
    }
    if (bytes[at] == '\n' && at >= 3 && bytes.substr(at - 3, 2) == "\r\n") {
      return at + 1;
    }
  }
  return 0;
}

absl::StatusOr<HttpHead> ParseHead(std::string_view text) {
  HttpHead head;
  bool first = true;
  while (!text.empty()) {
    const size_t end = text.find("\r\n");
    if (end == std::string_view::npos) {
      return Invalid("a line does not end with CR LF");
    }
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end + 2);
    if (first) {
      RETURN_IF_ERROR(ReadRequestLine(line, head));
      first = false;
    } else if (line.empty()) {
      break;
    } else {
      RETURN_IF_ERROR(ReadHeaderLine(line, head));
    }
  }
  if (first || !text.empty()) {
    return Invalid("its head has no end");
  }
  if (head.http11 && !Has(head, "host")) {
    return Invalid("it has no Host");
  }
  if (!IsHost(head.Header("Host"))) {
    return Invalid("its Host is none");
  }
  RETURN_IF_ERROR(ReadFraming(head));
  head.keep_alive =
      head.http11 ? !ConnectionSays(head, "close") : ConnectionSays(head, "keep-alive");
  head.expects_continue = head.http11 && EqualsIgnoringCase(head.Header("Expect"), "100-continue");
  if (const std::string_view id = head.Header("X-Request-Id"); IsPlainRequestId(id)) {
    head.request_id = id;
  }
  return head;
}

}  // namespace sluice::gateways

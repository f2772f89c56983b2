#include "gateways/outbound/outbound_client.h"

#include <fmt/format.h>
#include <netdb.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <optional>

#include "gateways/http/content_coding.h"
#include "gateways/outbound/address_rule.h"
#include "gateways/outbound/host_places.h"
#include "gateways/outbound/http_exchange.h"
#include "gateways/outbound/retry_after.h"
#include "gateways/outbound/url.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

constexpr int kRedirectsMax = 3;
constexpr size_t kAddressesMax = 8;  // of a name, tried one after the other
constexpr size_t kDecoderBytesMax = size_t{1} << 20;

absl::StatusOr<std::vector<std::string>> AskSystem(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_ADDRCONFIG;
  addrinfo* found = nullptr;
  const int error = getaddrinfo(host.c_str(), nullptr, &hints, &found);
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(found, &freeaddrinfo);
  if (error != 0) {
    return Error(absl::StatusCode::kUnavailable, "source_unreachable",
                 fmt::format("the name {} has no address: {}", host, gai_strerror(error)));
  }
  std::vector<std::string> addresses;
  for (const addrinfo* entry = found; entry != nullptr; entry = entry->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (getnameinfo(entry->ai_addr, entry->ai_addrlen, text.data(), text.size(), nullptr, 0,
                    NI_NUMERICHOST) == 0) {
      addresses.emplace_back(text.data());
    }
  }
  return addresses;
}

bool IsRedirection(int status) {
  return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

absl::Status RedirectRefused(const Url& url, std::string_view why) {
  return Error(absl::StatusCode::kInvalidArgument, "redirect_refused",
               fmt::format("{} redirects {}", url.WithoutQuery(), why));
}

// Takes the body's pieces as they come, and gives them on decompressed and counted.
class BodyReader {
 public:
  // `encoding`: the answer's Content-Encoding. gzip is what was asked for.
  static absl::StatusOr<BodyReader> For(const Url& url, std::string_view encoding,
                                        size_t bytes_max) {
    BodyReader reader(url, bytes_max);
    if (encoding == "gzip" || encoding == "x-gzip") {
      ASSIGN_OR_RETURN(reader.decoder_, ContentDecoder::For("gzip", [](size_t bytes) {
                         return bytes <= kDecoderBytesMax;
                       }));
    } else if (!encoding.empty() && encoding != "identity") {
      return reader.Invalid("has a Content-Encoding that was not asked for");
    }
    return reader;
  }

  absl::Status Take(std::string_view piece,
                    absl::FunctionRef<absl::Status(std::string_view)> on_body) {
    fed_ = fed_ || !piece.empty();
    absl::Status given;
    const auto give = [&](std::string_view bytes) {
      taken_ += bytes.size();
      given = taken_ > bytes_max_ ? TooLarge() : bytes.empty() ? absl::OkStatus() : on_body(bytes);
      return given.ok();
    };
    if (decoder_ == nullptr) {
      give(piece);
    } else if (const absl::Status fed = decoder_->Feed(piece, give); !fed.ok()) {
      return Invalid(Message(fed));
    }
    return given;
  }

  absl::Status Finish() {
    // An answer without any body is none that was cut.
    return decoder_ == nullptr || !fed_ || decoder_->Finish().ok()
               ? absl::OkStatus()
               : Invalid("ends amid its gzip stream");
  }

 private:
  BodyReader(const Url& url, size_t bytes_max) : url_(url.WithoutQuery()), bytes_max_(bytes_max) {}

  absl::Status Invalid(std::string_view what) const {
    return Error(absl::StatusCode::kUnavailable, "source_answer_invalid",
                 fmt::format("the answer of {} {}", url_, what));
  }
  absl::Status TooLarge() const {
    return Error(absl::StatusCode::kFailedPrecondition, "source_answer_too_large",
                 fmt::format("the answer of {} is larger than {} bytes", url_, bytes_max_));
  }

  std::string url_;
  size_t bytes_max_;
  size_t taken_ = 0;                         // bytes given on
  bool fed_ = false;                         // anything came at all
  std::unique_ptr<ContentDecoder> decoder_;  // nullptr: as it comes
};

}  // namespace

std::string_view OutboundResponse::Header(std::string_view lower_name) const {
  const auto found = headers.find(std::string(lower_name));
  return found == headers.end() ? std::string_view() : std::string_view(found->second);
}

struct OutboundClient::Impl {
  Impl(OutboundOptions options, const Clock& the_clock, Resolve the_resolve)
      : clock(the_clock),
        resolve(the_resolve ? std::move(the_resolve) : Resolve(&AskSystem)),
        rule(AddressRule::Create(options.allow_hosts, options.allow_private)),
        tls(TlsClientContext::Create(options.ca_file)),
        places(options.per_host_max, the_clock) {}

  absl::StatusOr<Url> Allowed(std::string_view text) const;
  absl::StatusOr<std::vector<std::string>> Addresses(const Url& url) const;
  // One exchange: nullopt where it was answered, the place of a redirection otherwise.
  absl::StatusOr<std::optional<Url>> SendOnce(
      const Url& url, const OutboundRequest& request, const ExchangeEnd& end,
      absl::FunctionRef<absl::Status(const OutboundResponse&)> on_head,
      absl::FunctionRef<absl::Status(std::string_view)> on_body);
  absl::StatusOr<Url> RedirectOf(const Url& url, const OutboundRequest& request,
                                 const OutboundResponse& head) const;
  void RestAsAsked(const Url& url, const OutboundResponse& head);

  const Clock& clock;
  const Resolve resolve;
  const absl::StatusOr<AddressRule> rule;
  const absl::StatusOr<std::unique_ptr<TlsClientContext>> tls;
  HostPlaces places;
};

OutboundClient::OutboundClient(OutboundOptions options, const Clock& clock, Resolve resolve)
    : impl_(std::make_unique<Impl>(std::move(options), clock, std::move(resolve))) {}
OutboundClient::~OutboundClient() = default;

absl::StatusOr<Url> OutboundClient::Impl::Allowed(std::string_view text) const {
  RETURN_IF_ERROR(rule.status());
  RETURN_IF_ERROR(tls.status());
  auto url = Url::Parse(text);
  if (!url.ok()) {
    return Error(absl::StatusCode::kInvalidArgument, "source_not_allowed", Message(url.status()));
  }
  RETURN_IF_ERROR(rule->CheckUrl(*url));
  return url;
}

// All of them must be allowed, not just the one that is taken: a name that leads into this network
// and out of it belongs to somebody who tries.
absl::StatusOr<std::vector<std::string>> OutboundClient::Impl::Addresses(const Url& url) const {
  if (IsAddress(url.host)) {
    return std::vector<std::string>{url.host};
  }
  ASSIGN_OR_RETURN(std::vector<std::string> addresses, resolve(url.host));
  for (const std::string& address : addresses) {
    RETURN_IF_ERROR_CTX(rule->CheckAddress(address), url.host);
  }
  addresses.resize(std::min(addresses.size(), kAddressesMax));
  return addresses;
}

absl::StatusOr<Url> OutboundClient::Impl::RedirectOf(const Url& url, const OutboundRequest& request,
                                                     const OutboundResponse& head) const {
  if (request.method != "GET") {
    return RedirectRefused(url, "what is no GET");
  }
  const std::string_view location = head.Header("location");
  const auto target = url.Resolve(location);
  if (location.empty() || !target.ok()) {
    return RedirectRefused(url, "to no place");
  }
  return target->SameOrigin(url) ? target : RedirectRefused(url, "to another origin");
}

void OutboundClient::Impl::RestAsAsked(const Url& url, const OutboundResponse& head) {
  if (head.status != 429 && head.status != 503) {
    return;
  }
  const auto wait = ParseRetryAfter(head.Header("retry-after"), head.Header("date"), clock.Now());
  if (wait.has_value()) {
    places.Rest(url.host, *wait);
  }
}

absl::StatusOr<std::optional<Url>> OutboundClient::Impl::SendOnce(
    const Url& url, const OutboundRequest& request, const ExchangeEnd& end,
    absl::FunctionRef<absl::Status(const OutboundResponse&)> on_head,
    absl::FunctionRef<absl::Status(std::string_view)> on_body) {
  // Checked and connected to in one go: a name that is resolved twice may be two addresses.
  ASSIGN_OR_RETURN(const std::vector<std::string> addresses, Addresses(url));
  std::optional<Url> redirect;
  std::optional<BodyReader> body;
  const auto take_head = [&](const OutboundResponse& head) -> absl::StatusOr<bool> {
    RestAsAsked(url, head);
    if (IsRedirection(head.status)) {
      ASSIGN_OR_RETURN(redirect, RedirectOf(url, request, head));
      return false;
    }
    ASSIGN_OR_RETURN(body,
                     BodyReader::For(url, head.Header("content-encoding"), request.body_bytes_max));
    RETURN_IF_ERROR(on_head(head));
    return true;
  };
  RETURN_IF_ERROR(Exchange(**tls, url, addresses, request, end, take_head,
                           [&](std::string_view piece) { return body->Take(piece, on_body); }));
  if (body.has_value()) {
    RETURN_IF_ERROR(body->Finish());
  }
  return redirect;
}

absl::Status OutboundClient::Allows(std::string_view url) const {
  return impl_->Allowed(url).status();
}

absl::Status OutboundClient::Send(const OutboundRequest& request,
                                  absl::FunctionRef<absl::Status(const OutboundResponse&)> on_head,
                                  absl::FunctionRef<absl::Status(std::string_view)> on_body,
                                  const std::function<bool()>& stopping) {
  ASSIGN_OR_RETURN(Url url, impl_->Allowed(request.url));
  const ExchangeEnd end{impl_->clock, impl_->clock.SteadyNow() + request.timeout, stopping};
  ASSIGN_OR_RETURN(const HostPlaces::Place place,
                   impl_->places.Take(url.host, end.until, stopping));
  for (int redirects = 0; redirects <= kRedirectsMax; ++redirects) {
    ASSIGN_OR_RETURN(std::optional<Url> redirect,
                     impl_->SendOnce(url, request, end, on_head, on_body));
    if (!redirect.has_value()) {
      return absl::OkStatus();
    }
    url = *std::move(redirect);
  }
  return RedirectRefused(url, "more than three times");
}

}  // namespace sluice::gateways

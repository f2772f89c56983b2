#include "gateways/outbound/http_exchange.h"

#include <fmt/format.h>
#include <openssl/ssl.h>

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http.hpp>
#include <optional>
#include <utility>

#include "schemas/base/ascii.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr std::chrono::milliseconds kLookInterval{20};
constexpr std::chrono::milliseconds kConnectTimeout{10'000};  // of one address
constexpr uint32_t kHeadBytesMax = uint32_t{64} << 10;
constexpr size_t kPieceBytes = size_t{32} << 10;
constexpr int kInterimMax = 8;  // answers 1xx before the one that counts

absl::Status Unreachable(const Url& url, std::string_view what) {
  return Error(absl::StatusCode::kUnavailable, "source_unreachable",
               fmt::format("{}: {}", url.WithoutQuery(), what));
}

absl::Status NoHttp(const Url& url, std::string_view what) {
  return Error(absl::StatusCode::kUnavailable, "source_answer_invalid",
               fmt::format("{}: {}", url.WithoutQuery(), what));
}

// What an error amid the answer is. A TLS connection that ends without its goodbye may have been
// cut by anybody on the way, as a TCP connection may before its answer is whole.
absl::Status AmidAnswer(const Url& url, const error_code& error) {
  const bool cut = error == http::error::partial_message || error == http::error::end_of_stream ||
                   error == asio::ssl::error::stream_truncated || error == asio::error::eof;
  if (cut) {
    return Unreachable(url, "the connection ended amid the answer");
  }
  const bool malformed =
      error.category() == http::make_error_code(http::error::bad_line_ending).category();
  return malformed ? NoHttp(url, fmt::format("the answer is no HTTP: {}", error.message()))
                   : Unreachable(url, error.message());
}

// A connection and the loop that it runs in. Every step is asynchronous, so that each can be ended.
class Connection {
 public:
  Connection(const Url& url, const ExchangeEnd& end) : url_(url), end_(end), until_(end.until) {}

  tcp::socket& socket() { return socket_; }

  // Starts a step with `start(handler)` and runs it to its end. The step's own error is in
  // `result`; the status is why it was ended early: kCancelled or "source_timeout".
  template <typename Start>
  absl::Status Run(std::chrono::milliseconds longest, std::string_view what, error_code& result,
                   Start start) {
    const SteadyTime until = std::min(until_, end_.clock.SteadyNow() + longest);
    // Before each step too: one that never has to wait would never look.
    absl::Status ended = WhyEnd(until, what);
    RETURN_IF_ERROR(ended);
    std::optional<error_code> came;
    start([&came](const error_code& error, auto&&...) { came = error; });
    while (!came.has_value()) {
      context_.restart();
      context_.run_one_for(kLookInterval);
      if (came.has_value() || !ended.ok()) {
        continue;
      }
      ended = WhyEnd(until, what);
      if (!ended.ok()) {
        // The step goes on to its handler, which refers to this frame, before it is left.
        error_code ignored;
        socket_.close(ignored);
      }
    }
    result = *came;
    return ended;
  }

  // Calls whoever reads the answer. That may wait for room, which is no fault of the source's, so
  // the time that it takes does not count.
  template <typename Reader>
  auto Hand(Reader reader) {
    const SteadyTime begin = end_.clock.SteadyNow();
    auto result = reader();
    until_ += end_.clock.SteadyNow() - begin;
    return result;
  }

 private:
  absl::Status WhyEnd(SteadyTime until, std::string_view what) const {
    if (end_.stopping && end_.stopping()) {
      return absl::CancelledError("stopped while fetching");
    }
    if (end_.clock.SteadyNow() >= until) {
      return Error(absl::StatusCode::kUnavailable, "source_timeout",
                   fmt::format("{}: {} took too long", url_.WithoutQuery(), what));
    }
    return absl::OkStatus();
  }

  const Url& url_;
  const ExchangeEnd& end_;
  SteadyTime until_;  // of the whole
  asio::io_context context_{1};
  tcp::socket socket_{context_};
};

absl::Status Connect(const Url& url, const std::vector<std::string>& addresses,
                     Connection& connection) {
  absl::Status last = Unreachable(url, "the name has no address");
  for (const std::string& address : addresses) {
    error_code error;
    const tcp::endpoint endpoint(asio::ip::make_address(address, error), url.port);
    if (error) {
      return Unreachable(url, "the resolver gave no IP address");
    }
    connection.socket().close(error);
    absl::Status ended = connection.Run(kConnectTimeout, "connecting", error, [&](auto handler) {
      connection.socket().async_connect(endpoint, std::move(handler));
    });
    if (ended.ok() && !error) {
      return absl::OkStatus();
    }
    if (absl::IsCancelled(ended)) {
      return ended;
    }
    last = ended.ok() ? Unreachable(url, fmt::format("connecting: {}", error.message())) : ended;
  }
  return last;
}

using HttpRequest = http::request<http::string_body>;

// Whoever could put a line end into a header could add others.
bool IsFieldText(std::string_view text) {
  return std::ranges::none_of(text, [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\t') || c == 0x7f;
  });
}

absl::StatusOr<HttpRequest> MakeRequest(const Url& url, const OutboundRequest& from) {
  const auto unfit = [](std::string_view what) {
    return absl::InvalidArgumentError(
        fmt::format("{} holds control characters, or is empty", what));
  };
  if (from.method != "GET" && from.method != "POST") {
    return absl::InvalidArgumentError("only GET and POST are sent");
  }
  HttpRequest request(http::string_to_verb(from.method), url.Target(), 11);
  request.set(http::field::host, url.Authority());
  request.set(http::field::user_agent, "sluice");
  request.set(http::field::accept_encoding, "gzip");
  request.set(http::field::connection, "close");
  for (const auto& [name, value] : from.headers) {
    const bool token = !name.empty() && std::ranges::none_of(name, [](char c) {
      return static_cast<unsigned char>(c) <= 0x20 || c == ':' || c == 0x7f;
    });
    if (!token || !IsFieldText(value)) {
      return unfit("a header");
    }
    request.set(name, value);
  }
  if (!IsFieldText(from.authorization)) {
    return unfit("the authorization");
  }
  if (!from.authorization.empty()) {
    request.set(http::field::authorization, from.authorization);
  }
  request.body() = from.body;
  if (from.method == "POST") {
    request.prepare_payload();
  }
  return request;
}

OutboundResponse HeadOf(const http::response_header<>& head) {
  OutboundResponse response;
  response.status = static_cast<int>(head.result_int());
  for (const auto& field : head) {
    response.headers.emplace(ToLower(std::string_view(field.name_string())),
                             std::string(field.value()));
  }
  return response;
}

using Parser = http::response_parser<http::buffer_body>;

template <typename Stream>
absl::Status ReadHead(Stream& stream, Connection& connection, const Url& url,
                      std::chrono::milliseconds silence_max, boost::beast::flat_buffer& buffer,
                      std::optional<Parser>& parser) {
  for (int interim = 0; interim < kInterimMax; ++interim) {
    parser.emplace();
    parser->header_limit(kHeadBytesMax);
    parser->body_limit(boost::none);  // OutboundClient counts what comes of it
    error_code error;
    RETURN_IF_ERROR(connection.Run(silence_max, "the answer's head", error, [&](auto handler) {
      http::async_read_header(stream, buffer, *parser, std::move(handler));
    }));
    if (error == http::error::header_limit || error == http::error::buffer_overflow) {
      return NoHttp(url, fmt::format("the answer's head is larger than {} bytes", kHeadBytesMax));
    }
    if (error) {
      return AmidAnswer(url, error);
    }
    if (parser->get().result_int() >= 200) {
      return absl::OkStatus();
    }
  }
  return NoHttp(url, "one interim answer comes after the other");
}

template <typename Stream>
absl::Status ReadBody(Stream& stream, Connection& connection, const Url& url,
                      std::chrono::milliseconds silence_max, boost::beast::flat_buffer& buffer,
                      Parser& parser, absl::FunctionRef<absl::Status(std::string_view)> on_body) {
  std::array<char, kPieceBytes> piece;
  while (!parser.is_done()) {
    parser.get().body().data = piece.data();
    parser.get().body().size = piece.size();
    error_code error;
    RETURN_IF_ERROR(connection.Run(silence_max, "a piece of the answer", error, [&](auto handler) {
      http::async_read_some(stream, buffer, parser, std::move(handler));
    }));
    // What came before an error is given on: whoever reads it knows by the error that it is not
    // all.
    RETURN_IF_ERROR(connection.Hand([&] {
      return on_body(std::string_view(piece.data(), piece.size() - parser.get().body().size));
    }));
    if (error && error != http::error::need_buffer) {
      return error == http::error::buffer_overflow
                 ? NoHttp(url, "a chunk's head or the trailer is too large")
                 : AmidAnswer(url, error);
    }
  }
  return absl::OkStatus();
}

template <typename Stream>
absl::Status Talk(Stream& stream, Connection& connection, const Url& url,
                  const OutboundRequest& from,
                  absl::FunctionRef<absl::StatusOr<bool>(OutboundResponse)> on_head,
                  absl::FunctionRef<absl::Status(std::string_view)> on_body) {
  ASSIGN_OR_RETURN(HttpRequest request, MakeRequest(url, from));
  error_code error;
  RETURN_IF_ERROR(connection.Run(from.silence_max, "sending the request", error, [&](auto handler) {
    http::async_write(stream, request, std::move(handler));
  }));
  if (error) {
    return Unreachable(url, fmt::format("sending: {}", error.message()));
  }
  boost::beast::flat_buffer buffer(kHeadBytesMax + kPieceBytes);
  std::optional<Parser> parser;
  RETURN_IF_ERROR(ReadHead(stream, connection, url, from.silence_max, buffer, parser));
  ASSIGN_OR_RETURN(const bool wanted,
                   connection.Hand([&] { return on_head(HeadOf(parser->get().base())); }));
  return wanted ? ReadBody(stream, connection, url, from.silence_max, buffer, *parser, on_body)
                : absl::OkStatus();
}

}  // namespace

struct TlsClientContext::Impl {
  asio::ssl::context context{asio::ssl::context::tls_client};
};

TlsClientContext::TlsClientContext(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
TlsClientContext::~TlsClientContext() = default;

absl::StatusOr<std::unique_ptr<TlsClientContext>> TlsClientContext::Create(
    const std::string& ca_file) {
  auto impl = std::make_unique<Impl>();
  error_code error;
  if (ca_file.empty()) {
    impl->context.set_default_verify_paths(error);
  } else {
    impl->context.load_verify_file(ca_file, error);
  }
  if (error) {
    return absl::InvalidArgumentError(fmt::format(
        "the certificates of authorities in '{}' can't be read: {}", ca_file, error.message()));
  }
  impl->context.set_verify_mode(asio::ssl::verify_peer);
  SSL_CTX_set_min_proto_version(impl->context.native_handle(), TLS1_2_VERSION);
  return std::unique_ptr<TlsClientContext>(new TlsClientContext(std::move(impl)));
}

absl::Status Exchange(TlsClientContext& tls, const Url& url,
                      const std::vector<std::string>& addresses, const OutboundRequest& request,
                      const ExchangeEnd& end,
                      absl::FunctionRef<absl::StatusOr<bool>(OutboundResponse)> on_head,
                      absl::FunctionRef<absl::Status(std::string_view)> on_body) {
  Connection connection(url, end);
  RETURN_IF_ERROR(Connect(url, addresses, connection));
  if (url.scheme == "http") {
    return Talk(connection.socket(), connection, url, request, on_head, on_body);
  }
  asio::ssl::stream<tcp::socket&> stream(connection.socket(), tls.impl().context);
  // The name, though it is an address that was connected to: whoever can make a name resolve to
  // another address does not have its certificate.
  if (!IsAddress(url.host)) {
    SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str());
  }
  stream.set_verify_callback(asio::ssl::host_name_verification(url.host));
  error_code error;
  RETURN_IF_ERROR(
      connection.Run(request.silence_max, "the TLS handshake", error, [&](auto handler) {
        stream.async_handshake(asio::ssl::stream_base::client, std::move(handler));
      }));
  if (error) {
    return Unreachable(url, fmt::format("no TLS connection: {}", error.message()));
  }
  return Talk(stream, connection, url, request, on_head, on_body);
}

}  // namespace sluice::gateways

#include "gateways/sync/connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <boost/beast/http/string_body.hpp>
#include <iterator>
#include <random>

#include "schemas/status.h"

namespace sluice::gateways {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr size_t kPieceBytes = size_t{64} << 10;

std::string_view View(boost::string_view text) { return {text.data(), text.size()}; }

bool IsRequestId(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::ranges::all_of(id, [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.';
  });
}

// Unique enough to find a request in a log again; it protects nothing.
std::string NewRequestId() {
  thread_local std::mt19937_64 random(std::random_device{}());
  return fmt::format("{:016x}", random());
}

// A time-out closes the socket, so there is nobody to answer.
absl::Status ReadError(const boost::system::error_code& error) {
  using absl::StatusCode;
  if (error == http::error::body_limit) {
    return Error(StatusCode::kInvalidArgument, "too_large", "the body is larger than the limit");
  }
  if (error == http::error::header_limit) {
    return Error(StatusCode::kInvalidArgument, "too_large", "the head is larger than the limit");
  }
  if (error.category() == make_error_code(http::error::bad_method).category() &&
      error != http::error::end_of_stream && error != http::error::partial_message) {
    return Error(StatusCode::kInvalidArgument, "invalid_argument",
                 fmt::format("this is no HTTP request: {}", error.message()));
  }
  return absl::CancelledError(error.message());
}

// Everything of the head but the length or the transfer coding.
std::string Head(const HttpRequest& request, int status, std::string_view content_type) {
  const std::string_view reason = View(http::obsolete_reason(static_cast<http::status>(status)));
  return fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nCache-Control: no-store\r\nX-Content-Type-Options: "
      "nosniff\r\nX-Request-Id: {}\r\nConnection: {}\r\n",
      status, reason, content_type, request.request_id,
      request.keep_alive ? "keep-alive" : "close");
}

}  // namespace

struct Connection::Impl {
  explicit Impl(net::ip::tcp::socket socket) : stream(std::move(socket)) {}
  beast::tcp_stream stream;
  beast::flat_buffer buffer;
};

Connection::Connection(SyncContext& context, net::ip::tcp::socket socket)
    : context_(context), impl_(std::make_unique<Impl>(std::move(socket))) {}

Connection::~Connection() = default;

void Connection::Close() {
  boost::system::error_code ignored;
  impl_->stream.socket().shutdown(net::ip::tcp::socket::shutdown_both, ignored);
  impl_->stream.socket().close(ignored);
}

net::awaitable<void> Connection::Linger() {
  boost::system::error_code error;
  impl_->stream.socket().shutdown(net::ip::tcp::socket::shutdown_send, error);
  impl_->stream.expires_after(std::chrono::seconds(2));
  std::array<char, 4096> rest;
  for (size_t read = 0; !error && read < (size_t{4} << 20);) {
    read += co_await impl_->stream.async_read_some(net::buffer(rest),
                                                   net::redirect_error(net::use_awaitable, error));
  }
}

net::awaitable<absl::StatusOr<HttpRequest>> Connection::Read() {
  http::request_parser<http::string_body> parser;
  parser.header_limit(static_cast<std::uint32_t>(context_.options.header_bytes_max));
  parser.body_limit(context_.options.body_bytes_max);
  impl_->buffer.max_size(context_.options.header_bytes_max + (size_t{64} << 10));
  boost::system::error_code error;
  idle_ = true;
  impl_->stream.expires_after(context_.options.idle_timeout);
  co_await http::async_read_header(impl_->stream, impl_->buffer, parser,
                                   net::redirect_error(net::use_awaitable, error));
  idle_ = false;
  if (!error && !parser.is_done()) {
    impl_->stream.expires_after(context_.options.body_timeout);
    if (parser.get()[http::field::expect].starts_with("100-") ||
        parser.get()[http::field::expect].starts_with("100_")) {
      const bool sent = co_await Write("HTTP/1.1 100 Continue\r\n\r\n", "", "");
      if (!sent) {
        co_return absl::CancelledError("closed");
      }
      impl_->stream.expires_after(context_.options.body_timeout);
    }
    co_await http::async_read(impl_->stream, impl_->buffer, parser,
                              net::redirect_error(net::use_awaitable, error));
  }
  if (error) {
    co_return ReadError(error);
  }
  http::request<http::string_body>& message = parser.get();
  HttpRequest request;
  request.method = View(message.method_string());
  request.target = ParseTarget(View(message.target()));
  request.authorization = View(message[http::field::authorization]);
  request.accept = View(message[http::field::accept]);
  request.request_id = View(message["X-Request-Id"]);
  if (!IsRequestId(request.request_id)) {
    request.request_id = NewRequestId();
  }
  request.head = message.method() == http::verb::head;
  request.keep_alive = message.keep_alive() && !context_.stopping.load();
  request.http11 = message.version() >= 11;
  request.body = std::move(message.body());
  co_return request;
}

net::awaitable<bool> Connection::Write(std::string_view head, std::string_view body,
                                       std::string_view tail) {
  const std::array<net::const_buffer, 3> buffers = {net::buffer(head.data(), head.size()),
                                                    net::buffer(body.data(), body.size()),
                                                    net::buffer(tail.data(), tail.size())};
  impl_->stream.expires_after(context_.options.write_timeout);
  boost::system::error_code error;
  co_await net::async_write(impl_->stream, buffers, net::redirect_error(net::use_awaitable, error));
  if (!error) {
    context_.metrics.Sent(head.size() + body.size() + tail.size());
  }
  impl_->stream.expires_never();
  co_return !error;
}

net::awaitable<bool> Connection::Respond(const HttpRequest& request, const HttpResponse& response) {
  std::string head = Head(request, response.status, response.content_type);
  for (const auto& [name, value] : response.headers) {
    fmt::format_to(std::back_inserter(head), "{}: {}\r\n", name, value);
  }
  fmt::format_to(std::back_inserter(head), "Content-Length: {}\r\n\r\n", response.body.size());
  std::string_view body = response.body;
  if (request.head) {
    body = {};
  }
  // The first piece goes with the head, so that most answers are one write.
  bool sent = co_await Write(head, body.substr(0, kPieceBytes), "");
  for (size_t at = kPieceBytes; sent && at < body.size(); at += kPieceBytes) {
    sent = co_await Write("", body.substr(at, kPieceBytes), "");
  }
  co_return sent;
}

net::awaitable<bool> Connection::StartStream(const HttpRequest& request,
                                             std::string_view content_type) {
  chunked_ = request.http11;
  std::string head = Head(request, 200, content_type);
  head += chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
  co_return co_await Write(head, "", "");
}

net::awaitable<bool> Connection::SendChunk(std::string_view data) {
  for (; !data.empty(); data.remove_prefix(std::min(kPieceBytes, data.size()))) {
    const std::string_view piece = data.substr(0, kPieceBytes);
    std::string size;
    if (chunked_) {
      size = fmt::format("{:x}\r\n", piece.size());
    }
    const bool sent = co_await Write(size, piece, chunked_ ? "\r\n" : "");
    if (!sent) {
      co_return false;
    }
  }
  co_return true;
}

net::awaitable<bool> Connection::EndStream() {
  co_return co_await Write(chunked_ ? "0\r\n\r\n" : "", "", "");
}

}  // namespace sluice::gateways

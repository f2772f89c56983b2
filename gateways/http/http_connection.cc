#include "gateways/http/http_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/tcp_stream.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/status.hpp>
#include <iterator>
#include <vector>

#include "gateways/http/content_coding.h"
#include "gateways/http/gone_watch.h"
#include "gateways/http/head_parser.h"
#include "schemas/base/status.h"

namespace sluice::gateways {
namespace {

namespace beast = boost::beast;
namespace http = boost::beast::http;

constexpr int kNoContent = 204;
constexpr int kNotModified = 304;
constexpr size_t kPieceBytes = size_t{64} << 10;
constexpr size_t kSilentBytes = 1024;                // of a buffer that waits for a request
constexpr size_t kSmallHeadBytes = size_t{4} << 10;  // that are not counted
constexpr size_t kHeadCopies = 2;                    // as it came, and cut into headers
constexpr size_t kDroppedBytesMax = size_t{64} << 10;
constexpr size_t kFirstPieceBytes = size_t{4} << 10;  // of a body whose length is not known
// A client may have sent a large body before it reads its answer, also one that nobody knows: were
// the socket closed on what it sends, it would be told of a reset instead of the 401. It costs
// 4 KiB, and another may have its place.
constexpr size_t kLingerBytes = size_t{64} << 20;
constexpr std::chrono::milliseconds kLinger{3'000};

absl::Status BodyError(const boost::system::error_code& error) {
  const bool ours = error.category() == make_error_code(http::error::bad_method).category();
  if (!ours && error != net::error::eof) {
    return absl::CancelledError(error.message());  // a time-out closes the socket: nobody to answer
  }
  return absl::InvalidArgumentError(
      "the body ended before its announced length, or its chunks are damaged");
}

absl::Status TooLarge(size_t bytes_max) {
  return Error(absl::StatusCode::kInvalidArgument, "too_large",
               fmt::format("the body has more than {} bytes", bytes_max));
}

absl::Status TooBusy() {
  return Error(absl::StatusCode::kUnavailable, "too_busy",
               "this server holds as many bytes of requests or answers as it may: try again later");
}

}  // namespace

struct HttpConnection::Impl {
  explicit Impl(net::ip::tcp::socket socket) : stream(std::move(socket)) {}
  beast::tcp_stream stream;
  beast::flat_buffer buffer;
  // Of the request under way: our own check of the head comes first, Beast cuts the body.
  std::optional<http::request_parser<http::buffer_body>> parser;
  std::vector<char> piece;
  bool continue_wanted = false;
  std::shared_ptr<GoneWatch> gone;
  bool body_failed = false;  // nothing more of it can be read
  // How far the body is behind the rate that it has to keep, in the time that it was waited for.
  std::chrono::milliseconds body_behind{0};
  size_t piece_bytes = 0;  // of the next piece, at most
};

HttpConnection::HttpConnection(HttpShared& shared, net::ip::tcp::socket socket, OnKnown on_known,
                               OnHead on_head)
    : shared_(shared),
      on_known_(std::move(on_known)),
      on_head_(std::move(on_head)),
      impl_(std::make_unique<Impl>(std::move(socket))) {}

HttpConnection::~HttpConnection() {
  CountHead(0);
  if (impl_->gone != nullptr) {
    impl_->gone->Detach();
  }
}

void HttpConnection::OnGone(std::function<void()> gone) {
  if (impl_->gone == nullptr && gone) {
    impl_->gone = std::make_shared<GoneWatch>(impl_->stream.socket());
  }
  if (impl_->gone != nullptr) {
    impl_->gone->Set(std::move(gone));
  }
}

net::any_io_executor HttpConnection::executor() { return impl_->stream.get_executor(); }

void HttpConnection::Close() {
  boost::system::error_code ignored;
  impl_->stream.socket().shutdown(net::ip::tcp::socket::shutdown_both, ignored);
  impl_->stream.socket().close(ignored);
}

void HttpConnection::CountHead(size_t bytes) {
  const size_t counted = bytes > kSmallHeadBytes ? kHeadCopies * bytes : 0;
  if (counted != head_bytes_) {
    head_bytes_ = counted;
    on_head_(counted);
  }
}

absl::Status HttpConnection::SetKnown(Owner owner) {
  // The place first: whoever is refused one stays a stranger, whose head goes on to count and who
  // may be closed to make room.
  if (absl::Status placed = on_known_(owner); !placed.ok()) {
    last_ = true;
    return placed;
  }
  CountHead(0);  // the connection is of its owner's share now
  known_ = true;
  owner_ = std::move(owner);
  return absl::OkStatus();
}

net::awaitable<void> HttpConnection::Linger() {
  idle_ = true;
  const auto end = std::chrono::steady_clock::now() + kLinger;
  boost::system::error_code error;
  impl_->stream.socket().shutdown(net::ip::tcp::socket::shutdown_send, error);
  std::array<char, 4096> rest;
  for (size_t read = 0; !error && read < kLingerBytes;) {
    impl_->stream.expires_at(end);
    read += co_await impl_->stream.async_read_some(net::buffer(rest),
                                                   net::redirect_error(net::use_awaitable, error));
  }
}

net::awaitable<absl::Status> HttpConnection::ReadMore(size_t wanted) {
  boost::system::error_code error;
  const size_t read = co_await impl_->stream.async_read_some(
      impl_->buffer.prepare(wanted), net::redirect_error(net::use_awaitable, error));
  impl_->buffer.commit(read);
  if (error) {
    co_return absl::CancelledError(error.message());
  }
  co_return absl::OkStatus();
}

net::awaitable<absl::StatusOr<HttpHead>> HttpConnection::ReadHead() {
  beast::flat_buffer& buffer = impl_->buffer;
  impl_->parser.reset();
  impl_->piece = std::vector<char>();
  known_ = false;
  owner_ = Owner();
  last_ = false;
  reusable_ = false;
  CountHead(0);
  if (buffer.size() == 0) {
    buffer = beast::flat_buffer();  // gives its memory back
  }
  const size_t bytes_max = shared_.limits.head_bytes_max;
  std::optional<std::chrono::steady_clock::time_point> deadline;  // once a byte has come
  if (buffer.size() > 0) {
    deadline = std::chrono::steady_clock::now() + shared_.limits.head_timeout;
  }
  size_t looked_at = 0;
  idle_ = true;
  while (true) {
    const std::string_view text(static_cast<const char*>(buffer.data().data()), buffer.size());
    if (text.starts_with("\r\n")) {  // RFC 9112, section 2.2: an empty line before a request
      buffer.consume(2);
      looked_at = 0;
      continue;
    }
    const absl::StatusOr<size_t> end = FindHeadEnd(text, looked_at);
    if (!end.ok()) {
      idle_ = false;
      co_return end.status();
    }
    if (*end > bytes_max || (*end == 0 && text.size() >= bytes_max)) {
      idle_ = false;
      co_return Error(absl::StatusCode::kInvalidArgument, shared_.limits.large_head_code,
                      fmt::format("the head has more than {} bytes", bytes_max));
    }
    if (*end > 0) {
      break;
    }
    looked_at = text.size();
    impl_->stream.expires_at(
        deadline.value_or(std::chrono::steady_clock::now() + shared_.limits.idle_timeout));
    const size_t room = std::max(kSilentBytes, std::min(text.size(), bytes_max - text.size()));
    CountHead(text.size() + room);  // before it is taken: others may have to make room
    absl::Status read = co_await ReadMore(room);
    if (!read.ok()) {
      co_return read;
    }
    // From the first byte on, whatever it is: empty lines keep nobody here.
    if (!deadline.has_value()) {
      deadline = std::chrono::steady_clock::now() + shared_.limits.head_timeout;
    }
  }
  idle_ = false;
  co_return TakeHead();
}

absl::StatusOr<HttpHead> HttpConnection::TakeHead() {
  beast::flat_buffer& buffer = impl_->buffer;
  const std::string_view text(static_cast<const char*>(buffer.data().data()), buffer.size());
  ASSIGN_OR_RETURN(const size_t size, FindHeadEnd(text, 0));
  ASSIGN_OR_RETURN(HttpHead head, ParseHead(text.substr(0, size)));
  if (head.has_body()) {
    auto& parser = impl_->parser.emplace();
    parser.header_limit(static_cast<std::uint32_t>(shared_.limits.head_bytes_max));
    parser.body_limit(boost::none);
    boost::system::error_code error;
    parser.put(net::buffer(text.data(), size), error);
    if (error || !parser.is_header_done()) {
      return absl::InvalidArgumentError(
          fmt::format("the request can't be understood: {}", error.message()));
    }
  }
  impl_->continue_wanted = head.expects_continue && head.has_body();
  impl_->body_failed = false;
  impl_->body_behind = std::chrono::milliseconds(0);
  impl_->piece_bytes = head.content_length.has_value()
                           ? std::min<uint64_t>(kPieceBytes, *head.content_length)
                           : kFirstPieceBytes;
  buffer.consume(size);
  if (!head.has_body()) {
    EndReading();
  }
  return head;
}

size_t HttpConnection::NextBodyBytesMax() const { return impl_->piece_bytes; }
void HttpConnection::LimitNextBody(size_t bytes) {
  impl_->piece_bytes = std::min(impl_->piece_bytes, bytes);
}
void HttpConnection::RenewBody() { impl_->body_behind = std::chrono::milliseconds(0); }

net::awaitable<absl::StatusOr<std::string_view>> HttpConnection::ReadBody() {
  if (!impl_->parser.has_value() || impl_->parser->is_done()) {
    co_return std::string_view();
  }
  if (impl_->continue_wanted) {
    impl_->continue_wanted = false;
    answer_begun_ = std::chrono::steady_clock::now();
    const bool sent = co_await Write("HTTP/1.1 100 Continue\r\n\r\n", "", "", true);
    if (!sent) {
      co_return absl::CancelledError("closed");
    }
  }
  impl_->piece.resize(std::max<size_t>(impl_->piece_bytes, 1));
  impl_->buffer.max_size(shared_.limits.head_bytes_max + kPieceBytes);
  // The parser reads as much as the buffer has room for: what the head left of it is next to
  // nothing.
  impl_->buffer.reserve(impl_->piece.size());
  auto& body = impl_->parser->get().body();
  // A byte now and then would otherwise hold a connection, and bytes of the budget, for ever. What
  // came fast before pays for no slowness later.
  const auto begun = std::chrono::steady_clock::now();
  const auto deadline = begun + shared_.limits.body_timeout - impl_->body_behind;
  size_t got = 0;
  while (got == 0 && !impl_->parser->is_done()) {
    body.data = impl_->piece.data();
    body.size = impl_->piece.size();
    body.more = true;
    boost::system::error_code error;
    impl_->stream.expires_at(deadline);
    reading_since_ = std::chrono::steady_clock::now();
    co_await http::async_read_some(impl_->stream, impl_->buffer, *impl_->parser,
                                   net::redirect_error(net::use_awaitable, error));
    reading_since_.reset();
    if (error && error != http::error::need_buffer) {
      impl_->body_failed = true;
      co_return BodyError(error);
    }
    got = impl_->piece.size() - body.size;
  }
  const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(
      std::chrono::steady_clock::now() - begun);
  const std::chrono::milliseconds paid(got * 1'000 / shared_.limits.body_rate_min);
  impl_->body_behind = std::max(std::chrono::milliseconds(0), impl_->body_behind + waited - paid);
  const auto left = impl_->parser->content_length_remaining();
  if (left.has_value()) {
    impl_->piece_bytes = std::min<uint64_t>(kPieceBytes, *left);
  } else if (got == impl_->piece.size()) {
    // One that comes fast is read in large pieces; one that drips takes little of the budget.
    impl_->piece_bytes = std::min(impl_->piece.size() * 2, kPieceBytes);
  }
  co_return std::string_view(impl_->piece.data(), got);
}

net::awaitable<absl::StatusOr<HttpBody>> HttpConnection::ReadWholeBody(const HttpHead& head,
                                                                       size_t bytes_max) {
  HttpBody body{.text = {}, .hold = ByteHold(shared_.request_bytes, owner_)};
  absl::StatusOr<std::unique_ptr<ContentDecoder>> decoder =
      ContentDecoder::For(head.Header("Content-Encoding"), HoldBy(shared_.request_bytes, owner_));
  if (!decoder.ok()) {
    co_return decoder.status();
  }
  if (head.Header("Content-Encoding").empty() && head.content_length.value_or(0) > bytes_max) {
    co_return TooLarge(bytes_max);
  }
  while (true) {
    // Room for what may come in this step before it is read.
    if (!body.hold.TryHold(body.text.size() + NextBodyBytesMax())) {
      co_return TooBusy();
    }
    absl::StatusOr<std::string_view> piece = co_await ReadBody();
    if (!piece.ok()) {
      co_return piece.status();
    }
    if (piece->empty()) {
      break;
    }
    bool room = true;
    absl::Status decoded = (*decoder)->Feed(*piece, [&](std::string_view part) {
      body.text.append(part.substr(0, bytes_max + 1 - body.text.size()));
      room = body.hold.TryHold(body.text.size() + piece->size());
      return room && body.text.size() <= bytes_max;
    });
    if (!decoded.ok() || !room || body.text.size() > bytes_max) {
      co_return !decoded.ok() ? decoded : room ? TooLarge(bytes_max) : TooBusy();
    }
  }
  if (absl::Status ended = head.has_body() ? (*decoder)->Finish() : absl::OkStatus(); !ended.ok()) {
    co_return ended;
  }
  body.hold.Set(body.text.size());
  EndReading();
  co_return body;
}

void HttpConnection::EndReading() {
  impl_->piece = std::vector<char>();
  impl_->parser.reset();
  if (impl_->buffer.size() == 0) {
    impl_->buffer = beast::flat_buffer();
  }
}

net::awaitable<void> HttpConnection::DropSmallBody(const HttpHead& head) {
  if (!known_ || impl_->continue_wanted || impl_->body_failed || head.chunked ||
      head.content_length.value_or(0) > kDroppedBytesMax) {
    co_return;
  }
  while (impl_->parser.has_value() && !impl_->parser->is_done()) {
    const absl::StatusOr<std::string_view> piece = co_await ReadBody();
    if (!piece.ok()) {
      co_return;
    }
  }
}

// Piece by piece a stranger could take an answer for as long as it likes.
std::chrono::steady_clock::time_point HttpConnection::WriteDeadline() const {
  const auto piece = std::chrono::steady_clock::now() + shared_.limits.write_timeout;
  return known_ ? piece : std::min(piece, answer_begun_ + shared_.limits.stranger_timeout);
}

net::awaitable<bool> HttpConnection::Write(std::string_view head, std::string_view body,
                                           std::string_view tail, bool timed) {
  const std::array<std::string_view, 3> parts = {head, body, tail};
  co_return co_await Write(parts, timed);
}

net::awaitable<bool> HttpConnection::Write(std::span<const std::string_view> parts, bool timed) {
  std::vector<net::const_buffer> buffers;
  buffers.reserve(parts.size());
  for (const std::string_view part : parts) {
    buffers.emplace_back(part.data(), part.size());
  }
  if (timed) {
    impl_->stream.expires_at(WriteDeadline());
  } else {
    impl_->stream.expires_never();
  }
  boost::system::error_code error;
  writing_since_ = std::chrono::steady_clock::now();
  const size_t sent = co_await net::async_write(impl_->stream, buffers,
                                                net::redirect_error(net::use_awaitable, error));
  writing_since_.reset();
  sent_ += sent;
  if (shared_.on_sent) {
    shared_.on_sent(sent);
  }
  co_return !error;
}

// Everything of an answer's head but the length or the transfer coding.
std::string HttpConnection::HeadText(const HttpHead& head, const HttpResponse& response) const {
  const auto reason = http::obsolete_reason(static_cast<http::status>(response.status));
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", response.status,
                                 std::string_view(reason.data(), reason.size()));
  if (response.status != kNoContent && response.status != kNotModified) {
    fmt::format_to(std::back_inserter(text), "Content-Type: {}\r\n", response.content_type);
  }
  fmt::format_to(std::back_inserter(text),
                 "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nX-Request-Id: "
                 "{}\r\nConnection: {}\r\n",
                 head.request_id, reusable_ ? "keep-alive" : "close");
  for (const auto& [name, value] : response.headers) {
    fmt::format_to(std::back_inserter(text), "{}: {}\r\n", name, value);
  }
  return text;
}

net::awaitable<bool> HttpConnection::Respond(const HttpHead& head, const HttpResponse& response) {
  if (impl_->parser.has_value() && !impl_->parser->is_done()) {
    co_await DropSmallBody(head);
  }
  const bool unread = impl_->parser.has_value() && !impl_->parser->is_done();
  // A 304 has no body whatever its head says (RFC 9112, section 6.3), but clients are about that
  // wait for one: until the connection's end without a Content-Length, and for as many bytes with
  // that of the 200, the only one that it may have. The end serves both kinds.
  last_ = last_ || response.status == kNotModified;
  reusable_ = head.keep_alive && !last_ && !unread && !shared_.stopping.load();
  answer_begun_ = std::chrono::steady_clock::now();
  // Small answers pass without asking: they cost less than what keeps account of them, and a
  // refusal is one.
  ByteHold hold(shared_.answer_bytes, owner_);
  std::optional<HttpResponse> instead;
  if (response.body.size() > kPieceBytes && !hold.TryHold(response.body.size())) {
    instead = ProblemResponse(TooBusy());
  }
  const HttpResponse& answer = instead.has_value() ? *instead : response;
  std::string text = HeadText(head, answer);
  const bool bare = answer.status == kNoContent || answer.status == kNotModified;
  if (bare) {
    text += "\r\n";
  } else {
    fmt::format_to(std::back_inserter(text), "Content-Length: {}\r\n\r\n", answer.body.size());
  }
  std::string_view body = answer.body;
  if (head.head_only() || bare) {
    body = {};
  }
  // The first piece goes with the head, so that most answers are one write.
  bool sent = co_await Write(text, body.substr(0, kPieceBytes), "", true);
  for (size_t at = kPieceBytes; sent && at < body.size(); at += kPieceBytes) {
    sent = co_await Write("", body.substr(at, kPieceBytes), "", true);
  }
  co_return sent;
}

net::awaitable<bool> HttpConnection::StartStream(const HttpHead& head,
                                                 const HttpResponse& response) {
  answer_begun_ = std::chrono::steady_clock::now();
  chunked_ = head.http11;
  reusable_ = head.keep_alive && !last_ && chunked_ && !shared_.stopping.load();
  std::string text = HeadText(head, response);
  text += chunked_ ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n";
  co_return co_await Write(text, "", "", true);
}

net::awaitable<bool> HttpConnection::SendChunk(std::string_view data, bool timed) {
  co_return co_await SendChunks(std::span(&data, 1), timed);
}

net::awaitable<bool> HttpConnection::SendChunks(std::span<const std::string_view> parts,
                                                bool timed) {
  size_t taken = 0;  // of the first that is left
  while (!parts.empty()) {
    std::vector<std::string_view> piece = {""};
    size_t bytes = 0;
    while (!parts.empty() && bytes < kPieceBytes) {
      piece.push_back(parts.front().substr(taken, kPieceBytes - bytes));
      bytes += piece.back().size();
      taken += piece.back().size();
      if (taken == parts.front().size()) {
        parts = parts.subspan(1);
        taken = 0;
      }
    }
    if (bytes == 0) {
      break;  // an empty chunk would end the stream
    }
    const std::string size = fmt::format("{:x}\r\n", bytes);
    if (chunked_) {
      piece.front() = size;
      piece.push_back("\r\n");
    }
    const bool sent = co_await Write(piece, timed);
    if (!sent) {
      co_return false;
    }
  }
  co_return true;
}

net::awaitable<bool> HttpConnection::EndStream() {
  reusable_ = reusable_ && (!impl_->parser.has_value() || impl_->parser->is_done());
  co_return co_await Write(chunked_ ? "0\r\n\r\n" : "", "", "", true);
}

}  // namespace sluice::gateways

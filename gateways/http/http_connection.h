#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/awaitable.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "gateways/http/byte_budget.h"
#include "gateways/http/http_shared.h"
#include "gateways/http/http_types.h"
#include "gateways/http/owner.h"

namespace sluice::gateways {

namespace net = boost::asio;

// A body as a whole, decompressed, with its place in the budget.
struct HttpBody {
  std::string text;
  ByteHold hold;
};

// One client's connection, on one I/O thread. While it is silent it holds a socket and about 2 KiB.
// Nothing but the head is read until a handler asks for the body.
class HttpConnection {
 public:
  // Asked by SetKnown() whether the connection may be `owner`'s.
  using OnKnown = std::function<absl::Status(const Owner& owner)>;
  // Told what a large head of a caller who is not known takes; 0 when it counts no more. Small ones
  // are part of what a connection costs.
  using OnHead = std::function<void(size_t bytes)>;

  HttpConnection(HttpShared& shared, net::ip::tcp::socket socket, OnKnown on_known, OnHead on_head);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  // The next request's head. kCancelled when there is none: the client has gone, or stays silent.
  // Otherwise an error is one to answer with before the connection is closed.
  [[nodiscard]] net::awaitable<absl::StatusOr<HttpHead>> ReadHead();

  // The caller is known by now, and takes of `owner`'s share: its connection keeps its place, its
  // answers get their time, and a small body that nobody wanted may be read and dropped, so that
  // the connection stays. kCancelled where it is too late: the connection has been closed for
  // another's sake. kUnavailable "too_busy" where the owner has its share: the answer is the last.
  [[nodiscard]] absl::Status SetKnown(Owner owner);
  // The body's next piece as it is on the wire, valid until the next call; empty at its end.
  // kCancelled when the client has gone or is silent; "invalid_argument" for a body that ended
  // early or has damaged chunks.
  [[nodiscard]] net::awaitable<absl::StatusOr<std::string_view>> ReadBody();
  // All of it, decompressed. "too_large" past `bytes_max`, kUnavailable "too_busy" where the
  // budget has no room.
  [[nodiscard]] net::awaitable<absl::StatusOr<HttpBody>> ReadWholeBody(const HttpHead& head,
                                                                       size_t bytes_max);

  // Whose share the request takes: what SetKnown() was given; empty before.
  [[nodiscard]] const Owner& owner() const { return owner_; }
  // At most so many bytes does ReadBody() give next.
  [[nodiscard]] size_t NextBodyBytesMax() const;
  void LimitNextBody(size_t bytes);
  // Of a body whose sender gets answers meanwhile: what it sent was of use, and the rate that it
  // has to keep counts from now.
  void RenewBody();

  // A whole answer. False where the connection is of no use any more.
  [[nodiscard]] net::awaitable<bool> Respond(const HttpHead& head, const HttpResponse& response);

  // An answer of unknown length: head (status, type and headers of `response`), chunks, end. May
  // run while the body is still read.
  [[nodiscard]] net::awaitable<bool> StartStream(const HttpHead& head,
                                                 const HttpResponse& response);
  // Returns when the client has taken it; in pieces, each with the write time-out if `timed`.
  [[nodiscard]] net::awaitable<bool> SendChunk(std::string_view data, bool timed = true);
  // The same of what lies in several places; the pieces are no smaller for it.
  [[nodiscard]] net::awaitable<bool> SendChunks(std::span<const std::string_view> parts,
                                                bool timed = true);
  [[nodiscard]] net::awaitable<bool> EndStream();

  // May another request follow the answer that was sent?
  [[nodiscard]] bool reusable() const { return reusable_; }
  // The answer that follows is the last one.
  void CloseAfterAnswer() { last_ = true; }
  // Nothing is being answered: Stop() may close it.
  [[nodiscard]] bool idle() const { return idle_; }
  // Has the client neither sent a byte of the body nor taken one of the answer that is waited for,
  // since before `since`?
  [[nodiscard]] bool stuck(std::chrono::steady_clock::time_point since) const {
    return writing_since_.value_or(since) < since || reading_since_.value_or(since) < since;
  }
  // `gone` is called once, on the I/O thread, when the client has closed its side or the connection
  // has broken, also with a further request unread. In place of the one before; empty: of no
  // interest any more.
  void OnGone(std::function<void()> gone);
  // Bytes that the client has taken so far.
  [[nodiscard]] size_t sent() const { return sent_; }
  [[nodiscard]] net::any_io_executor executor();
  void Close();
  // After an answer that ends the connection: lets the client read it before the socket closes.
  [[nodiscard]] net::awaitable<void> Linger();

 private:
  struct Impl;
  [[nodiscard]] net::awaitable<bool> Write(std::string_view head, std::string_view body,
                                           std::string_view tail, bool timed);
  [[nodiscard]] net::awaitable<bool> Write(std::span<const std::string_view> parts, bool timed);
  [[nodiscard]] net::awaitable<absl::Status> ReadMore(size_t wanted);
  // Lets go of what a request was read with: it may stay for hours.
  void EndReading();
  [[nodiscard]] net::awaitable<void> DropSmallBody(const HttpHead& head);
  // Takes the complete head off the buffer and prepares the reading of the body behind it.
  absl::StatusOr<HttpHead> TakeHead();
  std::string HeadText(const HttpHead& head, const HttpResponse& response) const;
  void CountHead(size_t bytes);

  // When the client has to have taken what is written now.
  [[nodiscard]] std::chrono::steady_clock::time_point WriteDeadline() const;

  HttpShared& shared_;
  const OnKnown on_known_;
  const OnHead on_head_;
  size_t head_bytes_ = 0;  // that on_head_ was told
  std::unique_ptr<Impl> impl_;
  Owner owner_;
  std::chrono::steady_clock::time_point answer_begun_;  // of a whole answer
  // When the piece was begun that is being written, at most 64 KiB of an answer, or read.
  std::optional<std::chrono::steady_clock::time_point> writing_since_;
  std::optional<std::chrono::steady_clock::time_point> reading_since_;
  bool idle_ = true;
  bool chunked_ = true;
  bool known_ = false;
  bool last_ = false;
  bool reusable_ = true;
  size_t sent_ = 0;
};

}  // namespace sluice::gateways

#include "clients/cpp/http_client.h"

#include <fmt/format.h>
#include <openssl/ssl.h>
#include <poll.h>

#include <charconv>
#include <functional>
#include <optional>
#include <string_view>
#include <utility>

namespace sluice::client {
namespace {

using Milliseconds = std::chrono::milliseconds;

bool WaitUntilReady(int fd, short events, Milliseconds timeout) {
  pollfd ready{fd, events, 0};
  int rc = 0;
  do {
    rc = ::poll(&ready, 1, static_cast<int>(timeout.count()));
  } while (rc < 0 && errno == EINTR);
  return rc > 0;
}

// The library's own stream over TLS is not to be had from outside of it.
class TlsStream final : public httplib::Stream {
 public:
  TlsStream(SSL* ssl, int fd, Milliseconds read_timeout, Milliseconds write_timeout)
      : ssl_(ssl), fd_(fd), read_timeout_(read_timeout), write_timeout_(write_timeout) {}

  bool is_readable() const override {
    return SSL_pending(ssl_) > 0 || WaitUntilReady(fd_, POLLIN, read_timeout_);
  }
  bool is_writable() const override { return WaitUntilReady(fd_, POLLOUT, write_timeout_); }
  ssize_t read(char* bytes, size_t size) override {
    return is_readable() ? Repeat([&] { return SSL_read(ssl_, bytes, Length(size)); }) : -1;
  }
  ssize_t write(const char* bytes, size_t size) override {
    return is_writable() ? Repeat([&] { return SSL_write(ssl_, bytes, Length(size)); }) : -1;
  }
  void get_remote_ip_and_port(std::string& /*ip*/, int& /*port*/) const override {}
  void get_local_ip_and_port(std::string& /*ip*/, int& /*port*/) const override {}
  socket_t socket() const override { return fd_; }

 private:
  static int Length(size_t size) { return static_cast<int>(std::min<size_t>(size, 1 << 30)); }

  // Either may have to wait for the other direction, of which TLS itself has something to say.
  template <typename Call>
  ssize_t Repeat(const Call& call) const {
    while (true) {
      const int done = call();
      const int error = done > 0 ? SSL_ERROR_NONE : SSL_get_error(ssl_, done);
      const bool goes_on =
          (error == SSL_ERROR_WANT_READ && WaitUntilReady(fd_, POLLIN, read_timeout_)) ||
          (error == SSL_ERROR_WANT_WRITE && WaitUntilReady(fd_, POLLOUT, write_timeout_));
      if (!goes_on) {
        return done;
      }
    }
  }

  SSL* const ssl_;
  const int fd_;
  const Milliseconds read_timeout_;
  const Milliseconds write_timeout_;
};

class BoundedStream final : public httplib::Stream {
 public:
  BoundedStream(httplib::Stream& inner, HeadLimit& limit) : inner_(inner), limit_(limit) {}

  bool is_readable() const override { return inner_.is_readable(); }
  bool is_writable() const override { return inner_.is_writable(); }
  ssize_t read(char* bytes, size_t size) override {
    const ssize_t got = inner_.read(bytes, size);
    return got > 0 && !limit_.Take(static_cast<size_t>(got)) ? -1 : got;
  }
  ssize_t write(const char* bytes, size_t size) override { return inner_.write(bytes, size); }
  void get_remote_ip_and_port(std::string& ip, int& port) const override {
    inner_.get_remote_ip_and_port(ip, port);
  }
  void get_local_ip_and_port(std::string& ip, int& port) const override {
    inner_.get_local_ip_and_port(ip, port);
  }
  socket_t socket() const override { return inner_.socket(); }

 private:
  httplib::Stream& inner_;
  HeadLimit& limit_;
};

// Every byte of an answer comes through process_socket()'s stream.
class PlainClient final : public httplib::ClientImpl {
 public:
  PlainClient(const std::string& host, int port, HeadLimit& limit)
      : ClientImpl(host, port), limit_(limit) {}

 private:
  bool process_socket(const Socket& socket,
                      std::function<bool(httplib::Stream&)> callback) override {
    return httplib::detail::process_client_socket(
        socket.sock, read_timeout_sec_, read_timeout_usec_, write_timeout_sec_, write_timeout_usec_,
        [&](httplib::Stream& stream) {
          BoundedStream bounded(stream, limit_);
          return callback(bounded);
        });
  }

  HeadLimit& limit_;
};

class TlsClient final : public httplib::SSLClient {
 public:
  TlsClient(const std::string& host, int port, HeadLimit& limit)
      : SSLClient(host, port), limit_(limit) {}

 private:
  static Milliseconds Timeout(time_t seconds, time_t microseconds) {
    return std::chrono::duration_cast<Milliseconds>(std::chrono::seconds(seconds) +
                                                    std::chrono::microseconds(microseconds));
  }

  bool process_socket(const Socket& socket,
                      std::function<bool(httplib::Stream&)> callback) override {
    TlsStream stream(socket.ssl, socket.sock, Timeout(read_timeout_sec_, read_timeout_usec_),
                     Timeout(write_timeout_sec_, write_timeout_usec_));
    BoundedStream bounded(stream, limit_);
    return callback(bounded);
  }

  HeadLimit& limit_;
};

// The host and port of an URL's authority; an IPv6 address stands in brackets.
std::optional<std::pair<std::string, int>> HostAndPort(std::string_view authority, int usual_port) {
  size_t end = authority.find(':');
  std::string_view host = authority.substr(0, end);
  if (authority.starts_with('[')) {
    const size_t bracket = authority.find(']');
    if (bracket == std::string_view::npos) {
      return std::nullopt;
    }
    host = authority.substr(1, bracket - 1);
    end = bracket + 1;
  }
  int port = usual_port;
  if (end < authority.size()) {
    const char* const last = authority.data() + authority.size();
    const auto read = std::from_chars(authority.data() + end + 1, last, port);
    if (authority[end] != ':' || read.ec != std::errc() || read.ptr != last || port < 1 ||
        port > 65'535) {
      return std::nullopt;
    }
  }
  return host.empty() ? std::nullopt : std::optional(std::pair(std::string(host), port));
}

}  // namespace

void HeadLimit::Begin(std::chrono::milliseconds head_max) {
  bytes_ = 0;
  in_head_ = true;
  head_max_ = head_max;
  deadline_ = std::chrono::steady_clock::now() + head_max;
  exceeded_.clear();
}

void HeadLimit::HeadDone() {
  in_head_ = false;
  bytes_ = 0;
}

bool HeadLimit::Take(size_t bytes) {
  bytes_ += bytes;
  if (bytes_ > kBytesMax) {
    exceeded_ = fmt::format("more than {} KiB came that are no part of a body", kBytesMax >> 10);
  } else if (in_head_ && std::chrono::steady_clock::now() > deadline_) {
    exceeded_ = fmt::format("the head of the answer was not whole after {} s",
                            std::chrono::duration_cast<std::chrono::seconds>(head_max_).count());
  }
  return exceeded_.empty();
}

std::shared_ptr<HttpClient> MakeHttpClient(const std::string& base) {
  const bool tls = base.starts_with("https://");
  const size_t scheme = base.find("://");
  const auto place = scheme == std::string::npos
                         ? std::nullopt
                         : HostAndPort(std::string_view(base).substr(scheme + 3), tls ? 443 : 80);
  if (!place.has_value()) {
    return nullptr;
  }
  auto client = std::make_shared<HttpClient>();
  if (tls) {
    client->http = std::make_unique<TlsClient>(place->first, place->second, client->limit);
  } else {
    client->http = std::make_unique<PlainClient>(place->first, place->second, client->limit);
  }
  return client->http->is_valid() ? client : nullptr;
}

}  // namespace sluice::client

#include "gateways/admin/socket_stream.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace sluice::gateways {
namespace {

constexpr size_t kWriteBufferBytes = 64 << 10;
constexpr size_t kLingerBytesMax = 64 << 20;
constexpr std::chrono::milliseconds kLingerWait{250};
constexpr std::chrono::seconds kLingerTotal{3};

}  // namespace

bool SocketStream::Poll(short events, std::chrono::milliseconds timeout) const {
  pollfd poll_fd{fd_, events, 0};
  int ready = 0;
  do {
    ready = ::poll(&poll_fd, 1, static_cast<int>(timeout.count()));
  } while (ready < 0 && errno == EINTR);
  return ready > 0;
}

bool SocketStream::WaitForData(std::chrono::milliseconds timeout) {
  return in_begin_ < in_end_ || Poll(POLLIN, timeout);
}

bool SocketStream::is_readable() const {
  return in_begin_ < in_end_ || Poll(POLLIN, read_timeout_);
}

bool SocketStream::is_writable() const { return !failed_; }

ssize_t SocketStream::read(char* ptr, size_t size) {
  if (in_begin_ == in_end_) {
    // What the client waits for (100 Continue) goes out before we wait for it.
    if (!Flush() || !Poll(POLLIN, read_timeout_)) {
      return -1;
    }
    ssize_t got = 0;
    do {
      got = ::recv(fd_, in_.data(), in_.size(), 0);
    } while (got < 0 && errno == EINTR);
    if (got <= 0) {
      return got;
    }
    in_begin_ = 0;
    in_end_ = static_cast<size_t>(got);
  }
  const size_t taken = std::min(size, in_end_ - in_begin_);
  std::memcpy(ptr, in_.data() + in_begin_, taken);
  in_begin_ += taken;
  return static_cast<ssize_t>(taken);
}

ssize_t SocketStream::write(const char* ptr, size_t size) {
  out_.append(ptr, size);
  if (out_.size() >= kWriteBufferBytes && !Flush()) {
    return -1;
  }
  return failed_ ? -1 : static_cast<ssize_t>(size);
}

bool SocketStream::Flush() {
  size_t sent = 0;
  while (!failed_ && sent < out_.size()) {
    const ssize_t n =
        ::send(fd_, out_.data() + sent, out_.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n >= 0) {
      sent += static_cast<size_t>(n);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      failed_ = !Poll(POLLOUT, write_timeout_);
    } else if (errno != EINTR) {
      failed_ = true;
    }
  }
  out_.clear();
  return !failed_;
}

void SocketStream::Linger() {
  ::shutdown(fd_, SHUT_WR);
  size_t dropped = 0;
  const auto end = std::chrono::steady_clock::now() + kLingerTotal;  // whoever drips is cut off
  while (dropped < kLingerBytesMax && std::chrono::steady_clock::now() < end &&
         Poll(POLLIN, kLingerWait)) {
    const ssize_t got = ::recv(fd_, in_.data(), in_.size(), MSG_DONTWAIT);
    if (got <= 0) {
      return;
    }
    dropped += static_cast<size_t>(got);
  }
}

void SocketStream::get_remote_ip_and_port(std::string& ip, int& port) const {
  ip.clear();  // nothing of ours looks at it, and two system calls a request are saved
  port = 0;
}

void SocketStream::get_local_ip_and_port(std::string& ip, int& port) const {
  ip.clear();
  port = 0;
}

}  // namespace sluice::gateways

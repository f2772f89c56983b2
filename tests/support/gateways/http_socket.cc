#include "tests/support/gateways/http_socket.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <utility>

namespace sluice::testing {

HttpSocket::HttpSocket(int port) : fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{20, 0};
  ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    ::close(fd_);
    fd_ = -1;
  }
}

HttpSocket::~HttpSocket() {
  if (fd_ >= 0) {
    ::close(fd_);
  }
}

void HttpSocket::Send(std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) {
      return;
    }
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
}

void HttpSocket::Request(std::string_view method, std::string_view target, std::string_view headers,
                         std::string_view body) {
  std::string request(method);
  request += " " + std::string(target) + " HTTP/1.1\r\nHost: localhost\r\n";
  request += headers;
  if (!body.empty()) {
    request += "Content-Length: " + std::to_string(body.size()) + "\r\n";
  }
  request += "\r\n";
  request += body;
  Send(request);
}

bool HttpSocket::Fill() {
  char bytes[65536];
  const ssize_t got = ::recv(fd_, bytes, sizeof(bytes), 0);
  if (got <= 0) {
    return false;
  }
  buffer_.append(bytes, static_cast<size_t>(got));
  return true;
}

HttpReply HttpSocket::Read(bool with_body) {
  HttpReply reply;
  size_t end = std::string::npos;
  while ((end = buffer_.find("\r\n\r\n")) == std::string::npos) {
    if (!Fill()) {
      return reply;
    }
  }
  std::string_view head = std::string_view(buffer_).substr(0, end + 2);
  reply.status = std::atoi(std::string(head.substr(9, 3)).c_str());
  head.remove_prefix(head.find("\r\n") + 2);
  while (!head.empty()) {
    const std::string_view line = head.substr(0, head.find("\r\n"));
    std::string name(line.substr(0, line.find(':')));
    std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
    reply.headers[name] = line.substr(std::min(line.size(), line.find(':') + 2));
    head.remove_prefix(line.size() + 2);
  }
  buffer_.erase(0, end + 4);
  const auto length = reply.headers.find("content-length");
  if (with_body && length != reply.headers.end()) {
    const auto size = static_cast<size_t>(std::atoll(length->second.c_str()));
    while (buffer_.size() < size && Fill()) {
    }
    if (buffer_.size() <= size) {
      reply.body = std::exchange(buffer_, {});
    } else {
      reply.body = buffer_.substr(0, size);
      buffer_.erase(0, size);
    }
  }
  return reply;
}

std::string HttpSocket::ReadLine() {
  while (true) {
    if (const size_t end = lines_.find('\n'); end != std::string::npos) {
      std::string line = lines_.substr(0, end);
      lines_.erase(0, end + 1);
      return line;
    }
    if (ended_) {
      return "";
    }
    size_t head = buffer_.find("\r\n");
    if (head == std::string::npos) {
      ended_ = !Fill();
      continue;
    }
    const size_t size = std::strtoull(buffer_.c_str(), nullptr, 16);
    while (buffer_.size() < head + 2 + size + 2 && Fill()) {
    }
    lines_ += buffer_.substr(head + 2, size);
    buffer_.erase(0, head + 2 + size + 2);
    ended_ = size == 0;
  }
}

bool HttpSocket::Closed() {
  while (Fill()) {
  }
  char byte = 0;
  return ::recv(fd_, &byte, 1, 0) == 0;
}

}  // namespace sluice::testing
